"""The lease: which apply works on this host (F7). Part of the remote program.

A process of the owner's connection holds `/run/deskside/lease` locked for as long as it hears from the owner;
the file says who that is. The lock ends with that process, so that nothing has to be put right after a death.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, sleep, time
from typing import IO

from deskside.hosts.remote.core import MODES, Raw, at, contents, finish, number_of, say, table_of

LEASE = "/run/deskside/lease"
YIELDING = 3.0
"""Seconds within which the process of a broken connection leaves the lease to its owner's next one."""


class Displaced(BaseException):
    """A newer connection of the same owner wants the lease."""


def give_way(_number: int, _frame: object) -> None:
    """SIGTERM's answer."""
    raise Displaced


def lease_mode(payload: Mapping[str, object]) -> None:
    """Mode `lease`: hold it until the owner is silent for `silence` seconds or hangs up.

    A holder other than `owner.run` is named at once. What the owner writes is `wanted`, and only counted on.
    """
    owner, end = table_of(payload, "owner"), monotonic() + YIELDING
    os.makedirs(at("/run/deskside"), mode=0o700, exist_ok=True)
    with open(at(LEASE), "a+", encoding="utf-8") as file:
        while not lease_taken(file):
            holder = lease_written()
            if monotonic() >= end or (holder and holder.get("run") != owner.get("run")):
                finish({"held": holder})
                return
            if holder:
                displace(holder)
            sleep(0.02)
        boot = contents("/proc/sys/kernel/random/boot_id").strip()
        file.truncate(0)
        file.write(json.dumps({**owner, "boot": boot, "pid": os.getpid()}))
        file.flush()
        try:
            signal.signal(signal.SIGTERM, give_way)
            say({"wanted": True})
            hear(file, number_of(payload, "silence", 30.0))
            file.truncate(0)
        except Displaced:
            finish({"displaced": True})
            return
    finish({"released": True})


def lease_taken(file: IO[str]) -> bool:
    """Take the lock, unless somebody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lease_written() -> Raw:
    """What its holder wrote, with its seconds of silence; empty while it is being taken, or looked at.

    Who looks shares the lock for a moment, and may find what one that was killed has left.
    """
    try:
        found = json.loads(contents(LEASE))
        if not os.path.exists(f"/proc/{int(found['pid'])}"):
            return {}
        return {**found, "silent": round(max(0.0, time() - os.stat(at(LEASE)).st_mtime), 1)}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def displace(holder: Mapping[str, object]) -> None:
    """End the process that holds the lease for a connection of ours that is gone."""
    pid = int(number_of(holder, "pid"))
    if pid > 1:
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def hear(file: IO[str], silence: float) -> None:
    """Return when nothing came over standard input for so long, or when it ended."""
    while select.select([0], [], [], silence)[0]:
        if not os.read(0, 1 << 12):
            return
        os.utime(file.fileno())


def lease_of_other(run: str) -> Raw:
    """Who holds the lease of this host, unless it is that run or nobody."""
    try:
        with open(at(LEASE), encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return {}
    except BlockingIOError:
        holder = lease_written()
        return {} if not holder or holder.get("run") == run else holder
    except OSError:
        return {}


MODES["lease"] = lease_mode
