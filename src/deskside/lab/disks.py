"""The hosts' disks: each one sparse file with one file system of fixed size, made from a recipe's tree.

The host's root is a true ext4 of its own, and not an overlay over a tree that all share: overlayfs cannot
carry another overlay's upper layer (containerd, Docker), and a full disk has to be the host's own. Filling it
from the tree takes two seconds and 300 MB a host.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from deskside.errors import DesksideError
from deskside.lab.process import run
from deskside.lab.spec import Layout, RackHost

GIB = 1024**3
ROOM_WANTED = 15 * GIB
"""What a rack of four hosts may come to need; its files are sparse."""
ROOM_LEAST = 3 * GIB
"""Below this not even bare hosts are safe."""


def room_warning(folder: Path) -> str:
    """What to say about free space; empty when there is enough. Raises DesksideError at too little."""
    place = next(one for one in (folder, *folder.parents) if one.exists())
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    if free < ROOM_LEAST:
        raise DesksideError(
            f"{place} has {free / GIB:.1f} GB free, and a rack needs {ROOM_LEAST // GIB} GB to start",
            hint="free some space, or set DESKSIDE_RACKS to a folder on another disk",
        )
    if free < ROOM_WANTED:
        return f"{place} has {free / GIB:.0f} GB free; a rack may come to need {ROOM_WANTED // GIB} GB"
    return ""


def image(layout: Layout, host: RackHost) -> Path:
    """The file that is the host's disk."""
    return layout.place(host) / "disk.img"


def is_mounted(path: Path) -> bool:
    """Whether something is mounted there, also when its source has been deleted."""
    return str(path) in mounts()


def mounts() -> list[str]:
    """Mount points of this machine in the order they were made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [_unescaped(line.split(" ")[4]) for line in lines]


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


async def make_disk(layout: Layout, host: RackHost, tree: Path) -> None:
    """Make the host's disk from a tree, under its final name only when it is complete."""
    final = image(layout, host)
    if final.exists():
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    fresh = final.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with fresh.open("wb") as file:
        file.truncate(host.disk * GIB)
    # Lazy and never initialised: the inode tables alone would fill 200 MB of the sparse file.
    options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    argv: list[str | Path] = ["mkfs.ext4", "-q", "-F", "-L", "root", "-E", options]
    await run([*argv, "-d", tree, fresh], f"making the disk of {host.name}")
    fresh.rename(final)


async def mount_disk(layout: Layout, host: RackHost) -> None:
    """Mount the host's disk on this machine, unless it is."""
    root = layout.root(host)
    if is_mounted(root):
        return
    root.mkdir(parents=True, exist_ok=True)
    # discard: what a host deletes is given back to the machine's disk.
    options = "loop,noinit_itable,discard"
    await run(["mount", "-o", options, image(layout, host), root], f"mounting the disk of {host.name}")
    root.chmod(0o755)


async def unmount_all(folder: Path) -> None:
    """Unmount everything below a folder, the last one first, and free loop devices of files in it."""
    below = [one for one in mounts() if Path(one).is_relative_to(folder)]
    for one in reversed(below):
        done = await run(["umount", one])
        if not done.ok and is_mounted(Path(one)):
            await run(["umount", "--lazy", one], f"unmounting {one}")
    listed = await run(["losetup", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"])
    for line in listed.out.splitlines():
        name, _, backing = line.partition(" ")
        if backing and Path(backing.removesuffix(" (deleted)")).is_relative_to(folder):
            await run(["losetup", "--detach", name])


def size_on_disk(folder: Path) -> int:
    """Bytes that the disks of a rack really take."""
    return sum(one.stat().st_blocks * 512 for one in folder.glob("hosts/*/disk.img"))
