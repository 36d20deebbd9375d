"""What a site's choices come down to: hosts with their facts, and the plug-ins that serve them.

`catalog.py` makes one frozen `Platform`; steps are handed `(site, platform, host)` and look nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from deskside.model.artifact import Locked
from deskside.model.door import Door
from deskside.model.facts import Facts
from deskside.model.finding import Finding
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import HostReader, Resource
from deskside.site.schema import HostSpec, Site
from deskside.site.secrets import Secret
from deskside.site.trains import Train


@dataclass(frozen=True)
class HostOs:
    """A Linux distribution that Deskside knows: data only. One constant in one file of `oses/`."""

    id: str
    """ID of os-release."""
    versions: tuple[str, ...]
    """VERSION_ID values that are accepted."""
    packages: Mapping[str, tuple[str, ...]]
    """Package names by capability (`time`, `failover`, `nfs`); every OS has the same keys."""
    security: tuple[str, ...]
    """Origins of its security updates, as unattended-upgrades matches them (`Origins-Pattern`)."""
    verified: str
    """What has run for real and what has not, for the documentation."""


@dataclass(frozen=True)
class Host:
    """A managed host with what was observed about it."""

    spec: HostSpec
    facts: Facts
    os: HostOs

    @property
    def name(self) -> str:
        """The host's name in the site file."""
        return self.spec.name


@dataclass(frozen=True)
class JoinTicket:
    """What a host needs to join the cluster; lives as long as the join."""

    token: str = field(repr=False)
    ca_hash: str
    certificate_key: str = field(default="", repr=False)


@runtime_checkable
class Distro(Protocol):
    """A Kubernetes distribution. One constant in one file of `distros/`."""

    @property
    def name(self) -> str:
        """`kubeadm`."""

    @property
    def kubeconfig(self) -> str:
        """Path of the admin credentials on a server."""

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Names of the train's artifacts that it installs."""

    def software(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """Programs, units and images that a node needs before it joins."""

    def first_server(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """Bring up the first server."""

    def ticket(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """Make a JoinTicket on a server, when some host of the platform has not joined."""

    def join(
        self, site: Site, platform: Platform, host: Host, ticket: JoinTicket | None
    ) -> Iterator[Resource]:
        """Join a host, as server or worker by its roles."""

    def settled(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """Once all have joined: drop tickets, names inside the cluster, labels."""

    def certificate_questions(self, host: Host) -> tuple[ReadOutput, ...]:
        """What to ask a host about its certificates."""

    def certificates(self, host: Host, answers: Sequence[Output]) -> tuple[Certificate, ...]:
        """Certificates from the answers, in the order of the questions; none before the host joined."""


@dataclass(frozen=True)
class Certificate:
    """A certificate of the cluster that will expire."""

    host: str
    name: str
    not_after: float
    """Seconds since 1970."""

    def days_left(self, now: float) -> int:
        """Whole days from `now` (seconds since 1970); negative when it has expired."""
        return int((self.not_after - now) // 86400)


@dataclass(frozen=True)
class OwnDirectory:
    """What a directory that Deskside runs is made with; its authority and its reader stand in `Given`."""

    replicator: Secret = field(repr=False)
    """Password of the account by which a copy follows the first server."""
    certificates: Mapping[str, tuple[str, Secret]] = field(repr=False)
    """Certificate and key in PEM, by the host's name."""


@dataclass(frozen=True)
class Given:
    """What is reached for beside the site file on behalf of its directory: an authority and secrets."""

    ca: str = ""
    """PEM text of the authority; empty for those that the hosts trust."""
    reader: Secret | None = field(default=None, repr=False)
    """Password of the account that looks people up."""
    manager: Secret | None = field(default=None, repr=False)
    """Password of `identity.manager`."""
    client: Secret | None = field(default=None, repr=False)
    """`identity.client_secret`."""
    break_glass: str = ""
    """Salt and scrypt of the password of `identity.break_glass`, as SALT$HASH; empty without one."""
    own: OwnDirectory | None = field(default=None, repr=False)
    """With `identity.kind: openldap`."""


@dataclass(frozen=True)
class HubLogin:
    """What a directory contributes to the hub."""

    config: Mapping[str, object]
    """Merged into `hub.config`."""
    files: Mapping[str, str]
    """Mount path -> content (a CA certificate), for `hub.extraFiles`."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Name -> Python that the hub runs at its start, for `hub.extraConfig`."""
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    """Variables of the hub's environment; they lie in a Secret of the cluster, never in values."""
    scopes: tuple[str, ...] = ()
    """What else than putting people out Deskside may do at the hub, in JupyterHub's words."""


@runtime_checkable
class Directory(Protocol):
    """Where people's accounts live. One constant in one file of `identity/`."""

    @property
    def kind(self) -> str:
        """`ldap`."""

    def hub_login(self, site: Site, given: Given) -> HubLogin:
        """Configuration of the hub's authenticator."""

    async def check(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """Look at the directory from a server before a change: TLS and names; by a reader also people."""

    async def look(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """The same look at a directory that has to be up: what apply could put right is a failure too."""


@dataclass(frozen=True)
class AddOn:
    """An optional or built-in capability: Helm releases, their values, the images they need."""

    name: str
    title: str
    resources: Callable[[Site, Platform, Host], Iterator[Resource]]
    """What is applied, once, through a server."""
    images: tuple[str, ...] = ()
    """Names of the train's image artifacts; imported on every node."""
    charts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Names of add-ons or steps that come first."""
    deadline: float = 900.0


@dataclass(frozen=True)
class Platform:
    """A site's choices, resolved."""

    train: Train
    lock: Mapping[str, Locked]
    """By artifact name."""
    distro: Distro
    directory: Directory
    addons: tuple[AddOn, ...]
    hosts: Mapping[str, Host]
    """Managed hosts that answered, in site-file order."""
    doors: tuple[Door, ...] = ()
    """What the plug-ins have to let in."""
    given: Given = field(default_factory=Given)
    """What the directory is reached with."""
    dns_key: Secret | None = field(default=None, repr=False)
    """The secret of `network.dns.tsig`, in base64."""

    def artifact(self, name: str) -> Locked:
        """The locked artifact of that name; KeyError is a fault of the catalog, tested for every add-on."""
        return self.lock[name]

    @property
    def servers(self) -> tuple[Host, ...]:
        """In site-file order."""
        return tuple(host for host in self.hosts.values() if host.spec.is_server)

    @property
    def leader(self) -> Host:
        """The server that once-steps run on: the first that has joined, else the first."""
        joined = [host for host in self.servers if host.facts.kubernetes.joined]
        return (joined or list(self.servers))[0]
