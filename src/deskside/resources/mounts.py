"""Mounts: units of systemd's for file systems, and the folders that lie beneath them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from deskside.model.query import Output, PathFound, Query, ReadOutput
from deskside.model.resource import Change, Disruption, HostReader
from deskside.resources.command import Command
from deskside.resources.files import File
from deskside.resources.system import UNIT_DIRECTORY, Unit, UnitAnswer


def escaped_path(path: str) -> str:
    """A path as part of a unit's name, as `systemd-escape --path` writes it."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "-"
    text = "/".join(parts)
    escaped = "".join(_escaped(char, first=index == 0) for index, char in enumerate(text))
    return escaped.replace("/", "-")


def _escaped(char: str, *, first: bool) -> str:
    if char == "/" or (char.isascii() and (char.isalnum() or char in ":_")) or (char == "." and not first):
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode())


_NETWORK_TYPES = ("nfs", "nfs4", "cifs")


@dataclass(frozen=True)
class Mount:
    """A file system that is mounted now and at boot, by a unit of its own."""

    what: str
    where: str
    fstype: str
    options: str = "defaults"
    at_boot: bool = True
    """False when another unit mounts it."""

    @property
    def subject(self) -> str:
        """`mount WHERE`."""
        return f"mount {self.where}"

    @property
    def unit_name(self) -> str:
        """Name of the unit, which systemd requires to follow from the path."""
        return f"{escaped_path(self.where)}.mount"

    @property
    def file(self) -> File:
        """The unit's file; wanted, not required, by its target: a missing NAS must not stop a boot."""
        target = "remote-fs.target" if self.fstype in _NETWORK_TYPES else "local-fs.target"
        text = (
            f"# Written by Deskside.\n[Unit]\nDescription=Deskside: {self.where}\n\n"
            f"[Mount]\nWhat={self.what.replace('%', '%%')}\nWhere={self.where.replace('%', '%%')}\n"
            f"Type={self.fstype}\nOptions={self.options}\nTimeoutSec=90\n"
        )
        install = f"\n[Install]\nWantedBy={target}\n" if self.at_boot else ""
        return File(f"{UNIT_DIRECTORY}/{self.unit_name}", text + install)

    @property
    def _unit(self) -> Unit:
        return Unit(self.unit_name, after=(self.file,), enabled=self.at_boot)

    async def plan(self, host: HostReader) -> Change | None:
        """Write the unit, mount it, or mount it again; the last takes it away from who uses it."""
        answers = await host.read_all(cast("tuple[Query[UnitAnswer], ...]", self._unit.questions))
        found = answers[1]
        assert isinstance(found, PathFound)
        written, mounted = self.file.difference((found,)), self._unit.difference(answers)
        if written is None and mounted is None:
            return None
        actions = (*(written.actions if written else ()), *(mounted.actions if mounted else ()))
        remounts = mounted is not None and mounted.disruption > Disruption.NONE
        summary = f"mount {self.what}" + (" again (its options changed)" if remounts else "")
        cost = Disruption.DRAIN if remounts else Disruption.NONE
        return Change(self.subject, summary, actions, diff=written.diff if written else "", disruption=cost)


# The kernel's own table is asked for mounts: a look at the path itself would hang with a NAS that is away.
_LOOK = """\
if grep -qF " $0 " /proc/self/mountinfo; then echo mounted
elif [ -d "$0" ]; then lsattr -d "$0"
else echo absent
fi"""
_GUARD = 'mkdir -p "$0" && { ! lsattr -d "$0" || chattr +i "$0"; }'


def ask_mount_point(where: str) -> ReadOutput:
    """What lies at a mount point: `mounted`, `absent`, or a line of lsattr; nothing where that fails."""
    return ReadOutput(("sh", "-c", _LOOK, where))


def mount_point(where: str) -> Command[Output]:
    """A folder that takes nothing while nothing is mounted on it: it is made immutable (`chattr +i`).

    A folder beneath a mount cannot be seen, and a file system that knows no such attribute (`lsattr` fails)
    has none to set: both are left as they are. `where` is an absolute path without blanks.
    """
    return Command(
        f"mount point {where}",
        ("sh", "-c", _GUARD, where),
        asks=ask_mount_point(where),
        done=_guarded,
        summary="make it a folder that nothing can be written to",
    )


def _guarded(found: Output) -> bool:
    attributes = found.stdout.split(maxsplit=1)[0] if found.stdout.strip() else ""
    return attributes in ("", "mounted") or (attributes != "absent" and "i" in attributes)
