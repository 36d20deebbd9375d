"""What a rack is, as values: its hosts, addresses, names and files. Arithmetic only; nothing here touches a
machine.

Two racks never share a name of a link, a cgroup, a table or a machine: each is made from the rack's name
here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from deskside.errors import DesksideError, UsageError
from deskside.lab import DEFAULT_RACK

Report = Callable[[str, str], None]
"""`report(host or rack, line)`: one line of progress for a person."""

NAS = "nas"
USERS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "ann": (1026, ("users", "administrators", "ai")),
    "bob": (1027, ("users",)),
    "cyd": (1028, ("users", "ai")),
}
"""People of the rack's directory: uid and groups. Ann is admin, bob is the outsider."""

LINK_LENGTH = 15
"""Bytes of a link's name in Linux."""
MACHINE_LENGTH = LINK_LENGTH - len("vb-")
"""systemd-nspawn names the host's end of a cable `vb-MACHINE`."""
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True)
class RackHost:
    """One virtual host."""

    name: str
    number: int
    """Last byte of its address."""
    roles: tuple[str, ...]
    disk: int = 12
    """Size of its only disk in GiB; the file behind it is sparse."""

    @property
    def managed(self) -> bool:
        """Whether Deskside logs in to it; the NAS is an appliance."""
        return "storage" not in self.roles


def workstations(
    servers: int = 1, workers: int = 2, *, nas: bool = True, servers_work: bool = True, disk: int = 12
) -> tuple[RackHost, ...]:
    """Hosts of a rack: servers first (which also run desks, unless told), workers, the NAS."""
    roles = ("server", "worker") if servers_work else ("server",)
    hosts = [
        RackHost(f"ws{n + 1}", 11 + n, roles if n < servers else ("worker",), disk)
        for n in range(servers + workers)
    ]
    if nas:
        hosts.append(RackHost(NAS, 20, ("storage",), min(disk, 8)))
    return tuple(hosts)


@dataclass(frozen=True)
class RackSpec:
    """What to build: a name and hosts."""

    name: str = DEFAULT_RACK
    hosts: tuple[RackHost, ...] = field(default_factory=workstations)

    def __post_init__(self) -> None:
        check_name(self.name)
        for values in ([host.name for host in self.hosts], [host.number for host in self.hosts]):
            if len(set(values)) != len(values):
                raise UsageError(f"rack {self.name}: two hosts share {values}")
        for host in self.hosts:
            if not _NAME.fullmatch(host.name) or not 11 <= host.number < 200:
                raise UsageError(f"rack {self.name}: {host.name} number {host.number} is no host of a rack")


def check_name(name: str) -> None:
    """Raise UsageError for what cannot name a rack."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a rack", hint="use 1 to 20 letters a-z, digits and hyphens, a letter first"
        )


def racks_folder() -> Path:
    """Where the racks of this user are."""
    own = os.environ.get("DESKSIDE_RACKS")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_STATE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".local/state") / "deskside/racks"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Layout:
    """A rack's spec together with the subnet it got: every name, address and path follows."""

    spec: RackSpec
    subnet_number: int
    """N of 10.77.N.0/24."""
    folder: Path

    @property
    def name(self) -> str:
        """Name of the rack."""
        return self.spec.name

    @property
    def prefix(self) -> str:
        """First three bytes of every address, with the last dot."""
        return f"10.77.{self.subnet_number}."

    @property
    def subnet(self) -> str:
        """As 10.77.0.0/24."""
        return f"{self.prefix}0/24"

    @property
    def gateway(self) -> str:
        """The machine itself, on the rack's bridge."""
        return f"{self.prefix}1"

    @property
    def api(self) -> str:
        """Address that the servers hold in turn."""
        return f"{self.prefix}10"

    @property
    def load_balancer(self) -> str:
        """Range of published addresses."""
        return f"{self.prefix}200-{self.prefix}220"

    @property
    def domain(self) -> str:
        """Name of the site that the rack is."""
        return f"{self.name}.example"

    @property
    def directory_root(self) -> str:
        """Distinguished name at the top of the NAS's directory."""
        return ",".join(f"dc={label}" for label in self.domain.split("."))

    @property
    def bridge(self) -> str:
        """Name of the switch."""
        name = f"dsk-{self.name}"
        return name if len(name) <= LINK_LENGTH else f"dsk-{self.name[:5]}-{_digest(self.name, 5)}"

    @property
    def table(self) -> str:
        """Name of the rack's own nft table."""
        return f"deskside_{self.name.replace('-', '_')}"

    @property
    def hosts(self) -> tuple[RackHost, ...]:
        """Its hosts, as in the spec."""
        return self.spec.hosts

    @property
    def nas(self) -> RackHost | None:
        """The storage host, when there is one."""
        return next((host for host in self.hosts if not host.managed), None)

    def host(self, name: str) -> RackHost:
        """The host of that name; raises UsageError."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise UsageError(f"rack {self.name} has no host {name!r}", hint=f"its hosts are {names}")

    def address(self, host: RackHost) -> str:
        """IPv4 address of a host."""
        return f"{self.prefix}{host.number}"

    def fqdn(self, host: RackHost) -> str:
        """Full name of a host."""
        return f"{host.name}.{self.domain}"

    def mac(self, number: int) -> str:
        """Hardware address of the host with that number; 1 is the bridge."""
        digest = _digest(self.name, 4)
        return f"02:d5:{digest[:2]}:{digest[2:]}:{self.subnet_number:02x}:{number:02x}"

    def machine_name(self, host: RackHost) -> str:
        """Name of the host among all of this machine's containers."""
        name = f"{self.name}-{host.name}"
        if len(name) <= MACHINE_LENGTH:
            return name
        return f"{host.name[:5].rstrip('-')}-{_digest(name, 6)}"

    def link(self, host: RackHost) -> str:
        """The machine's end of the host's cable."""
        return f"vb-{self.machine_name(host)}"

    def place(self, host: RackHost) -> Path:
        """Folder of a host: disk, root, console log."""
        return self.folder / "hosts" / host.name

    def root(self, host: RackHost) -> Path:
        """Where the host's disk is mounted on this machine."""
        return self.place(host) / "root"

    @property
    def key(self) -> Path:
        """Private SSH key of the rack's user `ops`."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Pins of all hosts, beside the site file."""
        return self.folder / "known_hosts"

    @property
    def site_file(self) -> Path:
        """The site file that a person would have written for this rack."""
        return self.folder / "site.yaml"

    @property
    def record(self) -> Path:
        """Where `save` keeps all this."""
        return self.folder / "rack.json"

    def save(self) -> None:
        """Write rack.json, by one rename."""
        fields = {"subnet_number": self.subnet_number, "spec": asdict(self.spec)}
        fresh = self.record.with_suffix(".new")
        fresh.write_text(json.dumps(fields, indent=1) + "\n")
        fresh.rename(self.record)


def load_layout(folder: Path) -> Layout:
    """Read rack.json of a rack's folder. Raises DesksideError when there is none, or it cannot be read."""
    try:
        fields = json.loads((folder / "rack.json").read_text())
        spec = fields["spec"]
        hosts = tuple(RackHost(**{**one, "roles": tuple(one["roles"])}) for one in spec["hosts"])
        return Layout(RackSpec(spec["name"], hosts), int(fields["subnet_number"]), folder)
    except FileNotFoundError:
        raise DesksideError(f"there is no rack in {folder}", hint="deskside lab up") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DesksideError(f"reading {folder}/rack.json: {error}", hint="deskside lab down") from error


def recorded_racks(folder: Path) -> dict[str, Layout]:
    """Every rack of a folder of racks that can be read, by name."""
    found = {}
    for record in sorted(folder.glob("*/rack.json")):
        try:
            layout = load_layout(record.parent)
        except DesksideError:
            continue
        found[layout.name] = layout
    return found


def json_object(text: str) -> dict[str, object]:
    """A JSON object; an empty one for anything else, so that a torn record never stops a clean-up."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
