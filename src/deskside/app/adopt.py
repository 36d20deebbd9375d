"""First contact: take machines over by key, once somebody has seen what is on them and has said yes.

Nobody is ever locked out: see `handover.py`. How machines are entered before: `enter.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from deskside.app.discover import dhcp_host
from deskside.app.enter import Entered, Login, Report, Wanted, new_session
from deskside.app.first_look import CLOSED, installer_of
from deskside.app.handover import (
    DOOR_SECONDS,
    account_actions,
    door_actions,
    keep_action,
    remove_account_action,
    undo_action,
)
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, StepFailed, Unreachable
from deskside.hosts.session import Session
from deskside.model.action import Action
from deskside.model.platform import Host
from deskside.model.resource import Change
from deskside.site.schema import Site
from deskside.steps.baseline import names

RELOAD_SECONDS = 5.0
"""Within these the SSH server is there again after it was told to read its settings."""


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
    second = await new_session(workspace, wanted, admin)
    try:
        report(entered.name, "closing SSH to all but keys")
        lines = [f"{name} {value}" for name, value in CLOSED.items()]
        await second.perform(door_actions(lines), title="Close SSH to all but keys", deadline=60)
    finally:
        await second.close()
    # A server that was told to read its settings anew does so when it gets to it: the third connection
    # must be let in by the new ones.
    await _password_refused(workspace, wanted, login.user)
    return await new_session(workspace, wanted, admin)


async def _password_refused(workspace: Workspace, wanted: Wanted, user: str) -> None:
    """Wait until the server offers keys alone; for a moment it may listen to nobody.

    Asked less and less often: a server counts connections that do not log in (PerSourcePenalties).
    """
    end, pause = monotonic() + RELOAD_SECONDS, 0.2
    while True:
        try:
            other = await _other_ways_in(workspace, wanted, user)
        except Unreachable:
            if monotonic() > end:
                raise
        else:
            if not other:
                return
            if monotonic() > end:
                raise StepFailed(
                    f"{wanted.spec.name} still lets {user} in by {', '.join(other)}",
                    hint="look for a Match block in /etc/ssh/sshd_config",
                )
        await asyncio.sleep(pause)
        pause *= 2


async def _other_ways_in(workspace: Workspace, wanted: Wanted, user: str) -> list[str]:
    """The ways other than a key by which the server offers to let `user` in."""
    import asyncssh

    port = workspace.site.admin.port
    try:
        async with asyncio.timeout(15):
            offered = await asyncssh.get_server_auth_methods(
                wanted.address, port if port is not None else (), user
            )
    except (OSError, asyncssh.Error) as error:
        raise Unreachable(f"{wanted.spec.name} does not say how it lets people in: {error}") from None
    return [method for method in offered if method not in ("publickey", "none")]


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
