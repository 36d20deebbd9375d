"""MetalLB: gives the addresses of `network.load_balancer` to services, and answers for them on the network.

Layer 2 only: one host at a time answers ARP for an address, and another takes over in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from deskside.addons.values import ON_SERVERS, chart_for, final_values, image_named, image_values
from deskside.model.door import Door, Source, on_nodes
from deskside.model.platform import AddOn, Host, Platform
from deskside.model.resource import Resource
from deskside.resources.release import Manifest, Release
from deskside.site.schema import Site

NAMESPACE = "metallb-system"
LABELS = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}
"""The speaker opens raw sockets on the host's network."""
CONTROLLER, SPEAKER, CHART = "metallb-controller", "metallb-speaker", "metallb-chart"
MEMBERS = Door("MetalLB members", "tcp", "7946", (Source.NODES,), on_nodes)
MEMBERS_UDP = Door("MetalLB members", "udp", "7946", (Source.NODES,), on_nodes)
NEW_PREFIX_SINCE = (0, 15)


def hub_address(site: Site) -> IPv4Address:
    """The hub's address: the first of `network.load_balancer`."""
    return site.network.load_balancer.first


def address_request(platform: Platform, address: IPv4Address) -> dict[str, str]:
    """The annotation by which a service asks for one address; its prefix changed with MetalLB's version.

    A service must not carry the address in its spec as well: MetalLB refuses both at once.
    """
    version = platform.artifact(CONTROLLER).artifact.version
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    prefix = "metallb.io" if numbers >= NEW_PREFIX_SINCE else "metallb.universe.tf"
    return {f"{prefix}/loadBalancerIPs": str(address)}


def metallb_values(platform: Platform) -> dict[str, object]:
    """Values of the chart."""
    images = {
        name: image_named(platform, name, name.removeprefix("metallb-")) for name in (CONTROLLER, SPEAKER)
    }
    return {
        "controller": {
            "image": image_values(images[CONTROLLER], "repository"),
            "tolerations": ON_SERVERS["tolerations"],
        },
        "speaker": {
            "image": image_values(images[SPEAKER], "repository"),
            # kubeadm labels every server as excluded; on a site of one server nobody would answer at all.
            "ignoreExcludeLB": True,
            "frr": {"enabled": False},
        },
        "frrk8s": {"enabled": False},
    }


def address_objects(site: Site) -> tuple[Mapping[str, object], ...]:
    """The hub's address in a pool from which nothing is given unasked; the rest for whoever asks."""
    first, last = hub_address(site), site.network.load_balancer.last
    pools = [_object("IPAddressPool", "hub", {"addresses": [f"{first}/32"], "autoAssign": False})]
    if last > first:
        rest = {"addresses": [f"{first + 1}-{last}"], "autoAssign": True}
        pools.append(_object("IPAddressPool", "site", rest))
    names = ["hub", "site"][: len(pools)]
    return (*pools, _object("L2Advertisement", "site", {"ipAddressPools": names}))


def _object(kind: str, name: str, spec: Mapping[str, object]) -> Mapping[str, object]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}


def _resources(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    del host
    chart = chart_for(site, platform, "metallb", CHART)
    values = final_values(site, "metallb", metallb_values(platform))
    yield Release(NAMESPACE, "metallb", chart, values, labels=LABELS)
    yield Manifest("load-balancer addresses", address_objects(site))


METALLB = AddOn(
    name="metallb",
    title="Give addresses to services (MetalLB)",
    resources=_resources,
    images=(CONTROLLER, SPEAKER),
    charts=(CHART,),
    needs=("cluster_settled", "images"),
)
