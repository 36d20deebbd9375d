"""What the firewalls let in, line by line: the doors of every managed host, and what is published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from deskside.model.door import Door
from deskside.site.schema import Site
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


def lines_of(site: Site, doors: Sequence[Door]) -> Iterator[OpenPort]:
    """Every door of every managed host in file order, then what is published."""
    login = (site.admin.port or SSH,)
    for spec in site.managed_hosts:
        for door in doors_of(site, doors, spec, login):
            yield _line(spec.name, str(spec.address), door)
    for door in doors:
        if door.address is not None:
            address = door.address(site)
            name = "api" if address == site.network.api else "load balancer"
            yield _line(name, str(address), door)


def _line(host: str, address: str, door: Door) -> OpenPort:
    return OpenPort(host, address, door.name, door.protocol, door.ports, tuple(door.sources))
