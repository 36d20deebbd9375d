"""Rules about who hands out addresses and who knows names: `network.dhcp` and `network.dns`.

As in `rules.py`, a rule stays silent about what it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Literal

from deskside.site.draft import Draft, DraftService
from deskside.site.faults import Fault, Place, field_path

Name = Literal["dhcp", "dns"]
NAMES: tuple[Name, ...] = ("dhcp", "dns")
OURS = "dnsmasq"


def _sections(draft: Draft) -> Iterator[tuple[Place, DraftService]]:
    for name in NAMES:
        if found := draft.service(name):
            yield ("network", name), found


def served_by(draft: Draft) -> Iterator[Fault]:
    """Ours runs on a managed host of the file; what somebody else runs is on none."""
    managed = [host.name for host in draft.hosts if host.name and host.managed is not False]
    for place, service in _sections(draft):
        if service.provider == OURS:
            yield from _place_of_ours(draft, place, service, managed)
        elif service.provider and service.on:
            yield Fault(
                (*place, "on"),
                f"{service.provider} is not run by Deskside: it is on none of its hosts",
                "remove `on`",
            )


def _place_of_ours(draft: Draft, place: Place, service: DraftService, managed: list[str]) -> Iterator[Fault]:
    if service.on is None:
        if "on" not in _raw(draft, place):
            host = managed[0] if managed else "NAME"
            yield Fault(place, "dnsmasq needs a host to run on", f"add on: {host}")
        return
    if service.on in managed:
        return
    if any(host.name == service.on for host in draft.hosts):
        yield Fault((*place, "on"), f"{service.on} is not managed: nothing is run on it", _name_one(managed))
        return
    near = get_close_matches(service.on, managed, 1)
    remedy = f"did you mean {near[0]}?" if near else _name_one(managed)
    yield Fault((*place, "on"), f"no host is called {service.on!r}", remedy)


def _raw(draft: Draft, place: Place) -> Mapping[str, object]:
    found = draft.data.get("network")
    section = found.get(str(place[1])) if isinstance(found, dict) else None
    return section if isinstance(section, dict) else {}


def _name_one(managed: list[str]) -> str:
    return f"name a managed host, as {managed[0]}" if managed else "name a managed host"


def who_is_asked(draft: Draft) -> Iterator[Fault]:
    """Forwarders are dnsmasq's; a server's address is for those that somebody else runs."""
    service = draft.service("dns")
    if service is None or service.provider is None:
        return
    if service.provider == OURS and service.server:
        yield Fault(
            ("network", "dns", "server"), "dnsmasq answers at the address of its host", "remove `server`"
        )
    if service.provider == OURS and service.has_key:
        said = "dnsmasq has its records from Deskside's own file"
        yield Fault(("network", "dns", "tsig"), said, "remove `tsig`")
    if service.provider != OURS and service.has_forwarders:
        said = f"forwarders of a {service.provider} are set there"
        yield Fault(("network", "dns", "forwarders"), said, "remove `forwarders`")
    if service.provider == "synology" and service.server is None and draft.sound_hosts:
        stores = [host for host in draft.hosts if host.managed is False]
        if len(stores) != 1:
            said = f"{len(stores)} hosts are not managed: which of them is it?"
            yield Fault(("network", "dns"), said, "add server: ADDRESS")


def handed_out(draft: Draft) -> Iterator[Fault]:
    """The range of a DHCP server is in the subnet, and on top of nothing that has its address for good."""
    service = draft.service("dhcp")
    if service is None or service.range is None:
        return
    place, pool, subnet = ("network", "dhcp", "range"), service.range, draft.network("subnet")
    if subnet and not (pool.first in subnet and pool.last in subnet):
        yield Fault(place, f"{pool} is outside the subnet {subnet}", f"use free addresses of {subnet}")
        return
    if subnet and (subnet.network_address in pool or subnet.broadcast_address in pool):
        yield Fault(place, f"{pool} contains the subnet's network or broadcast address", "leave it out")
    balancer = draft.load_balancer
    if balancer and pool.first <= balancer.last and balancer.first <= pool.last:
        yield Fault(place, f"{pool} overlaps network.load_balancer {balancer}", "keep the two apart")
    for name in ("gateway", "api"):
        address = draft.address("gateway" if name == "gateway" else "api")
        if address and address in pool:
            yield Fault(place, f"{pool} contains network.{name} {address}", "leave it out")
    for host in draft.hosts:
        if host.address and host.address in pool and not host.mac:
            said = f"{pool} contains {host.address} of {field_path(host.place)}, which has no reservation"
            yield Fault(place, said, "leave it out, or write the host's mac")


def reserved(draft: Draft) -> Iterator[Fault]:
    """Every host can be told by its card."""
    service = draft.service("dhcp")
    if service is None or service.provider is None:
        return
    for host in draft.hosts:
        in_range = host.address and service.range and host.address in service.range
        if host.name and host.address and not in_range and "mac" not in _host(draft, host.place):
            said = f"{host.name} has no mac, so it gets no reservation"
            yield Fault(host.place, said, "add mac: what `ip link show` prints", warning=True)


def _host(draft: Draft, place: Place) -> Mapping[str, object]:
    hosts = draft.data.get("hosts")
    found = hosts[int(place[1])] if isinstance(hosts, list) else None
    return found if isinstance(found, dict) else {}


SERVICE_RULES: tuple[Callable[[Draft], Iterator[Fault]], ...] = (
    served_by,
    who_is_asked,
    handed_out,
    reserved,
)
