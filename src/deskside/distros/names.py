"""Names inside the cluster: CoreDNS knows the site's hosts, its API and what it publishes.

Pods do not see the hosts' `/etc/hosts`. The rest of the Corefile is kubeadm's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from deskside.model.action import RunCommand
from deskside.model.platform import Host, Platform
from deskside.model.resource import Change, Deferred, HostReader
from deskside.resources.release import KUBECTL, Manifest
from deskside.site.schema import Site

DIGEST = "deskside/corefile"
"""Annotation on CoreDNS's pods: SHA-256 of the configuration that they started with."""
TAKEN_UP = RunCommand(
    (*KUBECTL, "rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=180s"),
    timeout=190.0,
)


def _forward(site: Site, hosts: Iterable[Host]) -> str:
    # Without a name server CoreDNS would refuse to start; the cluster's own names need none.
    if site.dns_server is not None:
        places = " ".join(map(str, site.forwarders))
    else:
        places = "/etc/resolv.conf" if all(host.facts.nameservers for host in hosts) else ""
    if not places:
        return ""
    return f"    forward . {places} {{\n       max_concurrent 1000\n    }}\n"


def _site_zone(site: Site, known: str) -> str:
    """Names of the site that only its name server knows; those of the list live on while it is away."""
    if site.dns_server is None:
        return ""
    return f"{site.name}:53 {{\n    errors\n{known}    forward . {site.dns_server}\n    cache 30\n}}\n"


def corefile(site: Site, hosts: Iterable[Host], domain: str) -> str:
    """CoreDNS's configuration: kubeadm's, with a block of the site's names."""
    lines = "".join(f"       {address} {' '.join(names)}\n" for address, names in site.records)
    known = f"    hosts {{\n{lines}       ttl 60\n       fallthrough\n    }}\n"
    return (
        ".:53 {\n"
        "    errors\n"
        "    health {\n       lameduck 5s\n    }\n"
        "    ready\n"
        f"{known}"
        f"    kubernetes {domain} in-addr.arpa ip6.arpa {{\n"
        "       pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n"
        "    prometheus :9153\n"
        f"{_forward(site, hosts)}"
        f"    cache 30 {{\n       disable success {domain}\n       disable denial {domain}\n    }}\n"
        "    loop\n"
        "    reload\n"
        "    loadbalance\n"
        "}\n"
        f"{_site_zone(site, known)}"
    )


def cluster_names(site: Site, platform: Platform, domain: str) -> Names:
    """The ConfigMap that CoreDNS reads, and its digest on CoreDNS's pods."""
    text = corefile(site, platform.hosts.values(), domain)
    place = {"name": "coredns", "namespace": "kube-system"}
    spec = {
        # kubeadm's own: kubectl sends no Deployment without one.
        "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
        "template": {"metadata": {"annotations": {DIGEST: hashlib.sha256(text.encode()).hexdigest()}}},
    }
    objects = (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {"Corefile": text}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place, "spec": spec},
    )
    return Names(Manifest("names inside the cluster", objects))


@dataclass(frozen=True)
class Names:
    """The site's names in CoreDNS, taken up before anything asks for them.

    Left alone, a kubelet hands a changed file on within two minutes; until then the hub would not find the
    directory. The digest on the pods makes new ones, and these are waited for.
    """

    manifest: Manifest

    @property
    def subject(self) -> str:
        """`names inside the cluster`."""
        return self.manifest.subject

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Write what differs, and wait for the pods that have it."""
        change = await self.manifest.plan(host)
        return replace(change, actions=(*change.actions, TAKEN_UP)) if isinstance(change, Change) else change
