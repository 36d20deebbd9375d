"""The site file as frozen types: what a person may write, with the meaning of every field.

This is the one source of the field names, of the JSON Schema for editors and of the settings reference. It
accepts only what works in this version; `load.py` says "not available in this version" for the rest. A model
checks its own values; rules between sections live in `rules.py`. Nothing here reads a file or asks a host.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from pydantic import Field

from deskside.site.accounts import Allow, BindAccount, CaFile, Identity, LocalAdmin
from deskside.site.directory import LdapDirectory, make_ldap_directory
from deskside.site.machines import (
    Admin,
    DataDevice,
    Dhcp,
    Dns,
    Firewall,
    HostSpec,
    Installer,
    Network,
    Role,
    Section,
    host_number,
    people_networks,
)
from deskside.site.releases import ChartSource, Release, Releases
from deskside.site.secrets import Secret, SecretSource
from deskside.site.values import (
    AbsolutePath,
    AddressRange,
    Domain,
    Export,
    ExportField,
    ImageName,
    LdapServer,
    Memory,
    MemoryField,
    Username,
    Values,
)

__all__ = [
    "AddressRange",
    "Admin",
    "Allow",
    "BindAccount",
    "CaFile",
    "ChartSource",
    "DataDevice",
    "Dhcp",
    "Dns",
    "Export",
    "Firewall",
    "Homes",
    "HostSpec",
    "Identity",
    "Ingress",
    "Installer",
    "Kubernetes",
    "LdapDirectory",
    "LdapServer",
    "LocalAdmin",
    "Memory",
    "Network",
    "Notebooks",
    "Person",
    "Profile",
    "Release",
    "Releases",
    "Role",
    "Secret",
    "SecretSource",
    "Section",
    "Site",
    "Storage",
    "Verify",
    "Volumes",
    "host_number",
    "people_networks",
    "pod_range",
]

DEFAULT_TRAIN = "2026-11"


class Kubernetes(Section):
    """The cluster itself."""

    distro: Literal["kubeadm"] = Field("kubeadm", description="`kubeadm`: upstream Kubernetes.")
    version: str = Field(
        "1.36",
        pattern=r"^1\.[0-9]{2}$",
        description="Minor version; must be the one that the train was tested with.",
    )


class Homes(Section):
    """The users' homes."""

    source: ExportField = Field(
        examples=["nas:/volume1/homes"],
        description="Folder exported over NFS by a storage host, as nas:/volume1/homes. A folder per user.",
    )


class Volumes(Section):
    """Volumes of the services, such as the hub's database."""

    kind: Literal["local"] = Field("local", description="`local`: folders on the data path of one host.")


class Storage(Section):
    """Where data lives."""

    homes: Homes = Field(examples=['{source: "nas:/volume1/homes"}'], description="The users' homes.")
    volumes: Volumes = Field(Volumes(), description="Volumes of the services.")


class Ingress(Section):
    """How browsers reach the hub."""

    kind: Literal["none"] = Field(
        "none", description="`none`: plain HTTP on a load-balancer address. Passwords travel unencrypted."
    )


class Profile(Section):
    """One line of the list that a user picks a desk from."""

    name: str = Field(
        examples=["CPU desk"], min_length=1, max_length=60, description="What the user reads, as CPU desk."
    )
    cpu: float = Field(
        2, gt=0, le=1024, allow_inf_nan=False, description="Cores of the desk, guaranteed; 0.5 is half."
    )
    memory: MemoryField = Field(
        examples=["4Gi"], description="Memory of the desk, guaranteed and the limit, as 4Gi."
    )
    image: ImageName | None = Field(None, description="Image of the desk; by default that of `notebooks`.")
    default: bool = Field(
        False, description="Whether it is chosen beforehand; without any, the first one is."
    )


class Notebooks(Section):
    """The hub and its desks."""

    hostname: Domain = Field(
        examples=["notebooks.lab.example"], description="Name that browsers use, as notebooks.lab.example."
    )
    profiles: tuple[Profile, ...] = Field(min_length=1, description="The desks that users can pick.")
    image: ImageName | None = Field(None, description="Image of the desks; by default the train's.")
    scratch: AbsolutePath | None = Field(
        None,
        description="Folder on the local disk of each worker that desks see as /scratch: fast, not shared, "
        "not backed up. By default in the host's data folder.",
    )
    start_timeout: int = Field(
        1200,
        ge=60,
        le=7200,
        description="Seconds that a desk may take to start; the first pull of an image counts.",
    )
    chart: ChartSource | None = Field(None, description="Another JupyterHub chart than the train's.")
    values: Values = Field({}, description="Values for the JupyterHub chart, passed through last.")


class Person(Section):
    """A user of the directory, for the acceptance test."""

    name: Username = Field(examples=["ann"], description="Name in the directory.")
    password: SecretSource | None = Field(
        None,
        examples=["{file: ann.secret}"],
        description="{env: NAME} or {file: PATH}; asked for on a terminal when absent.",
    )


class Verify(Section):
    """Who the acceptance test logs in as. Without them those checks are asked for, or reported as not run."""

    user: Person | None = Field(None, description="Somebody who may log in.")
    outsider: Person | None = Field(None, description="Somebody of the directory who may not log in.")


class Site(Section):
    """The declared whole: one file, one site."""

    site: Domain = Field(
        examples=["lab.example"],
        description="Name of the site, which is also its internal domain, as lab.example.",
    )
    train: str = Field(
        DEFAULT_TRAIN, pattern=r"^[\w.-]{1,64}$", description="The versions that were tested together."
    )
    admin: Admin = Field(description="Who Deskside is on the hosts.")
    network: Network = Field(description="Addresses of the site.")
    hosts: tuple[HostSpec, ...] = Field(min_length=1, description="The machines.")
    identity: Identity = Field(description="The directory that knows the people.")
    kubernetes: Kubernetes = Field(Kubernetes(), description="The cluster itself.")
    storage: Storage = Field(description="Where data lives.")
    ingress: Ingress = Field(Ingress(), description="How browsers reach the hub.")
    notebooks: Notebooks = Field(description="The hub and its desks.")
    releases: Releases = Field(Releases(), description="The escape hatch of the other Helm releases.")
    verify: Verify = Field(Verify(), description="Who the acceptance test logs in as.")

    @property
    def name(self) -> str:
        """The site's name, which is its domain."""
        return self.site

    @property
    def api_name(self) -> str:
        """Name of the cluster's API, resolved on every host to `network.api`."""
        return f"api.{self.site}"

    @property
    def managed_hosts(self) -> tuple[HostSpec, ...]:
        """Hosts that Deskside logs in to, in file order."""
        return tuple(host for host in self.hosts if host.managed)

    @property
    def nodes(self) -> tuple[HostSpec, ...]:
        """Managed servers and workers, in file order."""
        return tuple(host for host in self.hosts if host.is_node)

    @property
    def servers(self) -> tuple[HostSpec, ...]:
        """Managed servers, in file order; the first one begins the cluster."""
        return tuple(host for host in self.managed_hosts if host.is_server)

    @property
    def workers(self) -> tuple[HostSpec, ...]:
        """Managed workers, in file order; a server may be one."""
        return tuple(host for host in self.managed_hosts if host.is_worker)

    @property
    def storage_hosts(self) -> tuple[HostSpec, ...]:
        """Storage hosts, managed or not, in file order."""
        return tuple(host for host in self.hosts if host.is_storage)

    @property
    def dns_server(self) -> IPv4Address | None:
        """Who knows the site's names; None when nobody does, or the file was not validated."""
        dns = self.network.dns
        if dns is None:
            return None
        if dns.provider == "dnsmasq":
            return next((host.address for host in self.hosts if host.name == dns.on), None)
        if dns.server or dns.provider == "router":
            return dns.server or self.network.gateway
        return next((host.address for host in self.storage_hosts if not host.managed), None)

    @property
    def forwarders(self) -> tuple[IPv4Address, ...]:
        """Who knows names beyond the site: `network.dns.forwarders`, else the gateway."""
        dns = self.network.dns
        return (self.network.gateway,) if dns is None or dns.forwarders is None else dns.forwarders

    @property
    def records(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Addresses with their names, the full one first: hosts, the API, and what is published."""
        hosts = tuple((str(host.address), (self.fqdn(host), host.name)) for host in self.hosts)
        api = (str(self.network.api), (self.api_name,))
        hub = (str(self.network.load_balancer.first), (self.notebooks.hostname,))
        return (*hosts, api, hub)

    @property
    def ldap(self) -> LdapDirectory | None:
        """The directory, where it speaks LDAP: every `identity.kind` but `okta`."""
        return make_ldap_directory(self)

    @property
    def homes_host(self) -> HostSpec:
        """The storage host that has the homes. Raises KeyError when the file was not validated."""
        return self.host(self.storage.homes.source.host)

    def host(self, name: str) -> HostSpec:
        """The host of that name; raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def fqdn(self, host: HostSpec | str) -> str:
        """Full name of a host: `ws1.lab.example`."""
        return f"{host if isinstance(host, str) else host.name}.{self.site}"

    def release(self, name: Literal["jupyterhub", "metallb", "local-path"]) -> Release:
        """What the file says about a Helm release: its chart and its last values."""
        if name == "jupyterhub":
            return Release(chart=self.notebooks.chart, values=self.notebooks.values)
        return self.releases.metallb if name == "metallb" else self.releases.local_path


def pod_range(site: Site, host: HostSpec) -> IPv4Network:
    """The /24 of `network.pods` of a host on a flat pod network. Raises ValueError beyond the last one."""
    pods = site.network.pods
    number = host_number(site.network, host.address)
    if pods.prefixlen > 24 or not 0 <= number < 2 ** (24 - pods.prefixlen):
        raise ValueError(f"{pods} has no /24 with number {number}")
    return IPv4Network((int(pods.network_address) + number * 256, 24))
