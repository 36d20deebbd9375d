"""The sections about machines: who is admin, the network, the hosts. Part of `schema.py`, which see.

Apart from it only for its length; import these names from `deskside.site.schema`. A model checks its own
values; rules between sections live in `rules.py`.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from deskside.site.secrets import SecretSource
from deskside.site.values import AbsolutePath, Domain, Label, Mac, Opening, RangeField, Username


class Section(BaseModel):
    """Every section of the site file: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Role(StrEnum):
    """What a host is for."""

    SERVER = "server"
    WORKER = "worker"
    STORAGE = "storage"


class Installer(Section):
    """The account that the operating system's installer made, for `deskside adopt`."""

    user: Username = Field(
        examples=["ubuntu"], description="Its name; `deskside adopt --user` is another one, for once."
    )
    keep: bool = Field(
        True, description="`false`: once a host is taken over the account is removed, with its home."
    )


class Admin(Section):
    """Who Deskside is on the hosts."""

    user: Username = Field(
        examples=["ops"], description="Account on every managed host; may use sudo without a password."
    )
    keys: tuple[Path, ...] = Field(
        (),
        description="Public keys (.pub); the private key beside each is tried first, then the agent, the "
        "usual keys and ~/.ssh/config. `~` is the home folder; other paths are relative to the site file.",
    )
    port: int | None = Field(
        None, ge=1, le=65535, description="SSH port of the hosts; by default that of ~/.ssh/config, else 22."
    )
    installer: Installer | None = Field(
        None, description="Account that the installer made: how `deskside adopt` gets in for the first time."
    )


class Dhcp(Section):
    """Who hands out addresses."""

    provider: Literal["dnsmasq", "synology", "router"] = Field(
        examples=["dnsmasq"],
        description="`dnsmasq`: Deskside runs it on a host. `synology`, `router`: a person sets it up, with "
        "what `deskside handout` prints.",
    )
    on: Label | None = Field(
        None, examples=["ws1"], description="With `dnsmasq`: the managed host that runs it."
    )
    range: RangeField = Field(
        examples=["10.20.0.100-10.20.0.199"],
        description="Addresses for machines without a reservation. In the subnet, apart from "
        "`load_balancer`.",
    )
    lease: int = Field(
        43200, ge=300, le=2592000, description="Seconds for which an address is given; half of it to renew."
    )


class Tsig(Section):
    """A key by which a name server takes updates (RFC 2136)."""

    name: Domain = Field(examples=["deskside"], description="Name of the key, as the name server knows it.")
    algorithm: Literal["hmac-sha256", "hmac-sha512"] = Field(
        "hmac-sha256", description="Algorithm of the key."
    )
    secret: SecretSource = Field(
        examples=["{file: dns.key}"], description="{env: NAME} or {file: PATH} of the key itself, in base64."
    )


class Dns(Section):
    """Who knows the site's names."""

    provider: Literal["dnsmasq", "synology", "router"] = Field(
        examples=["dnsmasq"],
        description="`dnsmasq`: Deskside runs it on a host. `synology`, `router`: a person sets it up, with "
        "what `deskside handout` prints.",
    )
    on: Label | None = Field(
        None, examples=["ws1"], description="With `dnsmasq`: the managed host that runs it."
    )
    server: IPv4Address | None = Field(
        None,
        examples=["10.20.0.20"],
        description="With `synology` or `router`: the server's address; by default that of the storage host "
        "that is not managed, or the gateway.",
    )
    tsig: Tsig | None = Field(
        None,
        description="With `synology` or `router`: a key by which Deskside enters the records (RFC 2136).",
    )
    forwarders: tuple[IPv4Address, ...] | None = Field(
        None,
        examples=["[10.20.0.1]"],
        description="With `dnsmasq`: who knows all other names; by default the gateway. `[]`: nobody.",
    )


class Firewall(Section):
    """What is let in from outside."""

    enabled: bool = Field(
        True, description="`false`: Deskside removes its rules and leaves the hosts' ports to you."
    )
    allow_from: tuple[IPv4Network, ...] = Field(
        (),
        examples=["[10.20.0.0/24]"],
        description="Networks that people come from; by default the subnet. Must contain the address that "
        "Deskside is run from.",
    )
    open: tuple[Opening, ...] = Field(
        (),
        examples=["[tcp/8080, udp/60000-61000]"],
        description="Further ports of every managed host that people may use, for services of your own.",
    )


class Network(Section):
    """Addresses of the site. All ranges are apart from each other; IPv4 only."""

    subnet: IPv4Network = Field(examples=["10.20.0.0/24"], description="The network that all hosts are in.")
    gateway: IPv4Address = Field(examples=["10.20.0.1"], description="The router of the subnet.")
    api: IPv4Address = Field(
        examples=["10.20.0.10"],
        description="Address of the cluster's API, held by the servers in turn. In the subnet, used by "
        "nothing else.",
    )
    load_balancer: RangeField = Field(
        examples=["10.20.0.200-10.20.0.220"],
        description="Addresses for published services, as 10.20.0.200-10.20.0.220. In the subnet, used by "
        "nothing else, and outside the range that a DHCP server hands out.",
    )
    pods: IPv4Network = Field(
        IPv4Network("10.42.0.0/16"),
        description="Network of the pods. With `pod_network: flat` each host gets the /24 of its number in "
        "the subnet.",
    )
    services: IPv4Network = Field(
        IPv4Network("10.43.0.0/16"), description="Network of the services inside the cluster."
    )
    pod_network: Literal["flat"] = Field(
        "flat",
        description="How pods reach each other. `flat`: host routes, no overlay, no network policies. Fixed "
        "at the first apply.",
    )
    dhcp: Dhcp | None = Field(
        None, description="Who hands out addresses; without it Deskside does not look after them."
    )
    dns: Dns | None = Field(
        None, description="Who knows the site's names; without it the hosts know them by /etc/hosts alone."
    )
    firewall: Firewall = Field(Firewall(), description="What is let in from outside.")
    mtu: int | None = Field(
        None,
        ge=1280,
        le=9216,
        description="Largest packet of the pods in bytes; by default that of the host's link.",
    )


class DataDevice(Section):
    """A whole disk that Deskside may format, because a person typed its serial number."""

    device: AbsolutePath = Field(
        examples=["/dev/disk/by-id/nvme-SAMSUNG_S6B0NL0T"],
        description="The disk, as /dev/disk/by-id/nvme-... or /dev/nvme1n1.",
    )
    serial: str = Field(
        examples=["<what lsblk -o NAME,SERIAL shows>"],
        min_length=4,
        max_length=64,
        pattern=r"^[\w.-]+$",
        description="Serial number of the disk, typed from: lsblk -o NAME,SERIAL. Another disk is refused.",
    )


def _data_kind(value: object) -> str:
    return "<path>" if isinstance(value, str) else "<device>"


class HostSpec(Section):
    """A machine of the site."""

    name: Label = Field(examples=["ws1"], description="Host name, one DNS label. The full name is NAME.SITE.")
    address: IPv4Address = Field(
        examples=["10.20.0.11"], description="Its address in the subnet, the same at all times."
    )
    mac: Mac | None = Field(None, description="MAC address of the network card with that address.")
    roles: tuple[Role, ...] = Field(
        examples=["[server, worker]"],
        min_length=1,
        description="What it is for: `server` (holds the cluster's API), `worker` (runs desks), `storage` "
        "(has the homes). A server without `worker` runs no desks.",
    )
    managed: bool = Field(
        True,
        description="`false` for a NAS: it is never logged in to and never changed, only probed from others.",
    )
    data: (
        Annotated[
            Annotated[AbsolutePath, Tag("<path>")] | Annotated[DataDevice, Tag("<device>")],
            Discriminator(_data_kind),
        ]
        | None
    ) = Field(
        None,
        description="Where containers, kubelet and volumes live: a folder, or a disk as {device, serial}. By "
        "default /var/lib. Nothing is ever formatted unless its serial number stands here.",
    )

    @property
    def is_server(self) -> bool:
        """Whether it holds the cluster's API."""
        return Role.SERVER in self.roles

    @property
    def is_worker(self) -> bool:
        """Whether it runs desks."""
        return Role.WORKER in self.roles

    @property
    def is_storage(self) -> bool:
        """Whether homes can be on it."""
        return Role.STORAGE in self.roles

    @property
    def is_node(self) -> bool:
        """Whether it is part of the cluster: a managed server or worker."""
        return self.managed and (self.is_server or self.is_worker)


def people_networks(network: Network) -> tuple[IPv4Network, ...]:
    """Where people come from: `firewall.allow_from`, else the subnet."""
    return network.firewall.allow_from or (network.subnet,)


def host_number(network: Network, address: IPv4Address) -> int:
    """Position of an address within the subnet: 11 for 10.20.0.11 in 10.20.0.0/24."""
    return int(address) - int(network.subnet.network_address)
