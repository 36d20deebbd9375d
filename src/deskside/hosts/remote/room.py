"""Room on a host's disks, in bytes and inodes: before something large comes, and once one is full (F37).

Part of the remote program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from deskside.hosts.remote.core import at
from deskside.hosts.remote.hardware import existing

RESERVE = 256 << 20
"""Bytes that stay free."""
RESERVE_INODES = 1000
FULL = 1 << 20
"""A file system with less is full: what is left may be smaller than the next block that somebody wants."""
NO_SPACE = "No space left on device"
"""What the C library says, and so nearly every program."""


def shortage(wanted: Mapping[str, tuple[int, int]]) -> str:
    """What is missing for so many bytes and inodes at these paths; empty when there is room for all.

    Paths on one file system need their sum. One that counts no inodes has enough.
    """
    needs: dict[int, tuple[str, int, int]] = {}
    for path, (size, inodes) in wanted.items():
        device = os.stat(at(existing(path))).st_dev
        first, more, others = needs.get(device, (path, RESERVE, RESERVE_INODES))
        needs[device] = first, more + size, others + inodes
    for path, size, inodes in needs.values():
        space = os.statvfs(at(existing(path)))
        free = space.f_bavail * space.f_frsize
        if free < size:
            return f"the disk of {path} has {free >> 20} MiB free, {-(-size >> 20)} MiB are needed"
        if space.f_files and space.f_favail < inodes:
            return f"the disk of {path} has {space.f_favail} inodes free, {inodes} are needed"
    return ""


def full_disks() -> list[str]:
    """Where nothing more can be written, and of what there is none left: `/var (no inode left)`."""
    found: dict[int, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        paths = [line.split()[4].replace("\\040", " ") for line in file]
    for path in paths:
        try:
            space, device = os.statvfs(path), os.stat(path).st_dev
        except OSError:
            continue
        if not space.f_blocks or space.f_flag & os.ST_RDONLY:
            continue
        free = space.f_bavail * space.f_frsize
        if free < min(FULL, space.f_blocks * space.f_frsize // 20):
            found.setdefault(device, f"{path} ({free >> 10} KiB free)")
        elif space.f_files and not space.f_favail:
            found.setdefault(device, f"{path} (no inode left)")
    return sorted(found.values())


def disk_is_full(said: str) -> str:
    """The end of a sentence, where that is why something failed; else empty."""
    if NO_SPACE not in said:
        return ""
    full = full_disks()
    return f"the disk is full: {', '.join(full)}" if full else "a disk is full"
