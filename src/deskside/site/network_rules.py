"""Rules about addresses: everything is in the subnet, and nothing is on top of anything else.

As in `rules.py`, a rule stays silent about what it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from deskside.site.draft import Draft
from deskside.site.faults import Fault, Place, field_path
from deskside.site.schema import Role

NETWORK: Place = ("network",)


def networks_apart(draft: Draft) -> Iterator[Fault]:
    """The subnet, the pods' and the services' networks share no address."""
    networks = [(name, draft.network(name)) for name in ("subnet", "pods", "services")]
    for (first, one), (second, other) in combinations(networks, 2):
        if one and other and one.overlaps(other):
            yield Fault(
                (*NETWORK, second),
                f"{other} overlaps network.{first} {one}",
                f"choose a network that is free everywhere in the site, as {_free(draft)}",
            )


def networks_fit(draft: Draft) -> Iterator[Fault]:
    """Networks have a size that Kubernetes accepts."""
    subnet, pods, services = draft.network("subnet"), draft.network("pods"), draft.network("services")
    if subnet and not 8 <= subnet.prefixlen <= 29:
        yield Fault(
            (*NETWORK, "subnet"), f"{subnet} is no network of hosts", "use /8 to /29, as 10.20.0.0/24"
        )
    if pods and not 8 <= pods.prefixlen <= 24:
        yield Fault((*NETWORK, "pods"), f"{pods} cannot be cut into a /24 per host", "use a /16")
    if services and not 12 <= services.prefixlen <= 24:
        yield Fault((*NETWORK, "services"), f"{services} has a size that Kubernetes refuses", "use a /16")


def addresses_inside(draft: Draft) -> Iterator[Fault]:
    """Every address of the site is one of the subnet that a machine can have."""
    subnet = draft.network("subnet")
    if subnet is None:
        return
    for place, address in _addresses(draft):
        yield from _outside(draft, subnet, place, address, str(address))
    pool = draft.load_balancer
    if pool:
        place = (*NETWORK, "load_balancer")
        ends = [address for address in (pool.first, pool.last) if address not in subnet]
        if ends:
            yield from _outside(draft, subnet, place, ends[0], str(pool))
        for what, address in (("network", subnet.network_address), ("broadcast", subnet.broadcast_address)):
            if address in pool and not ends:
                yield Fault(place, f"{pool} contains {address}, the subnet's {what} address", "leave it out")


def _outside(
    draft: Draft, subnet: IPv4Network, place: Place, address: IPv4Address, shown: str
) -> Iterator[Fault]:
    if address not in subnet:
        inside = next((name for name in ("pods", "services") if address in (draft.network(name) or ())), "")
        also = f" and inside network.{inside}" if inside else ""
        yield Fault(place, f"{shown} is outside the subnet {subnet}{also}", f"use free addresses of {subnet}")
    elif address in (subnet.network_address, subnet.broadcast_address):
        what = "network" if address == subnet.network_address else "broadcast"
        yield Fault(place, f"{shown} is the subnet's {what} address", "use an address in between")


def addresses_apart(draft: Draft) -> Iterator[Fault]:
    """No address is used twice: by hosts, gateway, API, or the load balancer."""
    seen: dict[IPv4Address, Place] = {}
    for place, address in _addresses(draft):
        first = seen.setdefault(address, place)
        if first != place:
            yield Fault(place, f"{address} is also {field_path(first)}", "give each its own address")
    pool = draft.load_balancer
    if pool is None:
        return
    for place, address in _addresses(draft):
        if address in pool:
            yield Fault(
                (*NETWORK, "load_balancer"),
                f"{pool} contains {address}, which is {field_path(place)}",
                "choose a range that nothing else uses",
            )


def hosts_apart(draft: Draft) -> Iterator[Fault]:
    """No two hosts share a name or a network card."""
    names: dict[str, Place] = {}
    cards: dict[str, Place] = {}
    for host in draft.hosts:
        for field, value, seen in (("name", host.name, names), ("mac", host.mac, cards)):
            if value is None:
                continue
            first = seen.setdefault(value, host.place)
            if first != host.place:
                what = "name" if field == "name" else "MAC address"
                yield Fault(
                    (*host.place, field),
                    f"{value} is also the {what} of {field_path(first)}",
                    "give each host its own",
                )


def pod_ranges(draft: Draft) -> Iterator[Fault]:
    """On a flat pod network, the pods' network has a /24 for the number of each host in the subnet."""
    subnet, pods = draft.network("subnet"), draft.network("pods")
    if subnet is None or pods is None or pods.prefixlen > 24:
        return
    count = 2 ** (24 - pods.prefixlen)
    for host in draft.hosts:
        if host.address is None or host.address not in subnet or set(host.roles) <= {Role.STORAGE}:
            continue
        number = int(host.address) - int(subnet.network_address)
        if number >= count:
            yield Fault(
                (*host.place, "address"),
                f"{host.address} is number {number} of the subnet, but {pods} has only {count} ranges",
                f"use one of the first {count} addresses of {subnet}, or a larger network.pods",
            )


def _addresses(draft: Draft) -> Iterator[tuple[Place, IPv4Address]]:
    for name in ("gateway", "api"):
        address = draft.address(name)
        if address is not None:
            yield (*NETWORK, name), address
    for host in draft.hosts:
        if host.address is not None:
            yield (*host.place, "address"), host.address


def _free(draft: Draft) -> IPv4Network:
    taken = [network for name in ("subnet", "pods", "services") if (network := draft.network(name))]
    tries = [IPv4Network((10 << 24 | second << 16, 16)) for second in range(42, 250)]
    tries += [IPv4Network((172 << 24 | second << 16, 16)) for second in range(16, 32)]
    free = (network for network in tries if not any(network.overlaps(one) for one in taken))
    return next(free, IPv4Network("192.168.0.0/16"))


NETWORK_RULES: tuple[Callable[[Draft], Iterator[Fault]], ...] = (
    networks_fit,
    networks_apart,
    addresses_inside,
    addresses_apart,
    hosts_apart,
    pod_ranges,
)
