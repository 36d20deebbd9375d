"""Names inside the cluster: CoreDNS knows the site's hosts, its API and what it publishes.

Pods do not see the hosts' `/etc/hosts`. The rest of the Corefile is kubeadm's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from deskside.model.platform import Host, Platform
from deskside.resources.release import Manifest
from deskside.site.schema import Site


def site_names(site: Site) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Addresses with their names: every host of the site, the API, and the hub."""
    hosts = tuple((str(host.address), (site.fqdn(host), host.name)) for host in site.hosts)
    api = (str(site.network.api), (site.api_name,))
    hub = (str(site.network.load_balancer.first), (site.notebooks.hostname,))
    return (*hosts, api, hub)


def _forward(hosts: Iterable[Host]) -> str:
    # Without a name server CoreDNS would refuse to start; the cluster's own names need none.
    if not all(host.facts.nameservers for host in hosts):
        return ""
    return "    forward . /etc/resolv.conf {\n       max_concurrent 1000\n    }\n"


def corefile(site: Site, hosts: Iterable[Host], domain: str) -> str:
    """CoreDNS's configuration: kubeadm's, with a block of the site's names."""
    lines = "".join(f"       {address} {' '.join(names)}\n" for address, names in site_names(site))
    return (
        ".:53 {\n"
        "    errors\n"
        "    health {\n       lameduck 5s\n    }\n"
        "    ready\n"
        f"    hosts {{\n{lines}       ttl 60\n       fallthrough\n    }}\n"
        f"    kubernetes {domain} in-addr.arpa ip6.arpa {{\n"
        "       pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n"
        "    prometheus :9153\n"
        f"{_forward(hosts)}"
        f"    cache 30 {{\n       disable success {domain}\n       disable denial {domain}\n    }}\n"
        "    loop\n"
        "    reload\n"
        "    loadbalance\n"
        "}\n"
    )


def cluster_names(site: Site, platform: Platform, domain: str) -> Manifest:
    """The ConfigMap that CoreDNS reads, and takes up by itself within a minute."""
    return Manifest(
        "names inside the cluster",
        (
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "coredns", "namespace": "kube-system"},
                "data": {"Corefile": corefile(site, platform.hosts.values(), domain)},
            },
        ),
    )
