"""What a person has to enter where Deskside may not: reservations, records and rules, as text to type in.

Made from the site file alone; `deskside check network` then looks from the hosts whether it took effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Address
from textwrap import wrap

from deskside.catalog import all_doors
from deskside.site.schema import Site
from deskside.steps.crossings import crossings
from deskside.steps.names import APPS

Row = tuple[str, ...]
WIDTH = 100
"""Of lines of text, in characters."""
FIRST_SERIAL = 100
"""Serial numbers of zones are YYYYMMDDnn; nn is 00."""


@dataclass(frozen=True)
class Table:
    """One table of a handout."""

    title: str
    head: Row
    rows: tuple[Row, ...]
    note: str = ""
    """A sentence that belongs to it."""

    @property
    def lines(self) -> Iterator[str]:
        """In columns, as people read it."""
        widths = [
            max(len(row[column]) for row in (self.head, *self.rows)) for column in range(len(self.head))
        ]
        for row in (self.head, tuple("-" * width for width in widths), *self.rows):
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


@dataclass(frozen=True)
class Handout:
    """Everything for one device."""

    title: str
    steps: tuple[str, ...]
    tables: tuple[Table, ...]
    files: tuple[tuple[str, str], ...] = ()
    """Name and content of files that the device imports."""

    @property
    def text(self) -> str:
        """For people: the steps, then the tables."""
        lines = [self.title, "=" * len(self.title), ""]
        lines += [f"{number}. {step}" for number, step in enumerate(self.steps, 1)]
        for table in self.tables:
            note = ["", *wrap(table.note, WIDTH)] if table.note else []
            lines += ["", table.title, *note, "", *(f"  {line}" for line in table.lines)]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, object]:
        """Steps, tables as lists of objects, notes by the title of their table, and files."""
        tables = {
            table.title: [dict(zip(table.head, row, strict=True)) for row in table.rows]
            for table in self.tables
        }
        notes = {table.title: table.note for table in self.tables if table.note}
        files = dict(self.files)
        return {
            "title": self.title,
            "steps": list(self.steps),
            "tables": tables,
            "notes": notes,
            "files": files,
        }


def reservations(site: Site) -> Table:
    """A line per host with a known card."""
    rows = tuple((host.mac, str(host.address), host.name) for host in site.hosts if host.mac)
    return Table("DHCP reservations", ("MAC address", "address", "name"), rows)


def dhcp_settings(site: Site) -> Table:
    """What the DHCP server tells its clients, and what it must never hand out."""
    network = site.network
    rows = [
        ("subnet", str(network.subnet)),
        ("router", str(network.gateway)),
        ("name server", str(site.dns_server or network.gateway)),
        ("domain", site.name),
    ]
    if network.dhcp is not None:
        rows.insert(1, ("range", str(network.dhcp.range)))
        rows.append(("lease", f"{network.dhcp.lease} seconds"))
    rows.append(("never hand out", f"{network.load_balancer}, {network.api}"))
    return Table("DHCP settings", ("setting", "value"), tuple(rows))


def records(site: Site) -> Table:
    """Names with their addresses, forward and reverse, and the wildcard."""
    rows: list[Row] = []
    for address, names in site.records:
        rows.append((names[0], "A", address))
        rows.append((IPv4Address(address).reverse_pointer, "PTR", names[0]))
    rows.append((f"*.{APPS}.{site.name}", "A", str(site.network.load_balancer.first)))
    return Table("DNS records", ("name", "type", "value"), tuple(rows))


def rules(site: Site) -> Table:
    """What has to get through from other networks to the site; nothing from the internet."""
    rows = tuple(
        (str(rule.source), rule.address, rule.door, rule.service) for rule in crossings(site, all_doors())
    )
    nothing = (("the internet", str(site.network.subnet), "nothing", "forward no port to the site"),)
    head = ("from", "to", "port", "what")
    return Table("Rules between networks", head, (*rows, *nothing), _what_is_seen(site))


def _what_is_seen(site: Site) -> str:
    """What of the router's settings shows from the hosts."""
    seen = []
    if site.network.dhcp is not None:
        seen.append("every host is offered the address that is reserved for it")
        seen.append("no address of the site or of the load balancer is offered to a stranger who asks for it")
    if site.dns_server is not None:
        seen.append("the records lead where they should")
    if site.network.firewall.enabled:
        seen.append(
            "by which of these rules somebody has come through to a host, and who came by none of them"
        )
    cannot = "Deskside cannot read the router's own settings."
    if not seen:
        return f"{cannot} Try each rule from a machine in the network it is for."
    return f"{cannot} What deskside check network sees of them from the hosts: {'; '.join(seen)}."


def router_handout(site: Site) -> Handout:
    """For a router that hands out addresses, knows names, or both."""
    steps = (
        "Enter the reservations, so that every host keeps its address.",
        "Set the range and the other DHCP settings; leave out what must never be handed out.",
        "Enter the DNS records. A router without PTR or wildcard records cannot be the site's name "
        "server: choose network.dns.provider: dnsmasq then.",
        "Set the rules between networks, if the router has others than this one.",
        "Run: deskside check network",
    )
    tables = (reservations(site), dhcp_settings(site), records(site), rules(site))
    return Handout(f"Router of {site.name}", steps, tables)


def synology_handout(site: Site, today: date) -> Handout:
    """For the DHCP Server and DNS Server packages of a Synology."""
    forward, reverse = zone_names(site)
    steps = (
        "Package Center: install DNS Server, and DHCP Server if the NAS is to hand out addresses.",
        f"DNS Server > Zones > Create > Import zone: {forward}.zone as the master zone {forward}, then "
        f"{reverse}.zone as the master zone {reverse}.",
        "DNS Server > Resolution: enable forwarding to your router or provider, and limit it to the subnet.",
        "Switch off the router's DHCP server. DHCP Server > Network interface > Edit: enable it with the "
        "range, router, name server and domain below.",
        "DHCP Server > DHCP clients > Reservation: enter the reservations.",
        "Run: deskside check network",
    )
    files = ((f"{forward}.zone", forward_zone(site, today)), (f"{reverse}.zone", reverse_zone(site, today)))
    tables = (reservations(site), dhcp_settings(site), records(site))
    return Handout(f"Synology of {site.name}", steps, tables, files)


def zone_names(site: Site) -> tuple[str, str]:
    """The forward and the reverse zone; the reverse one ends at a whole byte of the subnet's address."""
    kept = max(1, site.network.subnet.prefixlen // 8)
    parts = str(site.network.subnet.network_address).split(".")[:kept]
    return site.name, ".".join(reversed(parts)) + ".in-addr.arpa"


def _server(site: Site) -> str:
    """Address of the NAS that serves the zones."""
    dns = site.network.dns
    if dns is not None and dns.provider == "synology":
        return str(site.dns_server)
    return next(
        (str(host.address) for host in site.storage_hosts if not host.managed), str(site.network.gateway)
    )


def _head(site: Site, zone: str, today: date) -> list[str]:
    serial = int(today.strftime("%Y%m%d")) * FIRST_SERIAL
    known = (names[0] for address, names in site.records if address == _server(site))
    server = next(known, f"ns.{site.name}")
    return [
        f"$ORIGIN {zone}.",
        "$TTL 3600",
        f"@ IN SOA {server}. hostmaster.{site.name}. {serial} 3600 600 604800 300",
        f"@ IN NS {server}.",
    ]


def forward_zone(site: Site, today: date) -> str:
    """A zone file of BIND with every name below the site's domain."""
    zone, _ = zone_names(site)
    lines = _head(site, zone, today)
    within = [(names[0], address) for address, names in site.records if names[0].endswith(f".{zone}")]
    if not any(address == _server(site) for _, address in within):
        within.append((f"ns.{zone}", _server(site)))
    within.append((f"*.{APPS}.{zone}", str(site.network.load_balancer.first)))
    lines += [f"{name.removesuffix(f'.{zone}')} IN A {address}" for name, address in within]
    return _file(lines)


def reverse_zone(site: Site, today: date) -> str:
    """A zone file of BIND with the name of every address."""
    _, zone = zone_names(site)
    lines = _head(site, zone, today)
    for address, names in site.records:
        label = IPv4Address(address).reverse_pointer.removesuffix(f".{zone}")
        lines.append(f"{label} IN PTR {names[0]}.")
    return _file(lines)


def _file(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
