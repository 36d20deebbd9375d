"""A door: what a service of ours has to let in, and from whom. The firewall is made of these.

A plug-in declares the doors of what it installs as constants of its module; the catalog finds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from deskside.site.schema import HostSpec, Site


class Source(StrEnum):
    """Who may come in."""

    PEOPLE = "people"
    """`network.firewall.allow_from`; the subnet when the site file has none."""
    NODES = "nodes"
    """Servers and workers."""
    SERVERS = "servers"
    PODS = "pods"
    SUBNET = "subnet"
    ANYONE = "anyone"


@dataclass(frozen=True)
class Door:
    """One service that listens on hosts."""

    name: str
    """For people: `Kubernetes API`."""
    protocol: str
    """`tcp`, `udp`, or a protocol that has no ports, as `vrrp`."""
    ports: str
    """`6443`, `2379-2380`; empty for a protocol without ports."""
    sources: tuple[Source, ...]
    on: Callable[[Site, HostSpec], bool]
    """Whether a host has it, by the site file."""
    address: Callable[[Site], IPv4Address] | None = None
    """Of a service that is published: its address among those of the load balancer."""

    @property
    def rule(self) -> str:
        """What nft matches: `tcp dport 6443`, `meta l4proto 112`."""
        if self.ports:
            return f"{self.protocol} dport {self.ports}"
        return f"meta l4proto {NUMBERS[self.protocol]}"


NUMBERS = {"vrrp": 112}
"""Numbers of protocols without ports: nft has no name for them on every system."""


def on_nodes(site: Site, host: HostSpec) -> bool:
    """On every server and worker."""
    del site
    return host.is_node


def on_servers(site: Site, host: HostSpec) -> bool:
    """On every server."""
    del site
    return host.managed and host.is_server


def nowhere(site: Site, host: HostSpec) -> bool:
    """On no host: it is published at an address of its own."""
    del site, host
    return False
