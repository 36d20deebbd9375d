"""The directory that Deskside runs, as a person keeps it: how it is, its backups, and one of them put back.

Works on its hosts alone, so that it also works where the cluster does not. Values in, values out; asking a
person is the caller's.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deskside.app.runs import only_run
from deskside.app.workspace import Workspace
from deskside.errors import CheckFailed, DesksideError, SiteError, Unreachable
from deskside.model.action import RunCommand, WriteFile
from deskside.model.artifact import Locked
from deskside.model.query import Json, Output, ReadOutput
from deskside.steps.directory import BACKUPS, PROGRAM

if TYPE_CHECKING:
    from deskside.hosts.session import Session

PATIENCE = 900.0
LOST = "run: deskside plan; lost data are put back by: deskside directory restore"


@dataclass(frozen=True)
class Backup:
    """A backup on a host; its name is the moment at which it was made, in UTC."""

    host: str
    name: str
    bytes: int
    people: int
    """How many are in it; -1 for a file that is damaged."""


@dataclass(frozen=True)
class ServerStatus:
    """The directory on one of its hosts."""

    host: str
    role: str
    """`first` or `copy`."""
    answers: bool
    said: str = ""
    """Why nothing is known of it."""
    hint: str = ""
    """What to do about that."""
    people: int = 0
    groups: int = 0
    in_step: bool = True
    """Of a copy: whether it has everything that the first has."""
    backup: str = ""
    """Name of the last backup."""


@dataclass(frozen=True)
class Restored:
    """What a backup that was put back replaced."""

    name: str
    people: int
    before: str
    """Name of the backup of what was there; empty where that could not be read any more."""
    late: str = ""
    """Why the copy has still the old data; empty where it has the new ones, or there is none."""


def servers_of(workspace: Workspace) -> tuple[str, ...]:
    """Hosts of the directory, the first one first. Raises SiteError where somebody else runs it."""
    found = workspace.site.identity
    if found.kind != "openldap" or found.on is None:
        raise SiteError(
            f"the directory of {workspace.site.name} ({found.kind}) is run by somebody else",
            hint="this is for identity.kind: openldap; back yours up where it runs",
        )
    return (found.on, found.replica) if found.replica else (found.on,)


async def directory_status(workspace: Workspace) -> tuple[ServerStatus, ...]:
    """How the directory is on each of its hosts; a host that is off is an answer. Raises SiteError."""
    names = servers_of(workspace)
    async with _sessions(workspace) as (sessions, silent):
        outputs = await asyncio.gather(*(_asked(session, "status") for session in sessions.values()))
    looks = {name: _document(output) for name, output in zip(sessions, outputs, strict=True)}
    first = looks.get(names[0])
    found = []
    for name in names:
        role, look = "first" if name == names[0] else "copy", looks.get(name)
        if not isinstance(look, Mapping):
            never = SiteError("the directory was never set up there", hint="run: deskside plan")
            reason: DesksideError = silent.get(name) or never
            found.append(ServerStatus(name, role, False, reason.message, reason.hint))
            continue
        last = look.get("backup")
        found.append(
            ServerStatus(
                host=name,
                role=role,
                answers=bool(look["answers"]),
                said="" if look["answers"] else f"its unit is {look['unit']}",
                hint="" if look["answers"] else LOST,
                people=int(str(look["people"])),
                groups=int(str(look["groups"])),
                in_step=not isinstance(first, Mapping) or look["csn"] == first["csn"],
                backup=str(last[0]) if isinstance(last, list) and last else "",
            )
        )
    return tuple(found)


async def all_backups(workspace: Workspace) -> tuple[Backup, ...]:
    """Backups on every host of the directory that answers, the newest first. Raises Unreachable for none."""
    async with _sessions(workspace) as (sessions, silent):
        if not sessions:
            raise next(iter(silent.values()))
        return await _backups(sessions)


async def make_backup(workspace: Workspace) -> str:
    """Make a backup now, on the first host; its name. Raises StepFailed, Unreachable."""
    first = servers_of(workspace)[0]
    with only_run(workspace):
        async with _sessions(workspace) as (sessions, silent):
            done = await _perform(_session_of(first, sessions, silent), "back the directory up", "backup")
            return str(done["name"])


async def restore(workspace: Workspace, name: str) -> Restored:
    """Put a backup back: the first takes it, the copy follows anew; one that is off keeps the old data.

    Raises CheckFailed where no host has it; StepFailed, Unreachable: the data are then the old ones.
    """
    names = servers_of(workspace)
    with only_run(workspace):
        async with _sessions(workspace) as (sessions, silent):
            first = _session_of(names[0], sessions, silent)
            await _bring(name, first, sessions)
            done = await _perform(first, "put the backup back", "restore", name)
            late = ""
            for other in names[1:]:
                try:
                    await _anew(_session_of(other, sessions, silent), str(done["csn"]))
                except DesksideError as error:
                    late = error.message
            return Restored(name, int(str(done["people"])), str(done["before"]), late)


async def follow(workspace: Workspace) -> str:
    """Let the copy forget what it has and follow the first server anew; the copy's host.

    Raises SiteError where there is no copy; StepFailed, Unreachable.
    """
    names = servers_of(workspace)
    if len(names) == 1:
        raise SiteError("the directory has no copy", hint="name a second host in identity.replica")
    with only_run(workspace):
        async with _sessions(workspace) as (sessions, silent):
            # Both have to answer before anything is forgotten.
            first, copy = (_session_of(name, sessions, silent) for name in names)
            look = _document(await _asked(first, "status"))
            if not isinstance(look, Mapping) or not look["answers"]:
                raise CheckFailed(
                    f"the directory on {first.name} does not answer: a copy would lose all it has",
                    hint="run: deskside directory status",
                )
            await _anew(copy, str(look["csn"]))
            return copy.name


async def _anew(copy: Session, csn: str) -> None:
    await _perform(copy, "follow the first server anew", "anew", csn)


async def _bring(name: str, first: Session, sessions: Mapping[str, Session]) -> None:
    """Let the first host have a backup that only the other one has, as after it was installed anew."""
    there = [one.host for one in await _backups(sessions) if one.name == name]
    if not there:
        raise CheckFailed(f"there is no backup {name}", hint="run: deskside directory backups")
    if first.name in there:
        return
    output = await sessions[there[0]].read(ReadOutput(("base64", f"{BACKUPS}/{name}"), timeout=60.0))
    content = base64.b64decode(output.stdout)
    await first.perform(
        (WriteFile(f"{BACKUPS}/{name}", content, 0o600),), title="bring the backup", deadline=120.0
    )


@asynccontextmanager
async def _sessions(
    workspace: Workspace,
) -> AsyncIterator[tuple[Mapping[str, Session], Mapping[str, Unreachable]]]:
    from deskside.hosts.session import open_sessions

    async def nothing(_: Locked) -> Path:
        raise AssertionError("a backup is no artifact")

    opened = await open_sessions(
        workspace.site, workspace.pins, nothing, folder=workspace.folder, only=servers_of(workspace)
    )
    try:
        # What a command that was killed began on a host is finished first.
        await asyncio.gather(*(session.settle() for session in opened.sessions.values()))
        yield opened.sessions, opened.unreachable
    finally:
        await opened.close()


def _session_of(name: str, sessions: Mapping[str, Session], silent: Mapping[str, Unreachable]) -> Session:
    if name in silent:
        raise silent[name]
    return sessions[name]


async def _backups(sessions: Mapping[str, Session]) -> tuple[Backup, ...]:
    outputs = await asyncio.gather(*(_asked(session, "backups") for session in sessions.values()))
    found = []
    for host, output in zip(sessions, outputs, strict=True):
        document = _document(output)
        for one in document if isinstance(document, list) else ():
            assert isinstance(one, Mapping)
            found.append(Backup(host, str(one["name"]), int(str(one["bytes"])), int(str(one["people"]))))
    return tuple(sorted(found, key=lambda one: one.name, reverse=True))


async def _asked(session: Session, *words: str) -> Output:
    return await session.read(ReadOutput((PROGRAM, *words), timeout=60.0))


def _document(output: Output) -> Json:
    """What the program printed; None where it is not there or has nothing to tell."""
    if output.status != 0:
        return None
    found: Json = json.loads(output.stdout)
    return found


async def _perform(session: Session, title: str, *words: str) -> Mapping[str, Json]:
    run = RunCommand((PROGRAM, *words), timeout=PATIENCE)
    (result,) = await session.perform((run,), title=title, deadline=PATIENCE + 60)
    found: Json = json.loads(result.stdout)
    assert isinstance(found, Mapping)
    return found
