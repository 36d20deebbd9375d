"""Breaks a rack on purpose, and undoes it: cable, power, disk, service, file. Each break is on record until
mended.

What can be broken with the host off is done from this machine; the rest needs the host to run.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deskside.errors import DesksideError, UsageError
from deskside.lab import disks, hosts, network
from deskside.lab.machine import Machine
from deskside.lab.process import failure
from deskside.lab.spec import Layout, RackHost

KINDS = ("cable", "power", "disk", "service", "file")
FILLER = "var/tmp/.rack-filler"
MARK = "# edited by: deskside lab break file\n"
LEFT_FREE = 8 * 1024**2
"""Bytes: enough for systemd to stay alive, too little for anything else."""


@dataclass(frozen=True)
class Break:
    """Something that was broken and not mended yet."""

    kind: str
    host: str
    what: str = ""
    """Unit or path; empty for cable, power and disk."""
    before: str = ""
    """How it was (a file: its content, base64)."""


def _record(layout: Layout) -> Path:
    return layout.folder / "breaks.json"


def broken(layout: Layout) -> tuple[Break, ...]:
    """What is broken on purpose right now, the oldest first."""
    try:
        found = json.loads(_record(layout).read_text())
    except (FileNotFoundError, ValueError):
        return ()
    return tuple(Break(**one) for one in found)


def _keep(layout: Layout, found: tuple[Break, ...]) -> None:
    if not found:
        _record(layout).unlink(missing_ok=True)
        return
    fresh = _record(layout).with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps([asdict(one) for one in found]) + "\n")
    fresh.rename(_record(layout))


def cable_is_cut(layout: Layout, host: RackHost) -> bool:
    """Whether the host's cable is cut: it stays so when the host boots."""
    return any(one.kind == "cable" and one.host == host.name for one in broken(layout))


async def make_break(layout: Layout, machine: Machine, kind: str, host_name: str, what: str = "") -> Break:
    """Break something. Raises UsageError for what cannot be asked, DesksideError when it did not work."""
    host = layout.host(host_name)
    if kind not in KINDS:
        raise UsageError(f"{kind!r} cannot be broken", hint=f"one of {', '.join(KINDS)}")
    if (kind in ("service", "file")) != bool(what):
        wanted = (
            "needs a unit's name"
            if kind == "service"
            else "needs a path"
            if kind == "file"
            else "takes no name"
        )
        raise UsageError(f"lab break {kind} {wanted} after the host")
    if any((one.kind, one.host, one.what) == (kind, host.name, what) for one in broken(layout)):
        raise UsageError(
            f"{kind} {what} of {host.name} is broken already".replace("  ", " "), hint="deskside lab mend"
        )
    before = await _READ.get(kind, _nothing)(layout, host, what)
    done = Break(kind, host.name, what, before)
    # On record first: a cut cable must stay cut when the host boots meanwhile, and a kill here can be mended.
    _keep(layout, (*broken(layout), done))
    await _BREAK[kind](layout, host, machine, done)
    return done


async def mend(
    layout: Layout, machine: Machine, kind: str = "", host_name: str = "", what: str = ""
) -> list[Break]:
    """Undo the breaks that match, the youngest first; all without arguments. Returns what was mended."""
    chosen = [
        one
        for one in reversed(broken(layout))
        if kind in ("", one.kind) and host_name in ("", one.host) and what in ("", one.what)
    ]
    for one in chosen:
        _keep(layout, tuple(other for other in broken(layout) if other != one))
        try:
            await _MEND[one.kind](layout, layout.host(one.host), machine, one)
        except BaseException:
            _keep(layout, (*broken(layout), one))
            raise
    return chosen


async def _inside(layout: Layout, host: RackHost, argv: list[str], doing: str, stdin: str = "") -> str:
    ran = await hosts.execute(layout, host, argv, stdin=stdin)
    if not ran.ok:
        raise failure(f"{doing} on {host.name}", ran)
    return ran.out


async def _nothing(layout: Layout, host: RackHost, what: str) -> str:
    return ""


async def _read_service(layout: Layout, host: RackHost, unit: str) -> str:
    state = await hosts.execute(layout, host, ["systemctl", "is-active", unit])
    if state.out.strip() != "active":
        raise DesksideError(f"{unit} on {host.name} is {state.out.strip()}, so it cannot be stopped")
    return "active"


async def _read_file(layout: Layout, host: RackHost, path: str) -> str:
    return (await _inside(layout, host, ["base64", "--wrap=0", "--", path], f"reading {path}")).strip()


_Act = Callable[[Layout, RackHost, Machine, Break], Awaitable[None]]


async def _cut_cable(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    if hosts.leader(layout, host) is not None:
        await network.switch_cable(layout, host, up=False)


async def _mend_cable(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    if hosts.leader(layout, host) is not None:
        await network.switch_cable(layout, host, up=True)


async def _cut_power(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    await hosts.stop(layout, host, machine)


async def _mend_power(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    await hosts.start(layout, host, machine)
    if not cable_is_cut(layout, host):
        await hosts.wait_ready(layout, host, lambda _host, _line: None)


async def _fill_disk(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    root = layout.root(host)
    if not disks.is_mounted(root):
        raise DesksideError(
            f"the disk of {host.name} is not there", hint=f"deskside lab up --rack {layout.name}"
        )
    await asyncio.to_thread(_fill, root)


def _fill(root: Path) -> None:
    """Reserve all free blocks, root's own too. They are never written: the sparse image does not grow."""
    with (root / FILLER).open("wb") as file:
        for margin in (LEFT_FREE, 2 * LEFT_FREE, 4 * LEFT_FREE):
            found = os.statvfs(root)
            size = found.f_bfree * found.f_frsize - margin
            try:
                if size > 0:
                    os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                continue
            return


async def _empty_disk(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    (layout.root(host) / FILLER).unlink(missing_ok=True)


async def _stop_service(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    await _inside(layout, host, ["systemctl", "stop", one.what], f"stopping {one.what}")


async def _start_service(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    await _inside(layout, host, ["systemctl", "start", one.what], f"starting {one.what}")


async def _edit_file(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    await _inside(layout, host, ["tee", "--append", "--", one.what], f"editing {one.what}", MARK)


async def _restore_file(layout: Layout, host: RackHost, machine: Machine, one: Break) -> None:
    # In place, so that mode and owner stay.
    script = 'base64 --decode > "$1"'
    await _inside(layout, host, ["sh", "-ec", script, "sh", one.what], f"restoring {one.what}", one.before)


def edited(content: str) -> bytes:
    """What a broken file holds, from its recorded content."""
    return base64.b64decode(content) + MARK.encode()


_READ: Mapping[str, Callable[[Layout, RackHost, str], Awaitable[str]]] = {
    "service": _read_service,
    "file": _read_file,
}
_BREAK: Mapping[str, _Act] = {
    "cable": _cut_cable,
    "power": _cut_power,
    "disk": _fill_disk,
    "service": _stop_service,
    "file": _edit_file,
}
_MEND: Mapping[str, _Act] = {
    "cable": _mend_cable,
    "power": _mend_power,
    "disk": _empty_disk,
    "service": _start_service,
    "file": _restore_file,
}
