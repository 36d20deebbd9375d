"""Racks: up, down, status. Each can be repeated, and takes over what a killed or forgotten run left behind.

The library behind `deskside lab`; it prints nothing. Root, Linux.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deskside.errors import DesksideError, UsageError
from deskside.lab import breaks, disks, hosts, kernel, nas, network
from deskside.lab.machine import Machine, kill_tree, require_machine, this_machine
from deskside.lab.process import Ran
from deskside.lab.sitefile import site_text
from deskside.lab.spec import (
    Layout,
    RackHost,
    RackSpec,
    Report,
    check_name,
    load_layout,
    racks_folder,
    recorded_racks,
)

BASES = ("base", "base-nas")
"""Names of the trees that `up` is handed: of a bare host, and of the NAS."""


@dataclass(frozen=True)
class Host:
    """One host of a rack that is up."""

    layout: Layout
    spec: RackHost

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self.layout.address(self.spec)

    @property
    def powered(self) -> bool:
        """Whether it runs."""
        return hosts.leader(self.layout, self.spec) is not None

    async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> Ran:
        """Run a program inside as root, past network and SSH; never raises on its status."""
        return await hosts.execute(self.layout, self.spec, argv, stdin=stdin, timeout=timeout)

    async def wait_ready(self) -> None:
        """Wait until it has booted and answers on SSH."""
        await hosts.wait_ready(self.layout, self.spec, lambda _host, _line: None)

    def ssh_argv(self, command: Sequence[str] = ()) -> list[str]:
        """The ssh command that reaches it as the rack's user."""
        options = ["-i", str(self.layout.key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", f"UserKnownHostsFile={self.layout.known_hosts}", "-o", "LogLevel=ERROR"]
        return [
            "ssh",
            "-F",
            "none",
            *options,
            f"{hosts.USER}@{self.address}",
            *(["--", *command] if command else []),
        ]


@dataclass(frozen=True)
class Rack:
    """A rack that exists."""

    layout: Layout
    machine: Machine

    @property
    def name(self) -> str:
        """Its name."""
        return self.layout.name

    @property
    def folder(self) -> Path:
        """Where everything of it lies."""
        return self.layout.folder

    @property
    def site_file(self) -> Path:
        """Its site file."""
        return self.layout.site_file

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Its hosts."""
        return tuple(Host(self.layout, one) for one in self.layout.hosts)

    def host(self, name: str) -> Host:
        """The host of that name; raises UsageError."""
        return Host(self.layout, self.layout.host(name))

    async def make_break(self, kind: str, host: str, what: str = "") -> breaks.Break:
        """Break something: see `breaks.KINDS`."""
        return await breaks.make_break(self.layout, self.machine, kind, host, what)

    async def mend(self, kind: str = "", host: str = "", what: str = "") -> list[breaks.Break]:
        """Undo the breaks that match; all without arguments."""
        return await breaks.mend(self.layout, self.machine, kind, host, what)


def find(name: str) -> Rack:
    """A rack that exists, up or not. Raises DesksideError when there is none of that name."""
    check_name(name)
    folder = racks_folder() / name
    if not (folder / "rack.json").exists():
        raise DesksideError(
            f"there is no rack {name!r} in {racks_folder()}", hint=f"deskside lab up --rack {name}"
        )
    return Rack(load_layout(folder), this_machine())


async def is_up(name: str, spec: RackSpec | None = None) -> Rack | None:
    """The rack, when it is finished and all its hosts answer; None otherwise."""
    try:
        rack = find(name)
    except DesksideError:
        return None
    layout = rack.layout
    if spec is not None and spec != layout.spec:
        return None
    complete = (layout.folder / "complete").exists() and kernel.racks_here().get(name) == layout.folder
    if not complete or not all(host.powered for host in rack.hosts):
        return None
    cut = {one.host for one in breaks.broken(layout) if one.kind == "cable"}
    answers = await asyncio.gather(
        *(hosts.answers_ssh(one.address) for one in rack.hosts if one.name not in cut)
    )
    return rack if all(answers) else None


async def up(spec: RackSpec, trees: Mapping[str, Path], report: Report) -> Rack:
    """Bring a rack up, or what is missing of it.

    `trees` has the root file systems named in BASES. Raises DesksideError for what the machine lacks, Locked
    when another `lab` command has the rack, UsageError when the rack exists with other hosts.
    """
    require_machine()
    finished = await is_up(spec.name, spec)
    if finished:
        report(spec.name, f"is up: {len(finished.hosts)} hosts in {finished.layout.subnet}")
        return finished
    with kernel.rack_lock(spec.name):
        layout = await _layout(spec)
        machine = this_machine()
        warning = disks.room_warning(layout.folder)
        if warning:
            report(spec.name, f"warning: {warning}")
        report(spec.name, f"{len(layout.hosts)} hosts in {layout.subnet}, folder {layout.folder}")
        kernel.enter(spec.name, layout.folder)
        await network.lay(layout)
        hosts.make_key(layout)
        await _bring_hosts(layout, machine, trees, report)
        (layout.folder / "complete").touch()
        _give_to_caller(layout)
    return Rack(layout, machine)


async def _layout(spec: RackSpec) -> Layout:
    """The recorded layout of this rack, or a new one in a free subnet."""
    folder = racks_folder() / spec.name
    elsewhere = kernel.racks_here().get(spec.name, folder)
    if elsewhere != folder:
        raise UsageError(
            f"a rack {spec.name} is up already, from {elsewhere}",
            hint=f"choose another --rack, or take that one down with DESKSIDE_RACKS={elsewhere.parent}",
        )
    if (folder / "rack.json").exists():
        layout = load_layout(folder)
        if layout.spec != spec:
            raise UsageError(
                f"rack {spec.name} exists with other hosts", hint=f"deskside lab down --rack {spec.name}"
            )
        return layout
    if folder.exists():
        await _remove_all(Layout(spec, 0, folder), this_machine())
    folder.mkdir(parents=True, mode=0o755)
    taken = [other.subnet for other in recorded_racks(racks_folder()).values()]
    bridge = Layout(spec, 0, folder).bridge
    number = network.free_subnet(
        spec.name, [*await network.networks_here(besides=bridge), *network.as_networks(taken)]
    )
    layout = Layout(spec, number, folder)
    layout.save()
    return layout


@dataclass(frozen=True)
class _BringUp:
    """What the tasks of one `up` share, a task per host."""

    layout: Layout
    machine: Machine
    trees: Mapping[str, Path]
    report: Report
    volume: asyncio.Event
    """Set when the NAS's disk is there: the other hosts bind a folder of it."""
    turns: asyncio.Semaphore
    """Disks that are made at one time."""

    async def host(self, host: RackHost) -> None:
        """Disk, what an installer leaves, boot."""
        layout = self.layout
        async with self.turns:
            if not disks.image(layout, host).exists():
                self.report(host.name, f"making its disk of {host.disk} GB")
            await hosts.bring_disk(layout, host, self.trees["base" if host.managed else "base-nas"])
            await hosts.install(layout, host, self.machine)
            if not host.managed:
                await nas.install(layout, host)
                self.volume.set()
        await self.volume.wait()
        _write_site(layout)
        if not hosts.supervised(layout, host):
            self.report(host.name, "booting")
        await breaks.mend(layout, self.machine, "power", host.name)
        await hosts.start(layout, host, self.machine)
        if not breaks.cable_is_cut(layout, host):
            await hosts.wait_ready(layout, host, self.report)


async def _bring_hosts(layout: Layout, machine: Machine, trees: Mapping[str, Path], report: Report) -> None:
    """All hosts side by side, the NAS first in line. Raises the first failure; the others are given up."""
    volume = asyncio.Event()
    if layout.nas:
        nas.make_secrets(layout)
    else:
        volume.set()
    shared = _BringUp(layout, machine, trees, report, volume, asyncio.Semaphore(max(2, os.cpu_count() or 2)))
    try:
        async with asyncio.TaskGroup() as group:
            for host in sorted(layout.hosts, key=lambda host: host.managed):
                group.create_task(shared.host(host))
    except* DesksideError as failed:
        first: BaseException = failed
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def _write_site(layout: Layout) -> None:
    """Pins and site file, as soon as every host has its keys. A site file that is there stays as it is."""
    if not all((layout.place(host) / "installed").exists() for host in layout.hosts):
        return
    if not layout.known_hosts.exists():
        layout.known_hosts.write_text(hosts.pins(layout))
    if layout.nas and not layout.site_file.exists():
        layout.site_file.write_text(site_text(layout))


def _give_to_caller(layout: Layout) -> None:
    """Under sudo: the person who called owns the files that `plan` and `apply` need, not the disks."""
    uid, gid = (int(os.environ.get(name, "0")) for name in ("SUDO_UID", "SUDO_GID"))
    if not uid:
        return
    paths = [one for one in layout.folder.iterdir() if one.is_file()]
    for path in (layout.folder, layout.folder.parent, *paths):
        os.chown(path, uid, gid)


async def down(name: str, report: Report) -> bool:
    """Take a rack away with everything that it left anywhere; False when there was nothing."""
    require_machine()
    check_name(name)
    with kernel.rack_lock(name):
        machine = this_machine()
        folder = kernel.racks_here().get(name, racks_folder() / name)
        try:
            layout = load_layout(folder)
        except DesksideError:
            # Names of links, cgroups and tables follow from the rack's name; its record is not needed.
            layout = Layout(RackSpec(name), 0, folder)
        there = folder.exists() or (network.LINKS / layout.bridge).exists() or bool(machine.all_hosts(name))
        if there:
            report(name, "switching off and removing everything of it")
        await _remove_all(layout, machine)
        changed = kernel.leave(name)
        if changed:
            report(name, f"put back {len(changed)} kernel settings of this machine")
    return there


async def _remove_all(layout: Layout, machine: Machine) -> None:
    await asyncio.to_thread(machine.stop_supervisors, layout.name)
    for host in sorted(machine.all_hosts(layout.name)):
        await asyncio.to_thread(kill_tree, machine, layout.name, host)
        await asyncio.to_thread(machine.remove_cgroups, layout.name, host)
    await network.remove(layout)
    hosts.forget_containers(layout)
    await disks.unmount_all(layout.folder)
    await asyncio.to_thread(_remove_folder, layout.folder)


def _remove_folder(folder: Path) -> None:
    if not folder.exists():
        return
    left = [one for one in disks.mounts() if Path(one).is_relative_to(folder)]
    if left:
        raise DesksideError(f"{left[0]} is still mounted, so {folder} was not removed")
    shutil.rmtree(folder)
    try:
        folder.parent.rmdir()
    except OSError:
        return  # other racks are there


@dataclass(frozen=True)
class HostStatus:
    """What can be seen of a host from outside."""

    name: str
    address: str
    roles: tuple[str, ...]
    powered: bool
    answers: bool
    """Whether its SSH server answers over the network."""


@dataclass(frozen=True)
class RackStatus:
    """What can be seen of a rack."""

    name: str
    folder: str
    subnet: str
    complete: bool
    """Whether it was brought up to the end once."""
    hosts: tuple[HostStatus, ...]
    breaks: tuple[breaks.Break, ...]
    disk_bytes: int
    """What its disks take on this machine's disk."""


async def status(name: str) -> RackStatus:
    """Look at a rack; changes nothing. Raises DesksideError when there is none of that name."""
    rack = find(name)
    layout = rack.layout
    answers = await asyncio.gather(*(hosts.answers_ssh(one.address) for one in rack.hosts))
    return RackStatus(
        name=name,
        folder=str(layout.folder),
        subnet=layout.subnet,
        complete=(layout.folder / "complete").exists(),
        hosts=tuple(
            HostStatus(one.name, one.address, one.spec.roles, one.powered, answer)
            for one, answer in zip(rack.hosts, answers, strict=True)
        ),
        breaks=breaks.broken(layout),
        disk_bytes=disks.size_on_disk(layout.folder),
    )
