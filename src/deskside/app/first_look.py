"""What a machine is before it is taken over: asked in two rounds, and told as things with their fate.

Nothing here changes anything, and no thing that belongs to somebody else is ever removed by Deskside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from deskside.app.handover import SUDOERS, sudo_rule
from deskside.catalog import os_of, served_systems
from deskside.errors import CheckFailed
from deskside.model.facts import Facts
from deskside.model.platform import Host, HostOs
from deskside.model.query import (
    Output,
    PathFound,
    ReadFacts,
    ReadOutput,
    ReadPackages,
    ReadPath,
    ReadUnit,
    UnitFound,
)
from deskside.model.resource import HostReader
from deskside.model.takeover import Fate, Thing
from deskside.resources.disks import WIPE_HINT, DataDisk
from deskside.site.schema import DataDevice, HostSpec, Installer, Site
from deskside.steps.preflight_hosts import foreign, ports

UNITS = ("docker.service", "containerd.service", "ufw.service", "firewalld.service", "kubelet.service")
PACKAGES = (
    *("docker.io", "docker-ce", "containerd", "containerd.io", "ufw", "firewalld", "kubelet"),
    *("cuda-toolkit", "nvidia-cuda-toolkit"),
)
QUESTIONS: Mapping[str, ReadOutput] = {
    "containers": ReadOutput(("docker", "ps", "--quiet")),
    "ufw": ReadOutput(("ufw", "status")),
    "disks": ReadOutput(
        ("lsblk", "--json", "--paths", "--bytes", "--output", "NAME,TYPE,SIZE,FSTYPE,MOUNTPOINT,SERIAL,UUID")
    ),
    "accounts": ReadOutput(("getent", "passwd")),
    "sshd": ReadOutput(("sshd", "-T")),
    "sudo": ReadOutput(("cat", SUDOERS)),
    "cuda": ReadOutput(("sh", "-c", "ls -d /usr/local/cuda*/bin/cuda-uninstaller 2>/dev/null")),
    "driver": ReadOutput(("sh", "-c", "ls /usr/bin/nvidia-uninstall 2>/dev/null")),
}
PEOPLE = range(1000, 60000)
"""User ids that installers give to people."""
NO_SHELLS = ("nologin", "false", "sync", "halt", "shutdown")
CLOSED: Mapping[str, str] = {
    "permitrootlogin": "no",
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "pubkeyauthentication": "yes",
}
"""Effective settings of an SSH server (`sshd -T`) that lets nobody in but by key, and root not at all."""
SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/usr", "/var", "/home", "[SWAP]")
GIB = 1024**3


@dataclass(frozen=True)
class Account:
    """A person's account on the machine."""

    name: str
    uid: int
    home: str
    keys: tuple[str, ...] = ()
    """Lines of its `authorized_keys`."""


@dataclass(frozen=True)
class Look:
    """All that was seen of one machine."""

    facts: Facts
    system: HostOs
    outputs: Mapping[str, Output]
    packages: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, UnitFound] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()

    @property
    def sshd(self) -> Mapping[str, str]:
        """Effective settings of the SSH server, by small names."""
        lines = self.outputs["sshd"].stdout.splitlines()
        return {words[0]: words[2] for line in lines if (words := line.partition(" "))}

    @property
    def sshd_closed(self) -> bool:
        """Whether it already lets nobody in but by key."""
        return all(self.sshd.get(name) == value for name, value in CLOSED.items())

    def active(self, unit: str) -> bool:
        """Whether a unit runs."""
        return unit in self.units and self.units[unit].active == "active"

    def has_account(self, name: str) -> bool:
        """Whether a person of that name has an account."""
        return any(account.name == name for account in self.accounts)


async def first_look(host: HostReader) -> Look:
    """Look at a machine. Raises Unreachable, StepFailed, or CheckFailed for a system that nothing serves."""
    raw, packages, outputs, units = await asyncio.gather(
        host.read(ReadFacts(("/", "/var"))),
        host.read(ReadPackages(PACKAGES)),
        host.read_all(tuple(QUESTIONS.values())),
        host.read_all(tuple(ReadUnit(name) for name in UNITS)),
    )
    facts = Facts.from_raw(raw)
    if (system := os_of(facts)) is None:
        said = f"{facts.os_name or facts.os_id} {facts.os_version}".strip()
        raise CheckFailed(
            f"{host.name} runs {said}, which is not supported",
            hint=f"supported: {served_systems()}; a new one is one file in oses/",
        )
    told = dict(zip(QUESTIONS, outputs, strict=True))
    people = _people(told["accounts"].stdout)
    places = [ReadPath(f"{one.home}/.ssh/authorized_keys", content=True) for one in people]
    keys = await host.read_all(places)
    accounts = tuple(_with_keys(one, found) for one, found in zip(people, keys, strict=True))
    return Look(facts, system, told, packages, dict(zip(UNITS, units, strict=True)), accounts)


def _people(passwd: str) -> tuple[Account, ...]:
    found = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) < 7 or not fields[2].isdigit() or int(fields[2]) not in PEOPLE:
            continue
        if fields[6].rpartition("/")[2] not in NO_SHELLS:
            found.append(Account(fields[0], int(fields[2]), fields[5]))
    return tuple(found)


def _with_keys(account: Account, found: PathFound) -> Account:
    text = (found.content or b"").decode(errors="replace")
    return replace(account, keys=tuple(line.strip() for line in text.splitlines() if line.strip()))


def things(
    site: Site, spec: HostSpec, look: Look, keys: Sequence[str], *, entered: str, installer: str
) -> tuple[Thing, ...]:
    """Everything that a person should know before saying yes.

    `keys` are the site's public keys, `entered` is who we are logged in as, and `installer` is the account
    that the installer made.
    """
    host = Host(spec, look.facts, look.system)
    return (
        *_access(site, spec, look, keys),
        *_people_things(site, spec, look, installer),
        *_containers(spec, look),
        *_other_clusters(site, host),
        *_firewalls(spec, look),
        *_graphics(spec, look),
        *_disks(spec, look),
    )


def _access(site: Site, spec: HostSpec, look: Look, keys: Sequence[str]) -> Iterator[Thing]:
    name, admin = spec.name, site.admin.user
    given = _given(look, admin, keys)
    if look.facts.hostname != spec.name:
        yield Thing(name, "hostname", Fate.CHANGED, f"it calls itself {look.facts.hostname}; becomes {name}")
    if not look.has_account(admin):
        said = f"the account {admin} is made, with {given}"
        yield Thing(name, "admin", Fate.CHANGED, said)
    elif given:
        yield Thing(name, "admin", Fate.CHANGED, f"the account {admin} is there; it gets {given}")
    if not look.sshd_closed:
        opened = [key for key, value in CLOSED.items() if look.sshd.get(key) != value]
        said = f"SSH lets in more than keys ({', '.join(opened)}); from then on keys only, and never root"
        yield Thing(name, "sshd", Fate.CHANGED, said)


def _given(look: Look, admin: str, keys: Sequence[str]) -> str:
    """What the site's account does not have yet, in words; empty when it has all."""
    has = {key for account in look.accounts if account.name == admin for key in account.keys}
    missing = sum(key not in has for key in keys)
    counted = f"{missing} of the site's {len(keys)} keys" if missing < len(keys) else "the site's keys"
    sudo = "" if look.outputs["sudo"].stdout == sudo_rule(admin) else "sudo without a password"
    return " and ".join(filter(None, [counted if missing else "", sudo]))


def _people_things(site: Site, spec: HostSpec, look: Look, made: str) -> Iterator[Thing]:
    installer = installer_of(site, made)
    for account in look.accounts:
        if account.name == site.admin.user:
            continue
        if account.name == installer.user and not installer.keep:
            said = f"the installer's account {account.name} is removed with {account.home}"
            yield Thing(spec.name, "installer", Fate.CHANGED, f"{said} (admin.installer.keep: false)")
        elif account.keys or look.sshd_closed:
            yield Thing(spec.name, "account", Fate.KEPT, f"the account {account.name} and {account.home}")
        else:
            said = f"{account.name} has no SSH key and can then log in at the machine only"
            yield Thing(
                spec.name,
                "account",
                Fate.CHANGED,
                said,
                f"put a key into {account.home}/.ssh/authorized_keys",
            )


def installer_of(site: Site, user: str) -> Installer:
    """The installer's account: what the site file says of it, or one of that name that is kept."""
    said = site.admin.installer
    return said if said is not None and said.user == user else Installer(user=user or "root")


def _containers(spec: HostSpec, look: Look) -> Iterator[Thing]:
    if look.active("docker.service"):
        count = len(look.outputs["containers"].stdout.split())
        said = f"Docker with {count} running container{'' if count == 1 else 's'}; the desks do not use it"
        yield Thing(spec.name, "docker", Fate.KEPT, said)
    elif "docker.io" in look.packages or "docker-ce" in look.packages:
        yield Thing(spec.name, "docker", Fate.KEPT, "Docker is installed and does not run")
    if look.active("containerd.service"):
        said = "a containerd that is not Deskside's, which has its own socket and folders"
        yield Thing(spec.name, "containerd", Fate.KEPT, said)


def _other_clusters(site: Site, host: Host) -> Iterator[Thing]:
    hosts = {host.name: host}
    for what, found in (("kubernetes", foreign(site, hosts)), ("ports", ports(site, hosts))):
        for finding in found:
            yield Thing(host.name, what, Fate.MUST_GO, finding.message, finding.hint)


def _firewalls(spec: HostSpec, look: Look) -> Iterator[Thing]:
    if look.outputs["ufw"].stdout.startswith("Status: active"):
        said = "ufw is active; its rules drop what the site's hosts say to each other"
        yield Thing(spec.name, "ufw", Fate.MUST_GO, said, f"ssh {spec.name} sudo ufw disable")
    if look.active("firewalld.service"):
        said = "firewalld is active; its rules drop what the site's hosts say to each other"
        hint = f"ssh {spec.name} sudo systemctl disable --now firewalld"
        yield Thing(spec.name, "firewalld", Fate.MUST_GO, said, hint)


def _graphics(spec: HostSpec, look: Look) -> Iterator[Thing]:
    for path in look.outputs["cuda"].stdout.split():
        said = f"CUDA from a runfile in {path.removesuffix('/bin/cuda-uninstaller')}; desks bring their own"
        yield Thing(spec.name, "cuda", Fate.KEPT, said)
    if look.outputs["driver"].stdout.strip():
        said = "an NVIDIA driver from a runfile, which no package may replace"
        yield Thing(
            spec.name, "driver", Fate.MUST_GO, said, f"ssh {spec.name} sudo nvidia-uninstall --silent"
        )


def _disks(spec: HostSpec, look: Look) -> Iterator[Thing]:
    """Disks that hold something and are not the system's."""
    try:
        found = json.loads(look.outputs["disks"].stdout or "{}").get("blockdevices", [])
    except ValueError:
        found = []
    for disk in found:
        parts = tuple(_parts(disk))
        mounts = [str(part["mountpoint"]) for part in parts if part.get("mountpoint")]
        kinds = [str(part["fstype"]) for part in parts if part.get("fstype")]
        if disk.get("type") == "disk" and kinds and not any(mount in SYSTEM_MOUNTS for mount in mounts):
            yield _disk_thing(spec, disk, kinds, mounts)


def _disk_thing(
    spec: HostSpec, disk: Mapping[str, object], kinds: Sequence[str], mounts: Sequence[str]
) -> Thing:
    place = f" at {', '.join(mounts)}" if mounts else ""
    size = int(str(disk.get("size") or 0)) / GIB
    said = f"the disk {disk['name']} ({', '.join(dict.fromkeys(kinds))}, {size:.0f} GiB){place}"
    data = spec.data if isinstance(spec.data, DataDevice) else None
    ours = data is not None and disk.get("uuid") == DataDisk(data.device, data.serial).uuid
    if data is not None and not ours and data.serial == disk.get("serial"):
        said = f"{said}, which hosts[].data names; apply formats only a blank disk"
        return Thing(spec.name, "disk", Fate.MUST_GO, said, WIPE_HINT)
    return Thing(spec.name, "disk", Fate.KEPT, said)


def _parts(disk: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """A disk, its partitions, and what LVM, RAID or encryption make of them."""
    yield disk
    below = disk.get("children")
    for part in below if isinstance(below, list) else ():
        yield from _parts(part)
