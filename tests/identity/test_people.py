"""People of a directory: what is read out of LDIF, and what changes are made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.sites import example_ldap, example_site
from deskside.app.people_file import ReadPeople, roster_problems
from deskside.app.people_new import fit
from deskside.errors import DesksideError, UsageError
from deskside.identity.ldif import added, line, parsed
from deskside.identity.people import (
    NewPerson,
    Roster,
    adding,
    is_last,
    joining,
    leaving,
    make_roster,
    making_group,
    removing,
)
from deskside.identity.reaching import answered, changing_door, reading_door
from deskside.model.platform import Given
from deskside.site.secrets import Secret

BASE = "dc=lab,dc=example"
PEOPLE = f"""\
dn: uid=ann,cn=users,{BASE}
objectClass: inetOrgPerson
objectClass: posixAccount
objectClass: shadowAccount
objectClass: sambaSamAccount
uid: ann
cn:: QW5uIMOEaG5s
uidNumber: 2010
gidNumber: 100

dn: uid=nobody2,cn=users,{BASE}
objectClass: inetOrgPerson
objectClass: posixAccount
objectClass: shadowAccount
uid: nobody2
uidNumber: 65534
"""
GROUPS = f"""\
dn: cn=ai,cn=groups,{BASE}
objectClass: groupOfNames
objectClass: extensibleObject
cn: ai
gidNumber: 3000
member: UID=ann, cn=users, {BASE}
memberUid: ann

dn: cn=users,cn=groups,{BASE}
objectClass: posixGroup
cn: users
gidNumber: 100
"""


def roster(*, own: bool = False) -> Roster:
    return make_roster(example_ldap(), (PEOPLE, GROUPS), own=own)


def texts(calls: Any) -> list[str]:
    return [call["stdin"] for call in calls if call["tool"] == "ldapmodify"]


def test_people_and_groups_are_read() -> None:
    ann = roster().person("ann")
    assert ann is not None
    assert (ann.full_name, ann.groups) == ("Ann Ähnl", ("ai",))
    allowed = roster().allowed
    assert allowed is not None
    assert allowed.members == ("ann",)


def test_numbers_are_above_all_others_and_never_nobodys() -> None:
    found = roster()
    assert [found.next_number("uidNumber", taken) for taken in (0, 1)] == [2011, 2012]
    assert make_roster(example_ldap(), ("", ""), own=True).next_number("uidNumber") == 2000


def test_a_new_person_is_like_those_that_are_there() -> None:
    dan = NewPerson("dan", "Dan Örn", "dan@lab.example", ("ai",), password=Secret("canary"))
    calls: Any = adding(roster(), [dan])
    assert [call["what"] for call in calls] == ["add dan", "set the password of dan", "put dan into ai"]
    entry = texts(calls)[0]
    assert "sambaSamAccount" not in entry
    assert "uidNumber: 2011\ngidNumber: 100\n" in entry
    assert "canary" not in "".join(texts(calls))
    assert calls[0]["undo"] == f"dn: uid=dan,cn=users,{BASE}\nchangetype: delete\n"


def test_groups_keep_both_kinds_of_members() -> None:
    found = roster()
    ai, users = found.group("ai"), found.group("users")
    assert ai is not None
    assert users is not None
    both = str(joining(found, ai, "dan")["stdin"])
    assert "add: member\n" in both
    assert "add: memberUid\n" in both
    assert "add: member\n" not in str(joining(found, users, "dan")["stdin"])
    out = str(leaving(found, ai, "ann")["stdin"])
    assert out.count("delete: ") == 2
    assert is_last(ai, "ann")
    assert not is_last(users, "ann")


def test_a_removal_begins_with_the_entry() -> None:
    person = roster().person("ann")
    assert person is not None
    calls: Any = removing(roster(), person)
    assert [call["what"] for call in calls] == [
        "remove ann"
    ]  # the last member of a groupOfNames stays listed
    own = make_roster(example_ldap(), (PEOPLE, GROUPS.replace("groupOfNames", "posixGroup")), own=True)
    person = own.person("ann")
    assert person is not None
    calls = removing(own, person)
    assert [call["what"] for call in calls] == ["remove ann", "take ann out of ai", "take ann out of ai"]
    assert [text.count("delete: ") for text in texts(calls)[1:]] == [1, 1], "one may be gone already"


def test_a_name_that_groups_still_list_is_nobody_elses() -> None:
    found = make_roster(example_ldap(), (PEOPLE, f"{GROUPS}memberUid: dan\n"), own=False)
    assert found.left_behind("dan") == ("users",)
    assert found.left_behind("ann") == found.left_behind("eve") == ()
    with pytest.raises(UsageError, match="users still lists somebody of that name") as refused:
        fit(NewPerson("dan"), found, Secret("canary"))
    assert "deskside group leave users dan" in refused.value.hint
    lines = ReadPeople((NewPerson("dan"), NewPerson("eve")), (), {"dan": 2, "eve": 3})
    assert [one.line for one in roster_problems(lines, "people.csv", found)] == [2]


def test_a_group_of_our_own_directory_is_a_posix_group() -> None:
    text = str(making_group(roster(own=True), "vision", ["ann"])["stdin"])
    assert "objectClass: posixGroup\nobjectClass: extensibleObject\n" in text
    assert "gidNumber: 3001\n" in text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(str.strip).filter(bool))
def test_every_value_comes_back(value: str) -> None:
    (entry,) = parsed(added("cn=x", [("description", value)]))
    assert entry.first("description") == value
    assert "\n" not in line("description", value).removesuffix("\n")


BIND = {"dn": f"uid=reader,cn=users,{BASE}", "password": {"file": "x"}}
MANAGER = {"dn": f"uid=root,cn=users,{BASE}", "password": {"file": "x"}}


def test_who_may_read_and_change() -> None:
    site, secret = example_site({"identity": {"bind": BIND}}), Secret("canary")
    assert reading_door(site, Given("", reader=secret)).hosts == ("ws1",)
    with pytest.raises(UsageError, match=r"identity\.manager names no account"):
        changing_door(site, Given("", reader=secret))
    with pytest.raises(UsageError, match=r"identity\.bind names no account"):
        reading_door(example_site(), Given(""))
    managed = example_site({"identity": {"manager": MANAGER}})
    door = changing_door(managed, Given("", manager=secret))
    action = door.action([])
    assert "canary" not in repr(door) + repr(action) + " ".join(action.argv)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (19, "Result: Constraint violation (19)\nAdditional info: Password is too short", "too short"),
        (19, "Additional info: Password is in history of old passwords", "used before"),
        (19, "Additional info: Password fails quality checking policy", "too simple"),
        (50, "Insufficient access (50)", "may not do that"),
        (255, "Can't contact LDAP server (-1)", "does not answer"),
        (68, "Already exists (68)", "already"),
    ],
)
def test_refusals_in_plain_words(status: int, said: str, words: str) -> None:
    printed = json.dumps({"status": status, "said": said, "what": "add dan", "left": ["add eve"], "out": []})
    with pytest.raises(DesksideError, match=words) as caught:
        answered(printed, 0, "ws1")
    assert "could not be taken back: add eve" in caught.value.message


def test_an_answer_that_is_none() -> None:
    for printed, status in (("", 0), ("[]", 0), ("x", 1), ("", 127)):
        with pytest.raises(DesksideError):
            answered(printed, status, "ws1")
