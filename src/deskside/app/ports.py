"""What is open on every host and published address, and to whom: the firewall as a table. Asks no host."""

from __future__ import annotations

from deskside.catalog import all_doors
from deskside.model.door import Source
from deskside.site.schema import Site, people_networks
from deskside.steps.open_ports import OpenPort, lines_of


def open_ports(site: Site) -> tuple[OpenPort, ...]:
    """Every door of every managed host in file order, then what is published."""
    return tuple(lines_of(site, all_doors()))


def who(site: Site) -> tuple[tuple[str, str], ...]:
    """What each word of `sources` means at this site."""
    people = ", ".join(map(str, people_networks(site.network)))
    return (
        (Source.PEOPLE, f"{people} (network.firewall.allow_from)"),
        (Source.NODES, "servers and workers"),
        (Source.SERVERS, "servers"),
        (Source.PODS, f"{site.network.pods} (network.pods)"),
        (Source.SUBNET, f"{site.network.subnet} (network.subnet)"),
        (Source.ANYONE, "whoever reaches the host"),
    )
