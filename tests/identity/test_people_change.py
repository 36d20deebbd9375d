"""People are added all or none: in a real slapd, with the settings that Deskside makes for its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deskside.app.people import People
from deskside.app.people_import import Import, carry_out
from deskside.errors import DesksideError, Unreachable
from deskside.identity.people import NewPerson, Roster, adding
from deskside.identity.reaching import answered, changing_door
from deskside.model.action import Action, ActionResult
from deskside.model.platform import Given
from deskside.site.secrets import Secret
from identity.realdirectory import Directory, make_entries, running_directory

pytestmark = [pytest.mark.rack, pytest.mark.timeout(300)]


def new(name: str, *groups: str, password: str = "") -> NewPerson:
    return NewPerson(name, groups=groups or ("ai",), password=Secret(password or f"a-word-of-{name}"))


def people_of(directory: Directory) -> People:
    through: Any = {"ws1": directory}
    return People(directory.site, Given(directory.ca), through, {})


def state(roster: Roster) -> tuple[list[str], list[str]]:
    """Names of all people, and of the members of the allowed group."""
    assert roster.allowed is not None
    return sorted(one.name for one in roster.people), sorted(roster.allowed.members)


async def refused(directory: Directory, roster: Roster, *wanted: NewPerson) -> tuple[str, Roster]:
    """Why nobody was added, and who is there then."""
    people = people_of(directory)
    with pytest.raises(DesksideError) as caught:
        await people.add(roster, wanted)
    return caught.value.message, await people.roster()


@pytest.fixture
def directory(nas_tree: Path, tmp_path: Path) -> Iterator[Directory]:
    """A directory as Deskside leaves a new one."""
    with running_directory(nas_tree, tmp_path) as found:
        asyncio.run(make_entries(found))
        yield found


async def test_all_are_added_with_password_and_groups(directory: Directory) -> None:
    people = people_of(directory)
    await people.add(await people.roster(), [new("ann"), new("bob", "users"), new("cyd", "ai", "users")])
    roster = await people.roster()
    assert state(roster) == (["ann", "bob", "cyd"], ["ann", "cyd"])
    found = {one.name: one for one in roster.people}
    assert sorted(found["cyd"].groups) == ["ai", "users"]
    assert len({one.entry.first("uidNumber") for one in roster.people}) == 3
    for name, status in (("ann", 0), ("bob", 0), ("cyd", 0), ("wrong", 49)):
        dn = directory.ldap.user(name.replace("wrong", "ann"))
        who = ["ldapwhoami", "-x", "-H", "ldapi:///", "-D", dn, "-w", f"a-word-of-{name}"]
        assert directory.run(who, "").returncode == status


async def test_somebody_was_added_by_another_tool_meanwhile(directory: Directory) -> None:
    roster = await people_of(directory).roster()
    directory.add_person("eve", mail="eve@lab.example")
    said, after = await refused(directory, roster, new("dan"), new("eve"), new("fay"))
    assert said.startswith("the directory did not add eve: it has that entry already")
    assert "could not be taken back" not in said
    assert state(after) == (["eve"], [])
    eve = after.person("eve")
    assert eve is not None
    assert eve.entry.first("mail") == "eve@lab.example"


async def test_a_password_that_the_policy_refuses(directory: Directory) -> None:
    roster = await people_of(directory).roster()
    said, after = await refused(directory, roster, new("dan"), new("eve", password="short"))
    assert said == "the directory did not set the password of eve: the password is too short for its policy"
    assert state(after) == ([], [])


async def test_a_group_that_went_away_meanwhile(directory: Directory) -> None:
    roster = await people_of(directory).roster()
    directory.change("dn: cn=users,cn=groups,dc=lab,dc=example\nchangetype: delete\n")
    said, after = await refused(directory, roster, new("dan"), new("eve", "ai", "users"))
    assert said.startswith("the directory did not put eve into users: it has no such entry")
    assert state(after) == ([], [])


async def test_what_cannot_be_taken_back_is_named(directory: Directory) -> None:
    """Somebody removes dan in between, and dan's undoing fails; the rest is undone all the same."""
    people = people_of(directory)
    roster = await people.roster()
    dan = NewPerson("dan")
    calls: Any = adding(roster, [new("cyd"), dan, new("eve", password="short")])
    gone = {"tool": "ldapmodify", "arguments": [], "what": "remove dan", "undo": ""}
    gone["stdin"] = f"dn: {directory.ldap.user('dan')}\nchangetype: delete\n"
    place = next(place for place, call in enumerate(calls) if call["what"] == "add eve")
    door = changing_door(directory.site, people.given)
    (result,) = await directory.perform(
        [door.action([*calls[:place], gone, *calls[place:]])], title="x", deadline=60
    )
    assert json.loads(result.stdout)["left"] == ["add dan"]
    with pytest.raises(DesksideError, match="too short for its policy; could not be taken back: add dan"):
        answered(result.stdout, result.status, "ws1")
    assert state(await people.roster()) == ([], [])


async def test_random_passwords_stay_only_with_people_who_have_them(
    directory: Directory, tmp_path: Path
) -> None:
    people, file = people_of(directory), tmp_path / "people.passwords.csv"
    roster = await people.roster()
    directory.add_person("eve")
    with pytest.raises(DesksideError, match="did not add eve"):
        await carry_out(people, roster, Import((new("dan"), new("eve")), (), file, ("dan", "eve")))
    assert not file.exists()

    async def lost(actions: Sequence[Action], *, title: str, deadline: float) -> tuple[ActionResult, ...]:
        await Directory.perform(directory, actions, title=title, deadline=deadline)
        raise Unreachable("ws1 was lost during a run", hint="run it again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory, "perform", lost)
        with pytest.raises(Unreachable) as unknown:
            await carry_out(people, roster, Import((new("fay"),), (), file, ("fay",)))
    assert f"random passwords are in {file}" in unknown.value.hint
    assert file.read_text() == "name,password\nfay,a-word-of-fay\n", "fay is there, and has it"
    file.unlink()
    directory.change(f"dn: {directory.ldap.user('fay')}\nchangetype: delete\n")
    group = f"dn: cn=ai,cn=groups,{directory.ldap.base}\nchangetype: modify\n"
    directory.change(f"{group}delete: member\n-\ndelete: memberUid\n")
    await carry_out(people, await people.roster(), Import((new("dan"),), (), file, ("dan",)))
    assert file.read_text() == "name,password\ndan,a-word-of-dan\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert state(await people.roster()) == (["dan", "eve"], ["dan"])
