"""`deskside check network`: the plan of addresses against what the hosts see on the wire.

Who answers for which address, how large a packet gets through between each two hosts, which DHCP servers
answer and what from, whether the names resolve, and what the router lets through. Changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from deskside.model.finding import Finding
from deskside.model.platform import Host, Platform
from deskside.model.query import Json, object_of
from deskside.site.schema import Dhcp, Site
from deskside.steps.crossings import QUESTION, rules
from deskside.steps.findings import failed, not_run, warning
from deskside.steps.judging import Heard, Judge, Probe, offers_in, said_by, wrong_names
from deskside.steps.network import DEFAULT_MTU
from deskside.steps.probes import script
from deskside.steps.resolving import names_question

LOOK_SECONDS = 3.6
"""Of each of two questions: a server may look for three seconds for each stranger's address, one by one."""
POOL_ENDS = (0, 1, -1)
"""Places of the load balancer's range that a stranger asks DHCP for, the first one being in use. A pool that
overlaps the range has one of its ends; from one that lies within it, a stranger gets an address anyway."""
LOOKERS = 2
"""Hosts that ask who has an address: nobody hears an answer of its own."""


def network_probes(site: Site, platform: Platform) -> list[Probe]:
    """What is asked of the hosts that answered."""
    found: list[Probe] = []
    for number, (name, host) in enumerate(platform.hosts.items()):
        card = host.facts.interface_with(str(host.spec.address))
        if card is None:
            continue
        if number < LOOKERS:
            asked: Json = {"interface": card.name, "addresses": list(_addresses(site)), "seconds": 1.0}
            found.append(Probe("owners", name, script("arp_probe.py", asked, 30.0)))
        found.append(Probe("packets", name, script("mtu_probe.py", _targets(site, platform, name), 120.0)))
        if site.network.dhcp is not None and number < LOOKERS:
            question: Json = {
                "interface": card.name,
                "seconds": LOOK_SECONDS,
                "cards": [spec.mac for spec in site.hosts if spec.mac],
                "wanted": list(_never_handed_out(site)),
            }
            found.append(Probe("dhcp", name, script("dhcp_probe.py", question, 20.0)))
        if site.dns_server is not None:
            found.append(Probe("names", name, names_question(site)))
        if site.network.firewall.enabled:
            found.append(Probe("rules", name, QUESTION))
    return found


def _never_handed_out(site: Site) -> Iterator[str]:
    pool = site.network.load_balancer
    places = sorted({place % len(pool) for place in POOL_ENDS})
    yield from (str(pool.first + place) for place in places)
    yield str(site.network.api)


def _addresses(site: Site) -> Iterator[str]:
    yield from (str(host.address) for host in site.hosts)
    yield from (str(site.network.gateway), str(site.network.api))
    pool = site.network.load_balancer
    yield from (str(pool.first + place) for place in range(min(len(pool), 256)))


def _mtu(host: Host) -> int:
    card = host.facts.interface_with(str(host.spec.address))
    return card.mtu if card and card.mtu else DEFAULT_MTU


def _targets(site: Site, platform: Platform, name: str) -> Json:
    """Every other host, with the size that both ends are set to."""
    own = _mtu(platform.hosts[name])
    others = {
        str(spec.address): min(own, _mtu(platform.hosts[spec.name]) if spec.name in platform.hosts else own)
        for spec in site.hosts
        if spec.name != name
    }
    return {"targets": dict(others)}


def owners(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Every address answers with one card, the right one."""
    seen: dict[str, set[str]] = {}
    for item in heard:
        found = object_of(item.output)
        if found is None:
            yield not_run(
                "owners",
                item.host,
                f"{item.host} could not look who has which address: {said_by(item.output)}",
            )
            continue
        for address, cards in found.items():
            seen.setdefault(address, set()).update(str(cards).split())
    if not any(object_of(item.output) is not None for item in heard):
        return
    yield from _of_hosts(site, platform, seen)
    yield from _of_cluster(site, platform, seen, len(heard))


def _of_hosts(site: Site, platform: Platform, seen: Mapping[str, set[str]]) -> Iterator[Finding]:
    for spec in site.hosts:
        found = set(seen.get(str(spec.address), ()))
        host = platform.hosts.get(spec.name)
        card = host.facts.interface_with(str(spec.address)) if host else None
        own = {mac for mac in (spec.mac, card.mac.lower() if card else None) if mac}
        strangers = sorted(found - own) if own else []
        if strangers:
            said = f"{spec.address} of {spec.name} is answered for by {', '.join(strangers)}"
            said += f", which is not {' or '.join(sorted(own))}"
            yield failed(
                "owners",
                spec.name,
                said,
                "find that machine and give it another address, or correct hosts[].mac",
            )
        elif len(found) > 1:
            said = f"{len(found)} cards answer for {spec.address} of {spec.name}: {', '.join(sorted(found))}"
            yield failed("owners", spec.name, said, "give one of the machines another address")
        elif host is None and not found:
            said = f"nobody answers for {spec.address} of {spec.name}"
            yield warning("owners", spec.name, said, "is it on, and is its address that of the site file?")


def _of_cluster(
    site: Site, platform: Platform, seen: Mapping[str, set[str]], lookers: int
) -> Iterator[Finding]:
    ours = {card.mac.lower(): name for name, host in platform.hosts.items() for card in host.facts.interfaces}
    up = any(host.facts.kubernetes.joined for host in platform.hosts.values())
    pool = site.network.load_balancer
    used = {str(site.network.api): "the API", str(pool.first): "the hub"}
    for address in _addresses(site):
        found = seen.get(address, set())
        what = used.get(address, "")
        if address not in used and not _in_pool(site, address):
            continue
        strangers = sorted(found - set(ours))
        if strangers:
            said = f"{address}, of {what or 'the load balancer'}, is answered for by {', '.join(strangers)}"
            yield failed(
                "owners", address, f"{said}, no host of the site", "give that machine another address"
            )
        elif len(found) > 1:
            names = " and ".join(sorted(ours[mac] for mac in found))
            hint = "run: deskside status; a host that lost sight of the others answers for itself"
            yield failed("owners", address, f"{address}, of {what}, is answered for by {names} at once", hint)
        elif what and up and not found and lookers > 1:
            hint = (
                "run: deskside status; metallb-system has the speakers, deskside-failover the API's address"
            )
            yield failed("owners", address, f"nobody answers for {address}, the address of {what}", hint)


def _in_pool(site: Site, address: str) -> bool:
    pool = site.network.load_balancer
    return address in {str(pool.first + place) for place in range(min(len(pool), 256))}


def packets(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Packets of full size get through between every two hosts, both ways."""
    names = {str(spec.address): spec.name for spec in site.hosts}
    for item in heard:
        asked = json.loads(str(item.probe.question.stdin))["targets"]
        found = object_of(item.output)
        if found is None:
            said = f"{item.host} could not try how large packets may be: {said_by(item.output)}"
            yield not_run("packets", item.host, said, "needs ping (iputils-ping), which apply installs")
            continue
        for address, wanted in asked.items():
            size, other = found.get(address, 0), names.get(address, address)
            if size == 0:
                yield warning("packets", item.host, f"{other} ({address}) answers no ping from {item.host}")
            elif size != wanted:
                said = f"packets from {item.host} to {other} are lost beyond {size} bytes; {wanted} are set"
                hint = "set one MTU on both cards and every switch port between them, or lower network.mtu"
                yield failed("packets", item.host, said, hint)


def dhcp(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """One DHCP server answers, the site's, and what it offers is right."""
    service = site.network.dhcp
    assert service is not None
    ours = _dhcp_server(site, service)
    servers: dict[str, str] = {}
    for item in heard:
        found = offers_in(item.output)
        if found is None:
            yield not_run(
                "dhcp", item.host, f"which DHCP servers answer is not known: {said_by(item.output)}"
            )
        servers.update({server["server"]: server["mac"] for server in found or ()})
    strangers = {server: mac for server, mac in servers.items() if server != str(ours)}
    # Dnsmasq's own host hears nothing of it; any other server that is there answers everybody.
    there = service.provider == "dnsmasq" or str(ours) in servers
    for server, mac in strangers.items() if ours and there else ():
        said = f"a second DHCP server at {server} ({mac}) answers on the network"
        yield failed("dhcp", server, said, "switch it off: two of them hand out one address twice")
    if ours and not there and len(servers) == 1:
        said = f"the DHCP server at {', '.join(servers)} answers, not the {service.provider} at {ours}"
        yield warning("dhcp", "site", said, "is that its other address? else switch it off")
    elif not there and len(servers) > 1:
        said = f"{len(servers)} DHCP servers answer on the network: {', '.join(sorted(servers))}"
        yield failed("dhcp", "site", said, "switch off all but one")
    # The host that serves hears nothing of itself.
    asked = {item.host for item in heard} - {service.on}
    if asked and not servers:
        yield failed("dhcp", "site", "no DHCP server answers on the network", "run: deskside status")
    yield from _reservations(site, service, heard)


def _reservations(site: Site, service: Dhcp, heard: Sequence[Heard]) -> Iterator[Finding]:
    """The site's DHCP server has an address for every host, and none that is taken for a stranger."""
    ours = str(_dhcp_server(site, service) or "")
    all_offers = [one for item in heard for one in offers_in(item.output) or ()]
    # What another server offers is wrong in itself.
    offers = [one for one in all_offers if not ours or one["server"] == ours]
    if not offers:
        return
    own = service.provider == "dnsmasq"
    hint = "run: deskside plan" if own else f"run: deskside handout {service.provider}"
    for spec in site.hosts:
        if str(spec.address) == ours:
            continue  # a server offers its own address to nobody
        given = sorted({one["offered"] for one in offers if spec.mac and one.get("card") == spec.mac})
        wrong = [address for address in given if address != str(spec.address)]
        if wrong:
            said = f"{spec.name} ({spec.mac}) would get {', '.join(wrong)} by DHCP, not {spec.address}"
            yield failed("dhcp", spec.name, said, hint)
        elif spec.mac and not given:
            said = f"nothing is offered to {spec.name} ({spec.mac}) by DHCP"
            yield warning("dhcp", spec.name, said, hint)
    taken = {str(host.address): host.name for host in site.hosts}
    taken |= {str(site.network.gateway): "the gateway", str(site.network.api): "the API"}
    for address in sorted({one["offered"] for one in offers if not one.get("card")}):
        whose = taken.get(address) or ("the load balancer" if _in_pool(site, address) else "")
        if whose:
            said = f"a machine that nobody knows would get {address} by DHCP, which is of {whose}"
            yield failed("dhcp", address, said, "keep its range apart from it; " + hint)


def _dhcp_server(site: Site, service: Dhcp) -> IPv4Address | None:
    """Who hands out addresses, by the site file; None where it does not tell."""
    if service.provider == "router":
        return site.network.gateway
    appliances = [host for host in site.storage_hosts if not host.managed]
    if service.provider == "synology":
        return appliances[0].address if len(appliances) == 1 else None
    return site.host(service.on).address if service.on else None


def names(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Forward and reverse agree with the site file, seen from every host."""
    for item in heard:
        if wrong := wrong_names(site, item):
            provider = site.network.dns.provider if site.network.dns else ""
            hint = "run: deskside plan" if provider == "dnsmasq" else f"run: deskside handout {provider}"
            yield failed("names", item.host, wrong, hint)


NETWORK_JUDGES: Mapping[str, tuple[Judge, str]] = {
    "owners": (owners, "every address is answered for by the right card alone"),
    "packets": (packets, "packets of full size get through between all hosts"),
    "dhcp": (dhcp, "one DHCP server answers, the site's, with the right address for every host"),
    "names": (names, "names and addresses resolve on every host"),
    "rules": (rules, "what came from other networks is what the router's rules let through"),
}
"""Name of a check -> what its answers mean, and what is said when nothing is wrong."""
