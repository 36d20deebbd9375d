"""A whole disk for data: formatted once, only when it is blank and carries the serial number that was typed.

The file system gets an identifier that follows from the serial number, so that its mount is known before it
is made, and a disk that was formatted here is known again on any host. Nothing else is ever formatted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from deskside.errors import StepFailed
from deskside.model.action import RunCommand
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import Change, HostReader

_COLUMNS = "PATH,SERIAL,TYPE,FSTYPE,PTTYPE,UUID"


@dataclass(frozen=True)
class DataDisk:
    """An ext4 file system on the disk `device`, whose serial number must be `serial`."""

    device: str
    serial: str

    @property
    def subject(self) -> str:
        """`disk DEVICE`."""
        return f"disk {self.device}"

    @property
    def uuid(self) -> str:
        """Identifier of the file system."""
        return str(uuid5(NAMESPACE_URL, f"deskside-data:{self.serial}"))

    @property
    def mounted_from(self) -> str:
        """What a mount names: the file system itself, whatever the kernel calls its disk after a reboot."""
        return f"/dev/disk/by-uuid/{self.uuid}"

    @property
    def question(self) -> ReadOutput:
        """The disk and its partitions, with signatures."""
        return ReadOutput(("lsblk", "--json", "--paths", "--output", _COLUMNS, self.device))

    def objection(self, found: Output) -> str:
        """Why this disk is neither usable nor may be formatted; empty when it is or may."""
        disk = _disk(found)
        if not disk:
            return f"{self.device} is not there ({found.stderr.strip() or 'lsblk knows no such disk'})"
        if disk.get("type") != "disk":
            return f"{self.device} is no whole disk but a {disk.get('type')}"
        if disk.get("serial") != self.serial:
            return f"{self.device} has the serial number {disk.get('serial') or '(none)'}, not {self.serial}"
        if disk.get("uuid") != self.uuid and not _blank(disk):
            held = disk.get("fstype") or disk.get("pttype") or "partitions"
            return f"{self.device} is not blank (it has {held}), and Deskside formats only blank disks"
        return ""

    async def plan(self, host: HostReader) -> Change | None:
        """Format it. Raises StepFailed where it may not be."""
        found = await host.read(self.question)
        if objection := self.objection(found):
            raise StepFailed(f"planning the data disk of {host.name}: {objection}", hint=WIPE_HINT)
        if _disk(found).get("uuid") == self.uuid:
            return None
        # blkid answers 2 only where it finds no signature at all: the last look before the disk is written.
        blank = RunCommand(("blkid", "--probe", self.device), ok=(2,))
        make = ("mkfs.ext4", "-q", "-m", "1", "-L", "deskside-data", "-U", self.uuid, self.device)
        actions = (blank, RunCommand(make, timeout=1800.0), RunCommand(("udevadm", "settle")))
        return Change(self.subject, f"format as ext4 (blank, serial number {self.serial})", actions)


WIPE_HINT = "look at it with: lsblk -o NAME,SERIAL,FSTYPE,SIZE; if its data may go: sudo wipefs --all DEVICE"


def _disk(found: Output) -> Mapping[str, object]:
    try:
        disks = json.loads(found.stdout)["blockdevices"]
    except (ValueError, KeyError, TypeError):
        return {}
    first = disks[0] if isinstance(disks, list) and disks else {}
    return first if isinstance(first, dict) else {}


def _blank(disk: Mapping[str, object]) -> bool:
    return not (disk.get("fstype") or disk.get("pttype") or disk.get("children"))
