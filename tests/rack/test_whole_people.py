"""People of a directory that Deskside runs, from their CSV file to the hub and out of it again.

A real slapd on two hosts of the platform, and the hub that asks both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from deskside.app.hub import HubUser
from deskside.site.secrets import Secret
from deskside.steps.directory import UNIT
from rack.platforms import OnRack, needs_root, until
from rack.test_whole_directory import logs_in, url

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(600, func_only=True)]

PASSWORDS = {name: f"a-word-of-{name}" for name in ("ann", "bob", "cyd", "dan")}
INTERVAL = 3
"""Seconds between two looks of the hub for people who have left; five minutes on a site."""
PEOPLE = """\
name,full_name,mail,groups,password
ann,"Ann, the first",ann@lab.example,ai administrators,a-word-of-ann
bob,Bob,,users,a-word-of-bob
cyd,,,,a-word-of-cyd
"""
BROKEN = """\
name,full_name,mail,groups,password
Ann,,,,
root,,,,
eve,,no-mail,,
fay,,,nowhere,
fay,,,,
gus,,,,,,
"""
VALUES = "  values: {hub: {config: {Leaving: {interval: %d}}}}\n"


@dataclass(frozen=True)
class WithPeople:
    """The platform with its own directory."""

    on: OnRack

    def status_of(self, name: str, password: str = "") -> int:
        """What the hub answers to a log-in."""
        return logs_in(self.on, name, Secret(password or PASSWORDS[name]))[0]

    def desks(self) -> list[str]:
        words = ("get", "pods", "-n", "jupyterhub", "-l", "component=singleuser-server", "-o", "name")
        return self.on.kubectl(*words).split()

    def names(self) -> list[str]:
        found = self.on.deskside("user", "list", "--json").document["people"]
        return sorted(one["name"] for one in found)

    def elsewhere(self, text: str) -> None:
        """A change by somebody else's tool."""
        self.on.run("ws1", "ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///", stdin=text)


@pytest.fixture(scope="module")
def people(platform: OnRack) -> Iterator[WithPeople]:
    """The same site with a directory of its own and people in it; as it was before at the end."""
    text = platform.rack.site_file.read_text()
    section = text[text.index("identity:\n") : text.index("kubernetes:")]
    own = "identity: {kind: openldap, on: ws1, replica: ws2, allow: {group: ai}, admins: [ann]}\n\n"
    hostname = next(line for line in text.splitlines(keepends=True) if line.startswith("  hostname:"))
    other = platform.with_site("people", (section, own), (hostname, hostname + VALUES % INTERVAL))
    found = WithPeople(other)
    try:
        planned = other.deskside("plan", "-v")
        ended = other.deskside("apply", "--yes", "-v")
        for file in (platform.rack.folder / "site-secrets").glob("*.secret"):
            for said in (planned.out, planned.err, ended.out, ended.err):
                assert file.read_text().strip() not in said
        assert other.changes() == set()
        imported = other.deskside("user", "import", found.on.private("people.csv", PEOPLE))
        assert imported.out == "added 3: ann, bob, cyd\n"
        assert not [word for word in PASSWORDS.values() if word in imported.out + imported.err]
        yield found
    finally:
        platform.deskside("apply", "--yes")
        platform.shell("ws1", "rm -rf /var/lib/ldap/deskside /var/lib/deskside/directory")
        platform.shell("ws2", "rm -rf /var/lib/ldap/deskside /var/lib/deskside/directory")
    assert platform.changes() == set()


async def token_of(user: HubUser) -> str:
    """A token that the person made for a script."""
    answer = await user._call("POST", f"/hub/api/users/{user.name}/tokens", json={"note": "a script"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def test_who_was_imported_logs_in_by_the_rule(people: WithPeople) -> None:
    assert people.names() == ["ann", "bob", "cyd"]
    assert [people.status_of(name) for name in ("ann", "bob", "cyd")] == [302, 403, 302]
    assert people.status_of("ann", "wrong") == 403
    again = people.on.deskside("user", "import", people.on.private("people.csv", PEOPLE))
    assert "in the directory already; nothing was changed" in again.out
    said = people.on.deskside("directory", "status").out
    assert [line.split()[:4] for line in said.splitlines()[1:]] == [
        *(["ws1", "first", "yes", "3"], ["ws2", "copy", "yes", "3"]),
    ]
    assert "the rule" in people.on.deskside("check").out


def test_a_broken_file_imports_nobody_and_every_line_is_named(people: WithPeople) -> None:
    ended = people.on.deskside("user", "import", people.on.private("broken.csv", BROKEN), code=2)
    for line in (2, 3, 4, 5, 6, 7):
        assert f"broken.csv:{line}:" in ended.err, ended.err
    assert "nobody was imported" in ended.err
    assert people.names() == ["ann", "bob", "cyd"]


def test_a_person_is_added_and_gets_another_password(people: WithPeople) -> None:
    file = people.on.private("dan.secret", PASSWORDS["dan"])
    people.on.deskside("user", "add", "dan", "--name", "Dan", "--password-file", file)
    shown = people.on.deskside("user", "show", "dan", "--json").document
    assert shown["groups"] == ["ai"]
    assert people.status_of("dan") == 302
    short = people.on.deskside(
        "user", "passwd", "dan", "--password-file", people.on.private("x", "short"), code=6
    )
    assert "too short for its policy" in short.err
    people.on.deskside("user", "passwd", "dan", "--password-file", people.on.private("x", "another-word"))
    assert (people.status_of("dan"), people.status_of("dan", "another-word")) == (403, 302)
    people.on.deskside("user", "add", "dan", "--password-file", file, code=2)
    people.on.deskside("group", "add", "vision", "dan", "cyd")
    people.on.deskside("group", "leave", "vision", "cyd")
    groups = people.on.deskside("group", "list", "--json").document["groups"]
    assert [one["members"] for one in groups if one["name"] == "vision"] == [["dan"]]
    people.on.deskside("group", "remove", "vision", "--yes")
    people.on.deskside("group", "remove", "ai", "--yes", code=2)


def test_f42_the_copy_lets_people_in_while_the_first_is_away(people: WithPeople) -> None:
    with people.on.broken("service", "ws1", UNIT):
        assert people.status_of("ann") == 302
        assert people.status_of("bob") == 403
        assert people.on.deskside("directory", "status", code=5).out.splitlines()[1].split()[2] == "no"
    assert people.status_of("ann") == 302


def test_who_is_removed_is_out_at_once(people: WithPeople) -> None:
    async def worked() -> None:
        async with HubUser(url(people.on), "cyd") as cyd:
            assert await cyd.log_in(Secret(PASSWORDS["cyd"])) == 302
            await cyd.start((await cyd.profiles())[0].slug, lambda _: None)
            token = await token_of(cyd)
            assert await reaches(token)
            assert len(await asyncio.to_thread(people.desks)) == 1
            ended = await asyncio.to_thread(people.on.deskside, "user", "remove", "cyd", "--yes")
            assert "removed from the directory" in ended.out
            assert "the home is kept: nas:/volume1/homes/cyd" in ended.out
            assert not await cyd.is_logged_in()
            assert not await reaches(token)

    async def reaches(token: str) -> bool:
        async with httpx.AsyncClient(base_url=url(people.on)) as client:
            headers = {"Authorization": f"token {token}"}
            return (await client.get("/hub/api/user", headers=headers)).status_code == 200

    asyncio.run(worked())
    until("the desk goes on", 40, lambda: people.desks() == [])
    assert people.status_of("cyd") == 403
    assert people.names() == ["ann", "bob", "dan"]
    groups = people.on.deskside("group", "list", "--json").document["groups"]
    assert not [one["name"] for one in groups if "cyd" in one["members"]]
    people.on.deskside("user", "remove", "cyd", "--yes", code=2)


def test_who_is_removed_elsewhere_is_out_soon_and_nobody_while_nothing_is_known(people: WithPeople) -> None:
    base = ",".join(f"dc={label}" for label in people.on.rack.layout.domain.split("."))

    async def seen() -> None:
        async with HubUser(url(people.on), "ann") as ann, HubUser(url(people.on), "dan") as dan:
            assert await ann.log_in(Secret(PASSWORDS["ann"])) == 302
            assert await dan.log_in(Secret("another-word")) == 302
            await asyncio.to_thread(everywhere, people, "stop")
            try:
                await asyncio.to_thread(until, "the hub does not look", 60, lambda: unknown(people) > 1)
                assert await ann.is_logged_in()
                assert await dan.is_logged_in()
            finally:
                await asyncio.to_thread(everywhere, people, "start")
            change = f"dn: cn=ai,cn=groups,{base}\nchangetype: modify\ndelete: memberUid\nmemberUid: dan\n-\n"
            change += f"delete: member\nmember: uid=dan,cn=users,{base}\n"
            await asyncio.to_thread(people.elsewhere, change)
            end = time.monotonic() + 60 + 20 * INTERVAL
            while await dan.is_logged_in():
                assert time.monotonic() < end, "dan is still there"
                await asyncio.sleep(1)
            assert await ann.is_logged_in()

    asyncio.run(seen())
    assert people.status_of("dan", "another-word") == 403


def everywhere(people: WithPeople, verb: str) -> None:
    for host in ("ws1", "ws2"):
        people.on.run(host, "systemctl", verb, UNIT)


def unknown(people: WithPeople) -> int:
    """How often the hub's log says that it does not know about Ann."""
    log = people.on.kubectl("logs", "-n", "jupyterhub", "deployment/hub", "-c", "hub", "--since=90s")
    return log.count("whether ann is still in the directory is not known")
