"""The CSV file of people: all of its problems at once, nobody imported from a broken one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.sites import example_ldap, example_site
from deskside.app.by_hand import import_file
from deskside.app.people_file import ReadPeople, decoded, read_people
from deskside.app.people_import import make_import, write_private
from deskside.errors import FileError, UsageError
from deskside.identity.people import make_roster
from identity.test_people import GROUPS, PEOPLE

ROSTER = make_roster(example_ldap(), (PEOPLE, GROUPS), own=False)
SITE = example_site()
HEAD = "name,full_name,mail,groups,password\n"
FILE = Path("people.csv")


def read(text: str) -> ReadPeople:
    return read_people(text, str(FILE), SITE)


def test_a_good_file() -> None:
    found = read(HEAD + 'dan,"Example, Dan",dan@lab.example,ai;users,canary\neve,,,,\n')
    assert found.problems == ()
    wanted = make_import(found, FILE, ROSTER)
    dan, eve = wanted.people
    assert (dan.full_name, dan.groups) == ("Example, Dan", ("ai", "users"))
    assert (eve.groups, wanted.made) == (("ai",), ("eve",))
    assert "canary" not in repr(found) + repr(wanted) + repr(dan)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("Dan,,,,", "name"),
        ("root,,,,", "name"),
        ("ops,,,,", "name"),
        (f"{'x' * 33},,,,", "name"),
        (",Dan,,,", "name"),
        ("dan,,no mail,,", "mail"),
        ("dan,x\ty,,,", "full_name"),
        ("dan,,,", ""),
        ("ann,,,,", "name"),
        ("dan,,,nogroup,", "groups"),
    ],
)
def test_a_broken_line_is_named_and_imports_nobody(row: str, field: str) -> None:
    with pytest.raises(FileError) as caught:
        make_import(read(f"{HEAD}fay,,,,\n{row}\n"), FILE, ROSTER)
    assert [(one.line, one.field) for one in caught.value.problems] == [(3, field)]


def test_every_problem_at_once() -> None:
    text = HEAD + "Dan,,,,\neve,,,,\neve,,,,\nann,,x,,\nfay,,,nogroup,\n"
    with pytest.raises(FileError) as caught:
        make_import(read(text), FILE, ROSTER)
    assert [one.line for one in caught.value.problems] == [2, 4, 5, 5, 6]
    assert "ann" in str(caught.value.problems[3]), "there already, and with a wrong address too"


def test_lines_behind_one_that_cannot_be_taken_apart_are_read_too() -> None:
    text = HEAD + 'dan,"Dan,,,\neve,,,,\nRoot,,,,\nfay,"Fay" x,,,\ngus,,no-mail,,\n'
    with pytest.raises(FileError) as caught:
        make_import(read(text), FILE, ROSTER)
    assert [one.line for one in caught.value.problems] == [2, 4, 5, 6]


@pytest.mark.parametrize(
    "text", ["", HEAD, "who,what\n", "full_name\nx\n", "name,name\na,b\n", 'name\n"dan\n']
)
def test_files_without_people(text: str) -> None:
    assert read(text).problems


def test_the_same_file_again_changes_nothing() -> None:
    wanted = make_import(read("name\nann\n"), FILE, ROSTER)
    assert (wanted.people, wanted.there) == ((), ("ann",))


def test_bytes_that_are_no_text() -> None:
    assert decoded("\ufeffname\n".encode(), "x") == ("name\n", ())
    assert decoded(b"name\nd\xff\n", "x")[1][0].line == 2


@given(st.text())
def test_no_text_is_a_surprise(text: str) -> None:
    found = read(text)
    assert found.problems or found.people


@given(st.lists(st.text(max_size=8), min_size=5, max_size=5))
def test_a_line_is_a_person_or_a_problem(cells: list[str]) -> None:
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    found = read(f"{HEAD}zoe,,,,\n{quoted}\n")
    with suppress(FileError):
        wanted = make_import(found, FILE, ROSTER)
        assert {one.name for one in wanted.people} >= {"zoe"}
        return
    with pytest.raises(FileError) as caught:
        make_import(found, FILE, ROSTER)
    assert caught.value.problems


def test_passwords_are_written_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.passwords.csv"
    write_private(path, "name,password\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="there already"):
        write_private(path, "")


def test_files_for_a_persons_hands() -> None:
    people = read(HEAD + "dan,Dan Example,dan@lab.example,ai,\n").people
    end, text, _ = import_file(example_site({"identity": {"kind": "synology"}}), people, None)
    assert (end, text) == (".synology.csv", "dan,,Dan Example,dan@lab.example,,,,,,,,,,ai\n")
    end, text, _ = import_file(SITE, people, ROSTER)
    assert end == ".ldif"
    assert "uid: dan\n" in text
    assert "userPassword" not in text
