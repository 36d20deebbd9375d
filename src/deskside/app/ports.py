"""What is open on every host and published address, and to whom: the firewall as a table. Asks no host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from deskside.catalog import all_doors
from deskside.model.door import Door, Source
from deskside.site.schema import Site, people_networks
from deskside.steps.firewall import SSH, doors_of


@dataclass(frozen=True)
class OpenPort:
    """One line of the table."""

    host: str
    """Name of a host, or of what is published."""
    address: str
    service: str
    protocol: str
    ports: str
    """`6443`, `2379-2380`; empty for a protocol without ports."""
    sources: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return asdict(self)


def open_ports(site: Site) -> tuple[OpenPort, ...]:
    """Every door of every managed host in file order, then what is published."""
    return (*_on_hosts(site), *_published(site))


def _on_hosts(site: Site) -> Iterator[OpenPort]:
    login = (site.admin.port or SSH,)
    for spec in site.managed_hosts:
        for door in doors_of(site, all_doors(), spec, login):
            yield _line(spec.name, str(spec.address), door)


def _published(site: Site) -> Iterator[OpenPort]:
    for door in all_doors():
        if door.address is not None:
            yield _line("load balancer", str(door.address(site)), door)


def _line(host: str, address: str, door: Door) -> OpenPort:
    return OpenPort(host, address, door.name, door.protocol, door.ports, tuple(door.sources))


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
