"""Getting into machines as the installer's user, before they are taken over, and looking at them.

Whoever calls this has shown the machines' keys to a person and pinned them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from deskside.app.first_look import Look, first_look, things
from deskside.app.handover import UNDO, UNFINISHED, finish_undo_action, public_key_line
from deskside.app.same_machine import MAC_COMMAND, require_same
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, LoginRefused, PythonMissing, SiteError, StepFailed, Unreachable
from deskside.hosts.login import Lost, Target
from deskside.hosts.pins import Pins
from deskside.hosts.session import Session
from deskside.hosts.ssh import Link
from deskside.model.artifact import Locked
from deskside.model.query import ReadOutput
from deskside.model.takeover import Fate, Thing
from deskside.site.schema import HostSpec
from deskside.site.secrets import Secret, located

Report = Callable[[str, str], None]
"""`report(host, line)`: one line of progress for a person."""
ANY_ANSWER = ReadOutput(("true",))
"""Asked of a connection to see that it comes through, sudo included."""
PYTHON_HINT = "the same command with --yes installs it; or run on"
UNDO_PAUSES = (0.0, 1.0, 3.0, 6.0)
"""Seconds before each try to find the machine without an unfinished takeover."""


@dataclass(frozen=True)
class Wanted:
    """A host of the site file, and where it answers now."""

    spec: HostSpec
    address: str


@dataclass(frozen=True)
class Entered:
    """A machine that let us in, and what was seen there."""

    wanted: Wanted
    session: Session
    user: str
    """Who we are logged in as: the site's admin, or the installer's user."""
    look: Look
    things: tuple[Thing, ...]

    @property
    def name(self) -> str:
        """The host's name in the site file."""
        return self.wanted.spec.name

    @property
    def adopted(self) -> bool:
        """Whether there is nothing to change: it was taken over before."""
        return not any(thing.fate is Fate.CHANGED for thing in self.things)


@dataclass(frozen=True)
class Login:
    """How machines are entered for the first time."""

    user: str
    password: Secret | None = None
    bootstrap: bool = False
    """May python3 be installed where there is none?"""


class Person(Protocol):
    """Who is asked, at most once each, when machines want something."""

    def password(self, user: str) -> Secret | None:
        """The password of the installer's user; None when nobody can be asked."""

    def python(self, hosts: Sequence[str]) -> bool:
        """May python3 be installed on these hosts, which have none?"""


def public_keys(workspace: Workspace) -> tuple[str, ...]:
    """The site's public keys, a line each. Raises SiteError when there are none, or one cannot be read."""
    if workspace.site.admin.user == "root":
        raise SiteError(
            "admin.user: adopt closes root's login, so the site's account cannot be root",
            hint="name an account of its own, as admin.user: ops",
        )
    found = []
    for path in workspace.site.admin.keys:
        place = located(workspace.folder, path)
        try:
            found.append(public_key_line(place.read_text(encoding="utf-8"), str(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise SiteError(
                f"admin.keys: {place} cannot be read: {error}", hint="make a key with: ssh-keygen -t ed25519"
            ) from None
    if not found:
        raise SiteError(
            "admin.keys is empty, and nobody could enter a host that is closed to passwords",
            hint="name a public key: admin.keys: [~/.ssh/id_ed25519.pub]",
        )
    return tuple(found)


async def _nothing_to_send(_: Locked) -> Path:
    raise AssertionError("adopt sends no artifacts")


def _link(workspace: Workspace, wanted: Wanted, login: Login) -> Link:
    admin = workspace.site.admin
    keys = tuple(located(workspace.folder, path) for path in admin.keys)
    name, address = wanted.spec.name, wanted.address
    target = Target(name, address, login.user, admin.port, keys, login.bootstrap, login.password)
    return Link(target, Pins(workspace.pins))


async def new_session(workspace: Workspace, wanted: Wanted, login: Login) -> Session:
    """A new connection to the machine that is meant, which came through, sudo included.

    Raises Unreachable, as LoginRefused, WrongMachine or PythonMissing where it is one of these.
    """
    link = _link(workspace, wanted, login)
    await link.open()
    session = Session(link, _nothing_to_send)
    try:
        require_same(workspace.site, wanted.spec, wanted.address, await link.heard(MAC_COMMAND))
        await session.read(ANY_ANSWER)
    except Lost as error:
        await session.close()
        raise Unreachable(f"{wanted.spec.name} ({wanted.address}) hung up: {error}") from None
    except BaseException:
        await session.close()
        raise
    return session


async def enter(workspace: Workspace, wanted: Wanted, login: Login, report: Report) -> Entered:
    """Get in, as the site's admin where that works already, and look.

    Changes nothing, but that an earlier takeover which did not end is undone first, and that `login` may let
    python3 be installed.
    Raises Unreachable, StepFailed, or CheckFailed for an operating system that nothing serves.
    """
    session, user = await _undone(workspace, wanted, login, report)
    try:
        look = await first_look(session)
    except BaseException:
        await session.close()
        raise
    keys = public_keys(workspace)
    found = things(workspace.site, wanted.spec, look, keys, entered=user, installer=login.user)
    return Entered(wanted, session, user, look, found)


async def _inside(workspace: Workspace, wanted: Wanted, login: Login) -> tuple[Session, str]:
    """A connection, and as whom: the site's admin, or the installer's user."""
    user = workspace.site.admin.user
    try:
        return await new_session(workspace, wanted, replace(login, user=user, password=None)), user
    except LoginRefused:
        return await new_session(workspace, wanted, login), login.user


async def _undone(workspace: Workspace, wanted: Wanted, login: Login, report: Report) -> tuple[Session, str]:
    """Get into a machine on which no takeover is half done: one that did not end is undone, to its end.

    The undo may remove the very account that we came in by, so we always come in anew after it.
    """
    failed: DesksideError | None = None
    for pause in UNDO_PAUSES:
        await asyncio.sleep(pause)
        try:
            session, user = await _inside(workspace, wanted, login)
        except Unreachable as error:
            if failed is None:
                raise
            failed = error
            continue
        try:
            await session.settle(60)
            if not (await session.read(UNFINISHED)).stdout.strip():
                return session, user
            if failed is None:
                report(wanted.spec.name, "an earlier takeover did not end: the host is put back first")
            failed = await _finish_undo(session)
        except BaseException:
            await session.close()
            raise
        await session.close()
    assert failed is not None
    raise failed


async def _finish_undo(session: Session) -> DesksideError:
    """Bring an undo to its end; what to say if it turns out that it has not come to it."""
    try:
        await session.perform((finish_undo_action(),), title="Undo the earlier takeover", deadline=120)
    except DesksideError as error:
        return error
    return StepFailed(
        f"{session.name}: an earlier takeover did not end, and undoing it does not either",
        hint=f"look on {session.name}: journalctl -u {UNDO}",
    )


async def enter_all(
    workspace: Workspace, wanted: Sequence[Wanted], login: Login, person: Person, report: Report
) -> tuple[Login, dict[str, Entered | DesksideError]]:
    """Get into all at once; `person` is asked for what machines want.

    Returns the login that was used in the end, and by name who let us in or why not.
    """
    found = await _entered(workspace, wanted, login, report)
    asked_password, asked_python = login.password is not None, login.bootstrap
    while True:
        refused = [one for one in wanted if isinstance(found[one.spec.name], LoginRefused)]
        bare = [one for one in wanted if isinstance(found[one.spec.name], PythonMissing)]
        if refused and not asked_password:
            asked_password, again = True, refused
            if (password := person.password(login.user)) is None:
                continue
            login = replace(login, password=password)
        elif bare and not asked_python:
            asked_python, again = True, bare
            if not person.python([one.spec.name for one in bare]):
                continue
            login = replace(login, bootstrap=True)
        else:
            return login, {one.spec.name: found[one.spec.name] for one in wanted}
        found |= await _entered(workspace, again, login, report)


async def _entered(
    workspace: Workspace, wanted: Sequence[Wanted], login: Login, report: Report
) -> dict[str, Entered | DesksideError]:
    async def tried(one: Wanted) -> Entered | DesksideError:
        try:
            return await enter(workspace, one, login, report)
        except PythonMissing as error:
            error.hint = f"{PYTHON_HINT} {one.spec.name}: sudo apt-get install python3"
            return error
        except DesksideError as error:
            return error

    found = await asyncio.gather(*map(tried, wanted))
    return {one.spec.name: result for one, result in zip(wanted, found, strict=True)}


async def close_all(found: Sequence[Entered | DesksideError]) -> None:
    """Hang up everywhere."""
    for one in found:
        if isinstance(one, Entered):
            with suppress(OSError, Lost):
                await one.session.close()
