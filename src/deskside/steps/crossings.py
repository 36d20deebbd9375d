"""Rules of the router between other networks and the site: what they have to be, and what hosts saw of them.

The router is not Deskside's, but what it lets through arrives at a host: the firewall of each keeps, for a
month, who came from outside the subnet to which address and port, before anything is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from deskside.model.door import Door, Source
from deskside.model.finding import Finding
from deskside.model.platform import Platform
from deskside.model.query import Output, ReadOutput, object_of
from deskside.site.schema import Site, people_networks
from deskside.steps.findings import failed, warning
from deskside.steps.firewall import CROSSED
from deskside.steps.judging import Heard
from deskside.steps.open_ports import lines_of

QUESTION = ReadOutput(("nft", "--json", "list", "set", "inet", "deskside", CROSSED))
PROTOCOLS = {6: "tcp", 17: "udp"}
"""Numbers that nft prints where the host has no /etc/protocols."""


@dataclass(frozen=True)
class Crossing:
    """One rule of the router: from there to here, and what for."""

    source: IPv4Network
    address: str
    protocol: str
    ports: str
    """`6443`, `2379-2380`; empty for a protocol without ports."""
    service: str

    @property
    def door(self) -> str:
        """`tcp/443`."""
        return "/".join(filter(None, (self.protocol, self.ports)))

    def covers(self, one: Arrival) -> bool:
        """Whether that packet came by this rule."""
        first, _, last = self.ports.partition("-")
        there = (self.address, self.protocol) == (one.address, one.protocol)
        return there and one.source in self.source and int(first) <= one.port <= int(last or first)


@dataclass(frozen=True, order=True)
class Arrival:
    """The first packet of somebody from outside the subnet, seen by a host, whether let in or not."""

    source: IPv4Address
    address: str
    protocol: str
    port: int


def crossings(site: Site, doors: Sequence[Door]) -> Iterator[Crossing]:
    """What has to get through from each network of people that is not the site's own."""
    lines = [line for line in lines_of(site, doors) if Source.PEOPLE in line.sources]
    for source in people_networks(site.network):
        if not source.subnet_of(site.network.subnet):
            yield from (
                Crossing(source, line.address, line.protocol, line.ports, line.service) for line in lines
            )


def arrivals(output: Output) -> set[Arrival] | None:
    """What a host's firewall has kept; None when it keeps nothing."""
    found = object_of(output)
    if found is None:
        return None
    sets = [item["set"] for item in json.loads(output.stdout)["nftables"] if "set" in item]
    kept: set[Arrival] = set()
    for item in (element for one in sets for element in one.get("elem", ())):
        source, address, protocol, port = item.get("elem", {}).get("val", item)["concat"]
        kept.add(Arrival(IPv4Address(source), address, PROTOCOLS.get(protocol, protocol), int(port)))
    return kept


def rules(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """The router lets people of other networks through to what is theirs, and nobody else."""
    came: set[Arrival] = set()
    for item in heard:
        kept = arrivals(item.output)
        if kept is None:
            said = f"what the router lets through to {item.host} is not known: its firewall keeps no record"
            yield warning("rules", item.host, f"{said} of it yet", "run: deskside apply")
        came |= kept or set()
    yield from _strangers(site, came)
    if any(arrivals(item.output) is not None for item in heard):
        yield from _not_seen(list(crossings(site, platform.doors)), came)


def _strangers(site: Site, came: set[Arrival]) -> Iterator[Finding]:
    names = {str(host.address): host.name for host in site.hosts} | {str(site.network.api): "the API"}
    strangers: dict[IPv4Address, list[Arrival]] = {}
    for one in sorted(came):
        if not any(one.source in network for network in people_networks(site.network)):
            strangers.setdefault(one.source, []).append(one)
    if not strangers:
        return
    source, there = next(iter(strangers.items()))
    first = there[0]
    to = names.get(first.address, "the load balancer" if _published(site, first) else "the site")
    said = f"{source}, of no network in network.firewall.allow_from, came through the router to {to}"
    said += f" ({first.address}, {first.protocol}/{first.port})"
    more = len(strangers) - 1
    said += f", and so did {more} other{'s' if more > 1 else ''}" if more else ""
    hint = "close it there (run: deskside handout router), or name the network in network.firewall.allow_from"
    yield failed("rules", str(source), said, hint)


def _published(site: Site, one: Arrival) -> bool:
    pool = site.network.load_balancer
    return pool.first <= IPv4Address(one.address) <= pool.last


def _not_seen(wanted: Sequence[Crossing], came: set[Arrival]) -> Iterator[Finding]:
    for source in dict.fromkeys(rule.source for rule in wanted):
        unseen = [
            rule
            for rule in wanted
            if rule.source == source and rule.ports and not any(map(rule.covers, came))
        ]
        if unseen:
            first = unseen[0]
            more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
            said = f"nobody of {source} has come through the router to {first.address} {first.door}"
            said += f" ({first.service}){more} yet"
            hint = "run on a machine of that network: deskside check network; it tries each of them"
            yield warning("rules", str(source), said, hint)
