"""First contact: get into machines as the installer's user, look, and take them over by key.

Whoever calls this has shown the machines' keys to a person and pinned them, shows what was found, and asks.
Nobody is ever locked out: see `handover.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deskside.app.discover import dhcp_host
from deskside.app.first_look import CLOSED, Look, first_look, installer_of, things
from deskside.app.handover import (
    DOOR_SECONDS,
    UNDO,
    UNFINISHED,
    account_actions,
    door_actions,
    finish_undo_action,
    keep_action,
    public_key_line,
    remove_account_action,
    undo_action,
)
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, LoginRefused, SiteError, StepFailed, Unreachable
from deskside.hosts.pins import Pins
from deskside.hosts.session import Session
from deskside.hosts.ssh import Link, Lost, Target
from deskside.model.action import Action
from deskside.model.artifact import Locked
from deskside.model.platform import Host
from deskside.model.query import ReadOutput
from deskside.model.resource import Change
from deskside.model.takeover import Fate, Thing
from deskside.site.schema import HostSpec, Site
from deskside.site.secrets import Secret, located
from deskside.steps.baseline import names

Report = Callable[[str, str], None]
"""`report(host, line)`: one line of progress for a person."""
ANY_ANSWER = ReadOutput(("true",))
"""Asked of a connection to see that it comes through, sudo included."""
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


def _link(workspace: Workspace, wanted: Wanted, user: str, password: Secret | None = None) -> Link:
    admin = workspace.site.admin
    keys = tuple(located(workspace.folder, path) for path in admin.keys)
    target = Target(wanted.spec.name, wanted.address, user, admin.port, keys, password=password)
    return Link(target, Pins(workspace.pins))


async def _session(workspace: Workspace, wanted: Wanted, login: Login) -> Session:
    """A new connection that came through, sudo included. Raises Unreachable or LoginRefused."""
    link = _link(workspace, wanted, login.user, login.password)
    await link.open()
    session = Session(link, _nothing_to_send)
    try:
        await session.read(ANY_ANSWER)
    except BaseException:
        await session.close()
        raise
    return session


async def enter(workspace: Workspace, wanted: Wanted, login: Login, report: Report) -> Entered:
    """Get in, as the site's admin where that works already, and look.

    Changes nothing, but that an earlier takeover which did not end is undone first.
    Raises LoginRefused, Unreachable, StepFailed, or CheckFailed for an operating system that nothing serves.
    """
    session, user = await _undone(workspace, wanted, login, report)
    try:
        look = await first_look(session)
    except BaseException:
        await session.close()
        raise
    found = things(workspace.site, wanted.spec, look, entered=user, installer=login.user)
    return Entered(wanted, session, user, look, found)


async def _inside(workspace: Workspace, wanted: Wanted, login: Login) -> tuple[Session, str]:
    """A connection, and as whom: the site's admin, or the installer's user."""
    user = workspace.site.admin.user
    try:
        return await _session(workspace, wanted, Login(user)), user
    except LoginRefused:
        return await _session(workspace, wanted, login), login.user


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


async def take_over(
    workspace: Workspace, entered: Entered, keys: Sequence[str], login: Login, report: Report
) -> tuple[str, ...]:
    """Take a machine over; what a person should do next, a sentence each.

    Raises DesksideError after everything was put back, or when the machine will do that by itself.
    """
    site, name = workspace.site, entered.name
    third: Session | None = None
    try:
        report(name, f"making the account {site.admin.user}")
        actions = account_actions(site, keys)
        await entered.session.perform(actions, title="Make the site's account", deadline=120)
        third = await _through_the_door(workspace, entered, login, report)
        await third.perform((keep_action(),), title="Keep it so", deadline=60)
    except BaseException as error:
        if third is not None:
            await third.close()
        said = await _put_back(entered, report)
        if isinstance(error, DesksideError):
            error.hint = f"{said}; {error.hint}" if error.hint else said
        raise
    try:
        return await _settle(site, entered, third, login, report)
    finally:
        await third.close()


async def _through_the_door(workspace: Workspace, entered: Entered, login: Login, report: Report) -> Session:
    """The second connection, the closed door, the third connection, and a password that is refused."""
    wanted, admin = entered.wanted, Login(workspace.site.admin.user)
    second = await _session(workspace, wanted, admin)
    try:
        report(entered.name, "closing SSH to all but keys")
        lines = [f"{name} {value}" for name, value in CLOSED.items()]
        await second.perform(door_actions(lines), title="Close SSH to all but keys", deadline=60)
    finally:
        await second.close()
    third = await _session(workspace, wanted, admin)
    try:
        await _password_refused(workspace, wanted, login.user)
    except BaseException:
        await third.close()
        raise
    return third


async def _password_refused(workspace: Workspace, wanted: Wanted, user: str) -> None:
    import asyncssh

    port = workspace.site.admin.port
    try:
        async with asyncio.timeout(15):
            offered = await asyncssh.get_server_auth_methods(
                wanted.address, port if port is not None else (), user
            )
    except (OSError, asyncssh.Error) as error:
        raise Unreachable(f"{wanted.spec.name} does not say how it lets people in: {error}") from None
    if other := [method for method in offered if method not in ("publickey", "none")]:
        raise StepFailed(
            f"{wanted.spec.name} still lets {user} in by {', '.join(other)}",
            hint="look for a Match block in /etc/ssh/sshd_config",
        )


async def _put_back(entered: Entered, report: Report) -> str:
    """Run the undo, over the first connection; what to say about it."""
    report(entered.name, "putting everything back")
    try:
        await asyncio.wait_for(
            entered.session.perform((undo_action(),), title="Put the machine back", deadline=60), 90
        )
    except (DesksideError, TimeoutError):
        return f"{entered.name} puts itself back within {DOOR_SECONDS} s to two minutes"
    return f"{entered.name} is as it was"


async def _settle(
    site: Site, entered: Entered, admin: Session, login: Login, report: Report
) -> tuple[str, ...]:
    """Names, the installer's account, and what is left to a person. The machine is taken over."""
    spec, look = entered.wanted.spec, entered.look
    for resource in names(site, Host(spec, look.facts, look.system)):
        if isinstance(change := await resource.plan(admin), Change):
            report(spec.name, f"{change.subject}: {change.summary}")
            await admin.perform(change.actions, title="Give it its name", deadline=60)
    said = []
    installer = installer_of(site, login.user)
    if not installer.keep and installer.user != site.admin.user and look.has_account(installer.user):
        await entered.session.close()
        action: Action = remove_account_action(installer.user)
        await admin.perform((action,), title="Remove the installer's account", deadline=120)
        report(spec.name, f"the account {installer.user} is removed")
    if entered.wanted.address != str(spec.address):
        said.append(_moving(site, entered))
    return tuple(said)


def _moving(site: Site, entered: Entered) -> str:
    """How a host comes to the address that the site file gives it."""
    spec, current = entered.wanted.spec, entered.wanted.address
    card = entered.look.facts.interface_with(current)
    mac = spec.mac or (card.mac if card else "")
    said = f"{spec.name} answers at {current}; the site file gives it {spec.address}"
    if dhcp_host(site):
        return f"{said}, reserved for {mac} once {dhcp_host(site)} is applied: then reboot it"
    return f"{said}: reserve that for {mac} in the DHCP server, or set it on the host, then reboot it"


async def enter_all(
    workspace: Workspace,
    wanted: Sequence[Wanted],
    login: Login,
    ask: Callable[[], Secret | None],
    report: Report,
) -> tuple[Login, dict[str, Entered | DesksideError]]:
    """Get into all at once; `ask` gives the password, once, when machines want one.

    Returns the login that was used in the end, and by name who let us in or why not.
    """
    found = await _entered(workspace, wanted, login, report)
    refused = [one for one in wanted if isinstance(found[one.spec.name], LoginRefused)]
    if refused and login.password is None and (password := ask()) is not None:
        login = Login(login.user, password)
        found |= await _entered(workspace, refused, login, report)
    return login, {one.spec.name: found[one.spec.name] for one in wanted}


async def _entered(
    workspace: Workspace, wanted: Sequence[Wanted], login: Login, report: Report
) -> dict[str, Entered | DesksideError]:
    async def tried(one: Wanted) -> Entered | DesksideError:
        try:
            return await enter(workspace, one, login, report)
        except DesksideError as error:
            return error

    found = await asyncio.gather(*map(tried, wanted))
    return {one.spec.name: result for one, result in zip(wanted, found, strict=True)}


async def take_all_over(
    entered: Sequence[Entered], site: Site, take: Callable[[Entered], Awaitable[tuple[str, ...]]]
) -> dict[str, tuple[str, ...] | DesksideError]:
    """Take machines over: the DHCP host first, which gives the others their addresses, then all at once."""
    dhcp = dhcp_host(site)
    first = [one for one in entered if one.name == dhcp]
    rest = [one for one in entered if one.name != dhcp]

    async def tried(one: Entered) -> tuple[str, ...] | DesksideError:
        try:
            return await take(one)
        except DesksideError as error:
            return error

    found: dict[str, tuple[str, ...] | DesksideError] = {}
    for group in (first, rest):
        results = await asyncio.gather(*map(tried, group))
        found |= {one.name: result for one, result in zip(group, results, strict=True)}
    return found


async def close_all(found: Sequence[Entered | DesksideError]) -> None:
    """Hang up everywhere."""
    for one in found:
        if isinstance(one, Entered):
            with suppress(OSError, Lost):
                await one.session.close()
