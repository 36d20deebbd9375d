"""The running system: kernel settings and modules, host name and systemd units.

All are level-triggered: what has to be done is visible in the machine (a unit that started before its file
was written), so that a run that dies between two steps loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from deskside.model.action import Action, RunCommand, SetSysctls, WriteFile
from deskside.model.query import PathFound, Query, ReadPath, ReadSysctls, ReadUnit, UnitFound
from deskside.model.resource import Change, Disruption, HostReader
from deskside.resources.files import File, OnDisk

UNIT_DIRECTORY = "/etc/systemd/system"
RELOADED = "/run/deskside/reloaded"
"""One stamp per unit that is reloaded rather than restarted: systemd keeps no time of a reload."""


def _at_least(value: str, floor: str) -> bool:
    return value.isdigit() and floor.isdigit() and int(value) >= int(floor)


@dataclass(frozen=True)
class Sysctls:
    """Kernel settings: a file for the next boot, and the values of now."""

    name: str
    values: Mapping[str, str]
    at_least: frozenset[str] = frozenset()
    """Settings of which a higher live value is left as it is."""

    @property
    def subject(self) -> str:
        """`sysctls NAME`."""
        return f"sysctls {self.name}"

    @property
    def file(self) -> File:
        """The file that systemd-sysctl reads at boot."""
        text = "".join(f"{key} = {value}\n" for key, value in self.values.items())
        return File(f"/etc/sysctl.d/80-deskside-{self.name}.conf", f"# Written by Deskside.\n{text}")

    async def plan(self, host: HostReader) -> Change | None:
        """The file where it differs, and the live values that differ."""
        found, live = await host.read(self.file.reads[0], ReadSysctls(tuple(self.values)))
        written = self.file.difference((found,))
        wrong = {key: value for key, value in self.values.items() if not self._right(key, live)}
        if not written and not wrong:
            return None
        actions: tuple[Action, ...] = written.actions if written else ()
        said = [f"set {key} = {value} (is {live.get(key, 'not there')})" for key, value in wrong.items()]
        if wrong:
            actions += (SetSysctls(wrong),)
        if written:
            said.append(f"{written.summary.replace('write', 'write the file', 1)}")
        return Change(self.subject, ", ".join(said), actions, diff=written.diff if written else "")

    def _right(self, key: str, live: Mapping[str, str]) -> bool:
        value, wanted = live.get(key), " ".join(self.values[key].split())
        if value is None:
            return False
        return value == wanted or (key in self.at_least and _at_least(value, wanted))


@dataclass(frozen=True)
class Modules:
    """Kernel modules: loaded now and at boot."""

    names: tuple[str, ...]
    present: tuple[str, ...] = ()
    """Those that the facts saw loaded or built in: a built-in module need not show in /sys/module."""

    @property
    def subject(self) -> str:
        """`kernel modules`."""
        return "kernel modules"

    @property
    def file(self) -> File:
        """The file that systemd-modules-load reads at boot."""
        return File(
            "/etc/modules-load.d/80-deskside.conf",
            "".join(f"{n}\n" for n in ("# Written by Deskside.", *self.names)),
        )

    async def plan(self, host: HostReader) -> Change | None:
        """The file where it differs, and the modules to load."""
        asked = [name for name in self.names if name not in self.present]
        reads = [ReadPath(f"/sys/module/{name.replace('-', '_')}") for name in asked]
        found = await host.read_all((*self.file.reads, *reads))
        written = self.file.difference(found[:1])
        missing = [name for name, there in zip(asked, found[1:], strict=True) if there.kind != "directory"]
        if not written and not missing:
            return None
        actions: tuple[Action, ...] = written.actions if written else ()
        actions += tuple(RunCommand(("modprobe", name)) for name in missing)
        said = [f"load {', '.join(missing)}"] if missing else []
        said += [written.summary.replace("write", "write the file", 1)] if written else []
        return Change(self.subject, ", ".join(said), actions, diff=written.diff if written else "")


@dataclass(frozen=True)
class Hostname:
    """The host's own name, now and after a reboot."""

    name: str

    @property
    def subject(self) -> str:
        """`hostname`."""
        return "hostname"

    async def plan(self, host: HostReader) -> Change | None:
        """The file, the kernel's value, or both."""
        key = "kernel.hostname"
        found, live = await host.read(ReadPath("/etc/hostname", content=True), ReadSysctls((key,)))
        written = (found.content or b"").decode("utf-8", "replace").strip()
        if written == self.name and live.get(key) == self.name:
            return None
        actions = (WriteFile("/etc/hostname", f"{self.name}\n"), SetSysctls({key: self.name}))
        was = live.get(key) or written
        return Change(self.subject, f"set to {self.name}" + (f" (is {was})" if was else ""), actions)


def systemctl(*words: str) -> RunCommand:
    """One systemctl call."""
    return RunCommand(("systemctl", *words))


_RUNS = ("active", "activating", "reloading", "refreshing")
_ENABLED = ("enabled", "static", "alias", "indirect", "generated")


@dataclass(frozen=True)
class Unit:
    """A systemd unit that is enabled and runs with its present files.

    It is restarted when it started before a file among `after` was written, or when one is about to be.
    """

    name: str
    after: tuple[OnDisk, ...] = ()
    enabled: bool = True
    running: bool = True
    reload: bool = False
    """Reload instead of restarting: for services that take up their files without a break."""

    @property
    def subject(self) -> str:
        """`unit NAME`."""
        return f"unit {self.name}"

    @property
    def questions(self) -> tuple[Query[UnitFound] | ReadPath, ...]:
        """The unit, the reload stamp, then what each of `after` asks."""
        stamp = (ReadPath(f"{RELOADED}/{self.name}"),) if self.reload else ()
        return (ReadUnit(self.name), *stamp, *(read for needed in self.after for read in needed.reads))

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(cast("tuple[Query[UnitAnswer], ...]", self.questions)))

    def difference(self, answers: Sequence[UnitAnswer]) -> Change | None:
        """The change, from the answers to `questions` in their order."""
        unit, *rest = answers
        assert isinstance(unit, UnitFound)
        paths = [found for found in rest if isinstance(found, PathFound)]
        pending = self._pending(paths[1:] if self.reload else paths)
        stamps = [found.mtime for found in paths if found.kind in ("file", "link")]
        loaded = max(unit.started, paths[0].mtime) if self.reload else unit.started
        stale = unit.started > 0 and any(stamp > loaded for stamp in stamps)
        return self._change(unit, pending, stale)

    @property
    def _has_drop_in(self) -> bool:
        return any(f"/{self.name}.d/" in read.path for needed in self.after for read in needed.reads)

    def _pending(self, found: Sequence[PathFound]) -> tuple[OnDisk, ...]:
        """Those of `after` that are about to be written."""
        changed, rest = [], list(found)
        for needed in self.after:
            count = len(needed.reads)
            if needed.difference(rest[:count]) is not None:
                changed.append(needed)
            rest = rest[count:]
        return tuple(changed)

    def _change(self, unit: UnitFound, pending: Sequence[OnDisk], stale: bool) -> Change | None:
        runs = unit.active in _RUNS
        begin = self.running and not runs
        again = self.running and runs and (bool(pending) or stale)
        end = not self.running and runs
        # A package that the same step installs may start the unit before its files are written: a mere start
        # would then do nothing, and a restart of what does not run is a start.
        verb = "restart" if pending else "start"
        steps = [*self._settled(unit), *self._moved(unit, verb if begin else "", again, end)]
        # Of a unit's first drop-in systemd does not know, nor does it say that it has to be told. Not told
        # without need, as for a mere setting of the service: running containers lose their GPUs by it (F17).
        written = [read.path for needed in pending for read in needed.reads]
        unread = any(path.startswith(f"{UNIT_DIRECTORY}/") for path in written)
        unread |= unit.load != "loaded" or (begin and self._has_drop_in)
        if unit.needs_reload or (steps and unread):
            steps.insert(0, ("reload systemd", systemctl("daemon-reload")))
        if not steps:
            return None
        restarts = end or (again and not self.reload)
        # systemd's own reload is worth a word only when it is all there is.
        said = [text for text, _ in steps if text != "reload systemd" or len(steps) == 1]
        actions = tuple(action for _, action in steps)
        cost = Disruption.RESTART if restarts else Disruption.NONE
        return Change(self.subject, ", ".join(text for text in said if text), actions, disruption=cost)

    def _settled(self, unit: UnitFound) -> Iterator[tuple[str, Action]]:
        if unit.load == "masked" and (self.enabled or self.running):
            yield "unmask", systemctl("unmask", self.name)
        if self.enabled and unit.enabled not in _ENABLED:
            yield "enable", systemctl("enable", self.name)
        if not self.enabled and unit.enabled == "enabled":
            yield "disable", systemctl("disable", self.name)

    def _moved(self, unit: UnitFound, begin: str, again: bool, end: bool) -> Iterator[tuple[str, Action]]:
        if begin and unit.active == "failed":
            yield "", systemctl("reset-failed", self.name)
        if begin:
            yield f"start ({unit.active or 'not there yet'})", systemctl(begin, self.name)
        if again and self.reload:
            yield "reload (its files changed)", systemctl("reload-or-restart", self.name)
        if again and not self.reload:
            yield "restart (its files changed)", systemctl("restart", self.name)
        if self.reload and (begin or again):
            yield "", WriteFile(f"{RELOADED}/{self.name}", "")
        if end:
            yield "stop", systemctl("stop", self.name)


UnitAnswer: TypeAlias = UnitFound | PathFound


@dataclass(frozen=True)
class Masked:
    """A unit that can never start."""

    name: str

    @property
    def subject(self) -> str:
        """`masked NAME`."""
        return f"masked {self.name}"

    async def plan(self, host: HostReader) -> Change | None:
        """Mask it, stopping it first where it runs."""
        unit = await host.read(ReadUnit(self.name))
        runs = unit.active in _RUNS
        if unit.load == "masked" and not runs:
            return None
        actions = (systemctl("mask", self.name), *((systemctl("stop", self.name),) if runs else ()))
        cost = Disruption.RESTART if runs else Disruption.NONE
        return Change(self.subject, "mask and stop" if runs else "mask", actions, disruption=cost)
