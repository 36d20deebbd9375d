"""What can be understood of a site file with problems: each value that is valid by itself, else None.

It exists so that rules between fields also run over the sound parts of a broken file. A value is read by the
very type of its field in `schema.py`, so that nothing is defined twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from deskside.site.faults import Place, at
from deskside.site.schema import (
    AddressRange,
    Admin,
    Dhcp,
    Dns,
    Export,
    Homes,
    HostSpec,
    Identity,
    Kubernetes,
    LdapServer,
    Network,
    Notebooks,
    Person,
    Profile,
    Role,
    Site,
)

T = TypeVar("T")


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[object]:
    info = model.model_fields[name]
    return TypeAdapter(Annotated[info.annotation, info])  # type: ignore[arg-type]


def leaf(data: object, model: type[BaseModel], name: str, kind: type[T]) -> T | None:
    """The value of one field of a section's plain values, read by the field's type; its default; or None."""
    if not isinstance(data, Mapping):
        data = {}
    if name not in data:
        default = model.model_fields[name].default
        return default if isinstance(default, kind) else None
    try:
        value = _adapter(model, name).validate_python(data[name])
    except ValidationError:
        return None
    return value if isinstance(value, kind) else None


@dataclass(frozen=True)
class DraftHost:
    """What can be understood of one host."""

    place: Place
    name: str | None
    address: IPv4Address | None
    mac: str | None
    roles: tuple[Role, ...]
    managed: bool | None
    has_data: bool

    def is_a(self, role: Role) -> bool:
        """Whether the host has the role."""
        return role in self.roles


@dataclass(frozen=True)
class DraftService:
    """What can be understood of `network.dhcp` or `network.dns`."""

    provider: str | None
    on: str | None
    range: AddressRange | None
    server: IPv4Address | None
    has_forwarders: bool
    has_key: bool


@dataclass(frozen=True)
class Draft:
    """What can be understood of a whole file."""

    data: Mapping[str, object]
    hosts: tuple[DraftHost, ...]
    sound_hosts: bool
    """Whether the roles of every host were understood: only then can a role be missing."""

    @property
    def site(self) -> str | None:
        """Name of the site."""
        return leaf(self.data, Site, "site", str)

    @property
    def train(self) -> str | None:
        """Name of the train."""
        return leaf(self.data, Site, "train", str)

    @property
    def kubernetes(self) -> str | None:
        """Minor version of Kubernetes."""
        return leaf(self.data.get("kubernetes"), Kubernetes, "version", str)

    def address(self, name: Literal["gateway", "api"]) -> IPv4Address | None:
        """One address of the network section."""
        return leaf(self.data.get("network"), Network, name, IPv4Address)

    def network(self, name: Literal["subnet", "pods", "services"]) -> IPv4Network | None:
        """One network of the network section."""
        return leaf(self.data.get("network"), Network, name, IPv4Network)

    @property
    def load_balancer(self) -> AddressRange | None:
        """Addresses for published services."""
        return leaf(self.data.get("network"), Network, "load_balancer", AddressRange)

    def service(self, name: Literal["dhcp", "dns"]) -> DraftService | None:
        """What can be understood of who hands out addresses, or knows the names; None without the section."""
        section = at(self.data, ("network", name))
        if not isinstance(section, Mapping):
            return None
        model = Dhcp if name == "dhcp" else Dns
        return DraftService(
            provider=leaf(section, model, "provider", str),
            on=leaf(section, model, "on", str),
            range=leaf(section, Dhcp, "range", AddressRange) if name == "dhcp" else None,
            server=leaf(section, Dns, "server", IPv4Address) if name == "dns" else None,
            has_forwarders=section.get("forwarders") is not None,
            has_key=section.get("tsig") is not None,
        )

    @property
    def homes(self) -> Export | None:
        """Where the homes are."""
        return leaf(at(self.data, ("storage", "homes")), Homes, "source", Export)

    def identity(
        self, name: Literal["kind", "base", "user_dn", "on", "replica", "host_admins"]
    ) -> str | None:
        """One text of the identity section."""
        return leaf(self.data.get("identity"), Identity, name, str)

    @property
    def directory(self) -> LdapServer | None:
        """Where the directory answers."""
        return leaf(self.data.get("identity"), Identity, "server", LdapServer)

    @property
    def fallback(self) -> LdapServer | None:
        """Where it answers too."""
        return leaf(self.data.get("identity"), Identity, "fallback", LdapServer)

    @property
    def admins(self) -> tuple[str, ...]:
        """Users who see the desks of others."""
        return leaf(self.data.get("identity"), Identity, "admins", tuple) or ()

    @property
    def keys(self) -> tuple[object, ...]:
        """Public keys of the admin."""
        return leaf(self.data.get("admin"), Admin, "keys", tuple) or ()

    @property
    def hub_name(self) -> str | None:
        """Name that browsers use."""
        return leaf(self.data.get("notebooks"), Notebooks, "hostname", str)

    def profiles(self) -> Iterator[tuple[Place, str | None, bool]]:
        """Place, name and default of each profile."""
        for place, profile in _items(self.data, ("notebooks", "profiles")):
            yield place, leaf(profile, Profile, "name", str), leaf(profile, Profile, "default", bool) or False

    def person(self, name: Literal["user", "outsider"]) -> str | None:
        """Name of a person of the verify section."""
        person = at(self.data, ("verify", name))
        return leaf(person, Person, "name", str) if isinstance(person, Mapping) else None


def make_draft(data: Mapping[str, object]) -> Draft:
    """What can be understood of plain values; never raises."""
    hosts = tuple(_host(place, item) for place, item in _items(data, ("hosts",)))
    return Draft(data, hosts, bool(hosts) and all(host.roles for host in hosts))


def _items(data: Mapping[str, object], place: Place) -> Iterator[tuple[Place, object]]:
    items = at(data, place)
    if isinstance(items, list):
        yield from (((*place, index), item) for index, item in enumerate(items))


def _host(place: Place, data: object) -> DraftHost:
    return DraftHost(
        place=place,
        name=leaf(data, HostSpec, "name", str),
        address=leaf(data, HostSpec, "address", IPv4Address),
        mac=leaf(data, HostSpec, "mac", str),
        roles=leaf(data, HostSpec, "roles", tuple) or (),
        managed=leaf(data, HostSpec, "managed", bool),
        has_data=isinstance(data, Mapping) and data.get("data") is not None,
    )
