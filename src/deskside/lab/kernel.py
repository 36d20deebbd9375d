"""Keeps the machine's kernel-wide settings as they were: hosts share one kernel with it, and write to it.

The first rack to come up has every setting recorded, the last one to go has those that changed put back. The
record and the locks of racks are in /run, gone with a restart of the machine, as the changed settings are.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deskside.errors import Locked
from deskside.lab.spec import json_object

PROC_SYS = Path("/proc/sys")
RUN = Path("/run/deskside-racks")
RECORD = "machine.json"
BOOT_ID = PROC_SYS / "kernel/random/boot_id"

SHARED = (
    "kernel",
    "vm",
    "fs",
    "dev",
    "abi",
    "user",
    "net/core",
    "net/bridge",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/ip_forward",
)
"""Parts of /proc/sys that a host can change for the whole machine, or that `lab up` changes."""
MOVING = (
    "kernel/random/",
    "kernel/ns_last_pid",
    "kernel/cad_pid",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/tainted",
    "kernel/pty/nr",
    "fs/binfmt_misc/",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode",
    "fs/aio-nr",
    "kernel/usermodehelper/",
    "vm/drop_caches",
    "vm/compact_memory",
    "vm/stat_refresh",
)
"""What moves by itself, or acts when written."""
WANTED: Mapping[str, int] = {
    # One budget for all hosts together: at the default of 128 the kubelets of seven hosts died.
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524288,
    "kernel/keys/maxkeys": 20000,
    "kernel/keys/maxbytes": 2000000,
}


def settings() -> dict[str, str]:
    """Every kernel-wide setting that can be read and written: path below /proc/sys and value."""
    found = {}
    for part in SHARED:
        top = PROC_SYS / part
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            name = str(file.relative_to(PROC_SYS))
            if name.startswith(MOVING):
                continue
            try:
                if file.is_file() and file.stat().st_mode & 0o600 == 0o600:
                    found[name] = file.read_text()
            except (OSError, UnicodeDecodeError):
                continue
    return found


def put_back(before: Mapping[str, str]) -> list[str]:
    """Write back what differs from `before`; returns the names of what was written."""
    now = settings()
    changed = [name for name, value in before.items() if name in now and now[name] != value]
    for name in changed:
        try:
            (PROC_SYS / name).write_text(before[name])
        except OSError:
            continue  # the kernel refuses: smaller than what is in use, say
    return changed


def raise_limits() -> None:
    """Make room for the hosts, and let the machine forward their packets; never lowers anything."""
    for name, least in WANTED.items():
        file = PROC_SYS / name
        if file.exists() and int(file.read_text()) < least:
            file.write_text(str(least))
    forward = PROC_SYS / "net/ipv4/ip_forward"
    if forward.read_text().strip() != "1":
        forward.write_text("1")


@contextmanager
def rack_lock(name: str) -> Iterator[None]:
    """Hold a rack for oneself. Raises Locked when another `lab` command has it."""
    path = RUN / f"{name}.lock"
    refusal = Locked(f"rack {name} is in the hands of another lab command", hint="wait for it to end")
    RUN.mkdir(mode=0o755, exist_ok=True)
    try:
        file = path.open("a")
    except FileNotFoundError:
        raise refusal from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        # Whoever held it before may just have deleted the file that was opened here.
        if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
            raise refusal
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            _leave_nothing()


def _leave_nothing() -> None:
    try:
        RUN.rmdir()
    except OSError:
        return  # other racks are there


def _record() -> dict[str, object]:
    path = RUN / RECORD
    record = json_object(path.read_text()) if path.exists() else {}
    # /run is not emptied by every kind of machine.
    return record if record.get("boot") == BOOT_ID.read_text() else {}


def _keep(record: Mapping[str, object]) -> None:
    fresh = RUN / f"{RECORD}.{os.getpid()}"
    fresh.write_text(json.dumps(record))
    fresh.rename(RUN / RECORD)


@contextmanager
def _turn() -> Iterator[None]:
    """One at a time at the machine's record."""
    RUN.mkdir(mode=0o755, exist_ok=True)
    descriptor = os.open(RUN, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        RUN.mkdir(mode=0o755, exist_ok=True)
        yield
    finally:
        os.close(descriptor)


def _racks(record: Mapping[str, object]) -> dict[str, str]:
    racks = record.get("racks")
    return {str(name): str(folder) for name, folder in racks.items()} if isinstance(racks, dict) else {}


def racks_here() -> dict[str, Path]:
    """Racks that are up, or were not taken down, on this machine since it started: name and folder."""
    return {name: Path(folder) for name, folder in _racks(_record()).items()}


def enter(rack: str, folder: Path) -> None:
    """Note that a rack is about to come up; the first one has the settings recorded, and limits raised."""
    with _turn():
        record = _record()
        known = record.get("settings")
        before = known if isinstance(known, dict) else settings()
        racks = {**_racks(record), rack: str(folder)}
        _keep({"boot": BOOT_ID.read_text(), "settings": before, "racks": racks})
        raise_limits()


def leave(rack: str) -> list[str]:
    """Note that a rack is gone; after the last one the settings are put back. Returns those that were."""
    with _turn():
        record = _record()
        racks = _racks(record)
        racks.pop(rack, None)
        if racks:
            _keep({**record, "racks": racks})
            return []
        before = record.get("settings")
        changed = put_back(before) if isinstance(before, dict) else []
        (RUN / RECORD).unlink(missing_ok=True)
        return changed
