"""People and groups of the directory: read, added, changed, removed. The directory is the only truth of them.

A change holds the site like a run does, so that it never races an apply. It is not written to the journal:
`status` tells from there what an apply left unfinished.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deskside.app.needs import Needs
from deskside.app.prepare import Report
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, StepFailed, UsageError
from deskside.identity import leaving
from deskside.identity.hub_programs import IN_HUB
from deskside.identity.people import (
    Group,
    NewPerson,
    Person,
    Roster,
    adding,
    group_shape,
    is_last,
    joining,
    make_roster,
    making_group,
    needs_a_member,
    password_call,
    read_calls,
    removing,
    removing_group,
)
from deskside.identity.people import (
    leaving as out_of,
)
from deskside.identity.reaching import (
    Door,
    answered,
    changing_door,
    changing_fault,
    reading_door,
    reading_fault,
)
from deskside.model.action import RunCommand
from deskside.model.platform import Given
from deskside.model.query import Json
from deskside.resources.release import KUBECTL
from deskside.site.schema import Site
from deskside.site.secrets import Secret

if TYPE_CHECKING:
    from deskside.hosts.session import Session
    from deskside.store.store import Store

DEADLINE = 400.0
LATER = "the hub sees it by itself within ten minutes, where identity.bind names an account"


@dataclass(frozen=True)
class Removed:
    """What a removal did."""

    name: str
    directory: str
    """What happened there."""
    hub: str
    """What happened at the hub, or why nothing did."""
    at_once: bool
    """Whether the hub has put the person out."""
    notes: tuple[str, ...] = ()
    """What is left for a person to know or do."""

    def to_json(self) -> dict[str, Json]:
        """All fields."""
        return {**vars(self), "notes": list(self.notes)}


@dataclass
class People:
    """The people of a site, through its hosts. Made by `people_of`."""

    site: Site
    given: Given = field(repr=False)
    sessions: Mapping[str, Session]
    silent: Mapping[str, DesksideError]

    async def roster(self) -> Roster:
        """Everybody and every group. Raises UsageError where nothing may be read."""
        door, directory = reading_door(self.site, self.given), self.site.ldap
        assert directory is not None
        session = self._through(door)
        output = await session.read(door.question(read_calls(directory)))
        found = answered(output.stdout, output.status, session.name)["out"]
        assert isinstance(found, list)
        return make_roster(directory, found, own=self.site.identity.kind == "openldap")

    async def add(self, roster: Roster, people: Sequence[NewPerson]) -> None:
        """Add all of them or none."""
        await self._change(adding(roster, people), f"add {len(people)} people")

    async def set_password(self, roster: Roster, name: str, password: Secret) -> None:
        """Set a password, by the directory's own policy."""
        found_person(roster, name)
        await self._change([password_call(roster.directory, name, password)], "set a password")

    async def join(self, roster: Roster, group: Group, names: Sequence[str]) -> tuple[str, ...]:
        """Put people into a group; those who were not in it."""
        fresh = tuple(name for name in names if name not in group.members)
        for name in names:
            found_person(roster, name)
        if fresh:
            calls = [joining(roster, group, name) for name in fresh]
            await self._change(calls, f"change the group {group.name}")
        return fresh

    async def leave(self, roster: Roster, group: Group, names: Sequence[str]) -> tuple[Removed, ...]:
        """Take people out of a group; out of the hub too where the group was what let them in.

        Also those who are in it no longer: the hub may not have been told the time before.
        """
        there = tuple(name for name in names if name in group.members)
        if there and needs_a_member(group.entry.classes) and set(group.members) <= set(there):
            raise UsageError(
                f"{group.name} would have no member, and groups of this directory need one",
                hint=f"put somebody else in first, or run: deskside group remove {group.name}",
            )
        if there:
            await self._change([out_of(roster, group, name) for name in there], f"change {group.name}")
        told = f"taken out of {group.name}"
        let_in = roster.allowed is not None and roster.allowed.name == group.name
        outside = [name for name in names if let_in and name not in self.site.identity.admins]
        hub = await self.put_out(outside) if outside else {}
        return tuple(
            Removed(
                name,
                told if name in there else f"was not in {group.name}",
                *hub.get(name, ("stays: not by this group alone", True)),
            )
            for name in names
        )

    async def add_group(self, roster: Roster, name: str, members: Sequence[str]) -> None:
        """Make a group, with members where the directory's groups need one."""
        if roster.group(name) is not None:
            raise UsageError(f"there is a group {name} already", hint="see: deskside group list")
        for one in members:
            found_person(roster, one)
        if not members and needs_a_member(frozenset(one.lower() for one in group_shape(roster)[0])):
            raise UsageError(
                "groups of this directory need a member from the beginning",
                hint=f"name one: deskside group add {name} USER",
            )
        await self._change([making_group(roster, name, members)], f"make the group {name}")

    async def remove_group(self, group: Group) -> None:
        """Remove a group; nobody is removed."""
        await self._change([removing_group(group)], f"remove the group {group.name}")

    async def remove(self, roster: Roster, name: str) -> Removed:
        """Remove somebody: from the directory first, then from the hub, at once."""
        person = roster.person(name)
        if person is None:
            told = "was not in the directory"
        else:
            await self._change(removing(roster, person), f"remove {name}")
            told = "removed from the directory"
        said, at_once = (await self.put_out([name]))[name]
        if person is None and said == leaving.UNKNOWN:
            raise unknown(roster, name)
        return Removed(name, told, said, at_once, tuple(self._notes(roster, person, name)))

    def _notes(self, roster: Roster, person: Person | None, name: str) -> list[str]:
        homes = self.site.storage.homes
        notes = [f"the home is kept: {homes.source}/{name}"] if homes else []
        if name in self.site.identity.admins:
            notes.append(f"{name} is in identity.admins of the site file: remove the name there, and apply")
        groups = [roster.group(one) for one in person.groups] if person else []
        last = [group.name for group in groups if group and is_last(group, name)]
        if last:
            notes.append(f"{', '.join(last)} still lists {name}: groups of this directory need a member")
        if self.site.identity.host_login:
            notes.append("hosts believe what they remember for up to five minutes")
        return notes

    async def put_out(self, names: Sequence[str]) -> Mapping[str, tuple[str, bool]]:
        """Stop desks and revoke tokens and cookies: what was said of each, and whether it is done."""
        argv = (*KUBECTL, *IN_HUB, *leaving.forgetting_program())
        run = RunCommand(argv, leaving.forgetting_input(names), timeout=DEADLINE)
        reason = "no server answers"
        for spec in self.site.servers:
            if (session := self.sessions.get(spec.name)) is None:
                continue
            try:
                (result,) = await session.perform([run], title="put people out of the hub", deadline=DEADLINE)
            except DesksideError as error:
                reason = error.message
                continue
            found = leaving.forgetting_answer(result.stdout)
            done = (leaving.PUT_OUT, leaving.UNKNOWN)
            return {name: (found.get(name, "no answer"), found.get(name) in done) for name in names}
        return {name: (f"the hub was not told ({reason}); {LATER}", False) for name in names}

    async def _change(self, calls: Sequence[Json], title: str) -> None:
        door = changing_door(self.site, self.given)
        session = self._through(door)
        (result,) = await session.perform([door.action(calls)], title=title, deadline=DEADLINE)
        answered(result.stdout, result.status, session.name)

    def _through(self, door: Door) -> Session:
        """The first host that answers and has a way in. Raises the reason of the first that does not."""
        for name in door.hosts:
            if name in self.sessions:
                return self.sessions[name]
        first = next((self.silent[name] for name in door.hosts if name in self.silent), None)
        raise first or StepFailed("no host of the site leads to the directory")


def found_person(roster: Roster, name: str) -> Person:
    """The person of that name. Raises UsageError."""
    person = roster.person(name)
    if person is None:
        raise unknown(roster, name)
    return person


def found_group(roster: Roster, name: str) -> Group:
    """The group of that name. Raises UsageError."""
    group = roster.group(name)
    if group is None:
        hint = f"make it: deskside group add {name}; or see: deskside group list"
        raise UsageError(f"the directory has no group {name!r}", hint=hint)
    return group


def unknown(roster: Roster, name: str) -> UsageError:
    """The error for a name that nobody has."""
    return UsageError(
        f"nobody is called {name!r} in {roster.directory.users_base}", hint="see: deskside user list"
    )


def may_change(workspace: Workspace) -> None:
    """Raises UsageError where nothing may be changed, SiteError with all that is missing for a change."""
    given_for(workspace, changing_fault(workspace.site), "identity.manager")


def given_for(workspace: Workspace, fault: UsageError | None, field: str) -> Given:
    """What the directory is reached with. Raises one error with the fault and all that is missing besides."""
    if fault is not None and workspace.site.ldap is None:
        # Nothing that could be written into the site file or beside it helps.
        raise fault
    needs = Needs(workspace.path)
    if fault is not None:
        needs.lack(field, fault)
    given = workspace.given_by(needs)
    needs.settle()
    return given


@asynccontextmanager
async def people_of(workspace: Workspace, store: Store, report: Report) -> AsyncIterator[People]:
    """Connections to the hosts that lead to the directory and to the hub; closed at the end."""
    from deskside.hosts.session import open_sessions

    site, given = workspace.site, given_for(workspace, reading_fault(workspace.site), "identity.bind")
    door = reading_door(site, given)
    only = tuple(dict.fromkeys((*door.hosts, *(spec.name for spec in site.servers))))
    opened = await open_sessions(site, workspace.pins, store.file, report, folder=workspace.folder, only=only)
    try:
        # What a command that was killed began on a host is finished first.
        await asyncio.gather(*(session.settle() for session in opened.sessions.values()))
        yield People(site, given, opened.sessions, opened.unreachable)
    finally:
        await opened.close()
