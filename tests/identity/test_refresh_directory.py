"""Who is still in the directory: the hub's own classes ask a real slapd, or one that cannot be asked."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from addons.sites import example_site
from deskside.identity.ldap import LDAP
from deskside.model.platform import Given
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from identity.realdirectory import READER_PASSWORD, Directory, make_entries, running_directory
from identity.realhub import Asked, asked_inside, free_port
from identity.test_tls import make

pytestmark = [pytest.mark.rack, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).parent / "at_hub/ask_directory.py"
TODAY = int(time.time()) // 86400
GROUP = "cn=ai,cn=groups,dc=lab,dc=example"
READER = Secret(READER_PASSWORD)
LOCAL = "breakglass"
LOCKED_FOR_GOOD = "000001010000Z"
PEOPLE: Mapping[str, Mapping[str, str]] = {
    "ann": {},
    "bob": {"pwdAccountLockedTime": LOCKED_FOR_GOOD},
    "cyd": {"shadowExpire": str(TODAY - 1)},
    "dan": {"shadowExpire": "0"},
    "eve": {"shadowExpire": str(TODAY + 9)},
    "fay": {"pwdAccountLockedTime": "20260101000000Z"},
    "hal": {"shadowExpire": "-1"},
    "zoe": {},
    "out": {},
}
MEMBERS = [name for name in PEOPLE if name not in ("zoe", "out")]
ACCOUNTS: Sequence[tuple[Mapping[str, Sequence[object]], bool]] = (
    ({}, False),
    ({"pwdAccountLockedTime": [], "shadowExpire": []}, False),
    ({"pwdAccountLockedTime": [LOCKED_FOR_GOOD]}, True),
    ({"PWDACCOUNTLOCKEDTIME": [LOCKED_FOR_GOOD]}, True),
    ({"pwdAccountLockedTime": ["20260101000000Z"]}, False),
    ({"shadowExpire": [str(TODAY)]}, True),
    ({"SHADOWEXPIRE": ["1"]}, True),
    ({"shadowexpire": [1]}, True),
    ({"shadowExpire": [str(TODAY + 1)]}, False),
    ({"shadowExpire": ["0"]}, False),
    ({"shadowExpire": ["-1"]}, False),
    ({"shadowExpire": [""]}, False),
    ({"shadowExpire": ["never"]}, False),
    ({"shadowExpire": ["0"], "pwdAccountLockedTime": [LOCKED_FOR_GOOD]}, True),
)


@dataclass(frozen=True)
class Found:
    """What came of one case."""

    answers: Mapping[str, object]
    locked: Sequence[bool]
    said: str


@dataclass(frozen=True)
class Asking:
    """The hub's classes, and the directory that they ask."""

    hub: Asked
    directory: Directory

    def site(self, **identity: object) -> Site:
        """A site with this directory as one that was there already."""
        section = {
            "server": f"ldaps://127.0.0.1:{self.directory.port}",
            "bind": {"dn": self.directory.ldap.reader, "password": {"file": "x"}},
            "allow": {"group": GROUP},
            "admins": ["zoe"],
            "break_glass": {"name": LOCAL, "password": {"file": "x"}},
        }
        base = example_site().model_dump(mode="json", exclude_none=True, by_alias=True)
        return Site.model_validate({**base, "identity": {**base["identity"], **section, **identity}})

    def case(
        self,
        *names: str,
        given: Given | None = None,
        limits: Mapping[str, float] | None = None,
        accounts: Sequence[object] = (),
        identity: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """What the program is told: the hub's settings as Deskside writes them, and who is asked about."""
        login = LDAP.hub_login(self.site(**(identity or {})), given or self.given())
        return {
            "config": login.config,
            "code": login.code["10-deskside-directory"],
            "files": login.files,
            "environment": {name: secret.reveal() for name, secret in login.secrets.items()},
            "limits": limits or {},
            "names": names,
            "accounts": accounts,
        }

    def given(self, reader: Secret | None = READER, ca: str = "") -> Given:
        return Given(ca or self.directory.ca, reader, break_glass="00$00")

    def ask(self, *cases: Mapping[str, object]) -> list[Found]:
        """What came of each case."""
        found = self.hub.ask(cases)
        return [Found(one["answers"], one["locked"], "\n".join(one["said"])) for one in found]


@pytest.fixture(scope="module")
def asking(hub_tree: Path, nas_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A directory with people in every state."""
    folder = tmp_path_factory.mktemp("directory")
    with running_directory(nas_tree, folder) as directory, asked_inside(hub_tree, PROGRAM) as hub:
        fill(directory)
        yield Asking(hub, directory)


def fill(directory: Directory) -> None:
    """Everybody of `PEOPLE`; most are in the group."""
    asyncio.run(make_entries(directory))
    for name, attributes in PEOPLE.items():
        directory.add_person(name, **attributes)
    members = "".join(f"member: {directory.ldap.user(name)}\n" for name in MEMBERS if name != "ann")
    # Ann is in it as Synology and posixGroup have it.
    change = f"add: member\n{members}-\nadd: memberUid\nmemberUid: ann\n"
    directory.change(f"dn: {GROUP}\nchangetype: modify\n{change}")


def test_who_is_there_may_stay_and_who_is_not_may_not(asking: Asking) -> None:
    group, everybody = asking.ask(
        asking.case(*PEOPLE, "gone", LOCAL, accounts=[account for account, _ in ACCOUNTS]),
        asking.case("out", "bob", "cyd", "gone", identity={"allow": {"all": True}}),
    )
    assert group.answers == {
        "ann": True,
        "bob": False,
        "cyd": False,
        "dan": True,
        "eve": True,
        "fay": True,
        "hal": True,
        "zoe": True,
        "out": False,
        "gone": False,
        LOCAL: True,
    }
    assert everybody.answers == {"out": True, "bob": False, "cyd": False, "gone": False}
    assert group.said + everybody.said == ""
    assert list(group.locked) == [wanted for _, wanted in ACCOUNTS]


def elsewhere(server: int) -> dict[str, object]:
    return {"server": f"ldaps://127.0.0.1:{server}"}


def test_what_is_not_known_puts_nobody_out(asking: Asking) -> None:
    """The account, its rights, the network or the certificate is at fault, and not the person."""
    asked = ("gone", "bob")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hurry = {"LIMIT": 0.5, "CONNECT": 1, "RECEIVE": 1}
        port = silent.getsockname()[1]
        found = asking.ask(
            asking.case(*asked, given=asking.given(Secret("another-password"))),
            asking.case(*asked, identity={"user_dn": "uid={username},cn=people,{base}"}),
            # The account may not look there.
            asking.case(*asked, identity={"user_dn": "cn={username},cn=policies,{base}"}),
            asking.case(*asked, identity=elsewhere(free_port())),
            asking.case(*asked, given=asking.given(ca=make("Another authority").pem)),
            asking.case("gone", identity=elsewhere(port), limits=hurry),
        )
    words = (
        "it refuses the password of identity.bind",
        "it shows no place where people are",
        "it shows no place where people are",
        "it 127.0.0.1 cannot be asked (it refuses connections)",
        "it 127.0.0.1 cannot be asked (its certificate is not the one that is trusted)",
        "it 127.0.0.1 cannot be asked (it does not answer within 0 seconds)",
    )
    for one, said in zip(found, words, strict=True):
        assert set(one.answers.values()) == {True}
        assert f"whether gone is still in the directory is not known: {said}" in one.said


def test_nothing_is_asked_without_an_account_that_reads(asking: Asking) -> None:
    off = elsewhere(free_port())
    (found,) = asking.ask(asking.case("gone", "bob", given=asking.given(None), identity=off))
    assert found == Found({"gone": True, "bob": True}, [], "")


def test_a_group_that_cannot_be_seen_puts_nobody_out_who_is_there(asking: Asking) -> None:
    other = {"allow": {"group": "cn=other,cn=groups,dc=lab,dc=example"}}
    (found,) = asking.ask(asking.case("ann", "out", "bob", "gone", identity=other))
    assert found.answers == {"ann": True, "out": True, "bob": False, "gone": False}
    assert "shows no group cn=other,cn=groups,dc=lab,dc=example" in found.said


def test_the_second_server_knows_who_is_gone(asking: Asking) -> None:
    servers = {**elsewhere(free_port()), "fallback": f"ldaps://127.0.0.1:{asking.directory.port}"}
    (found,) = asking.ask(asking.case("ann", "gone", "bob", identity=servers))
    assert found.answers == {"ann": True, "gone": False, "bob": False}
