"""The CSV file of `deskside user import`: every line that is broken, or everybody in it.

Pure: it reads a text and knows names, and asks nobody. A broken file imports nothing, so all problems are
found before anything happens.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deskside.errors import Problem
from deskside.identity.people import NewPerson, Roster
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.site.values import USERNAME

FIELDS = ("name", "full_name", "mail", "groups", "password")
LONGEST_NAME, LONGEST_TEXT = 32, 128
MOST_PROBLEMS = 100
"""Lines that cannot be taken apart, until the file is taken for something else."""
_SYSTEM = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody sshd
systemd-network systemd-resolve systemd-timesync messagebus chrony _chrony sssd openldap dnsmasq
keepalived etcd kube docker jovyan admin guest
"""
SYSTEM = frozenset(_SYSTEM.split())
"""Names that hosts, images or a Synology have for themselves."""
_MAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+")


@dataclass(frozen=True)
class ReadPeople:
    """What a file holds: people, and what is wrong with it."""

    people: tuple[NewPerson, ...] = field(repr=False)
    problems: tuple[Problem, ...]
    lines: Mapping[str, int]
    """Name -> line of the file; of broken lines too, as far as they have one."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> the groups that its line names."""


@dataclass(frozen=True)
class _Place:
    file: str
    line: int

    def problem(self, field: str, message: str, remedy: str = "") -> Problem:
        return Problem(self.file, self.line, field, message, remedy)


def name_fault(name: str, site: Site) -> tuple[str, str]:
    """Why nobody can have that name, and what to do; two empty texts for a good one."""
    identity = site.identity
    if not re.fullmatch(USERNAME, name):
        return f"{name!r} is no name of a user", "use small letters, digits, '.', '_' and '-', a letter first"
    if len(name) > LONGEST_NAME:
        return f"{name!r} has more than {LONGEST_NAME} characters", "hosts take no longer one"
    taken = {site.admin.user: "the site's own account on the hosts (admin.user)"}
    if site.admin.installer:
        taken[site.admin.installer.user] = "an account of the hosts (admin.installer)"
    if identity.break_glass:
        taken[identity.break_glass.name] = "the hub's own account (identity.break_glass)"
    if name in taken:
        return f"{name!r} is {taken[name]}", "choose another name"
    if name in SYSTEM:
        return f"{name!r} is an account that systems have for themselves", "choose another name"
    return "", ""


def text_fault(text: str) -> tuple[str, str]:
    """Why a text cannot stand in a directory."""
    if not text.isprintable():
        return "holds characters that cannot be printed", "remove line ends, tabs and control characters"
    if len(text) > LONGEST_TEXT:
        return f"has more than {LONGEST_TEXT} characters", "shorten it"
    return "", ""


def mail_fault(text: str) -> tuple[str, str]:
    """Why a text is no mail address."""
    if text and not (_MAIL.fullmatch(text) and text.isascii()):
        return f"{text!r} is no mail address", "write it as ann@lab.example"
    return "", ""


def decoded(raw: bytes, file: str) -> tuple[str, tuple[Problem, ...]]:
    """The text of a file in UTF-8, with or without a byte order mark, or the line that is not."""
    try:
        return raw.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        remedy = "save the file as CSV UTF-8"
        return "", (Problem(file, line, "", "is not UTF-8", remedy),)


def read_people(text: str, file: str, site: Site) -> ReadPeople:
    """Everybody in the file, and every problem that the file itself shows."""
    rows, problems = _rows(text, file)
    people: list[NewPerson] = []
    lines: dict[str, int] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for line, row in rows:
        place = _Place(file, line)
        found = list(_row_problems(place, row, site))
        name = row.get("name", "")
        if name and name in lines:
            found.append(
                place.problem("name", f"{name!r} stands in line {lines[name]} already", "remove one")
            )
        lines.setdefault(name, line)
        groups.setdefault(name, _groups(row))
        problems += found
        if not found:
            people.append(_person(row))
    if not rows and not problems:
        problems = [Problem(file, 1, "", "names nobody", "write a line for each person below the header")]
    return ReadPeople(tuple(people), tuple(problems), lines, groups)


def _rows(text: str, file: str) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """Lines as fields; what cannot be taken apart is a problem."""
    if "\0" in text:
        return [], [Problem(file, text[: text.index("\0")].count("\n") + 1, "", "holds a zero byte")]
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    header: list[str] = []
    for line, taken in _taken_apart(text):
        if isinstance(taken, str):
            problems.append(Problem(file, line, "", f"cannot be taken apart: {taken}", "close every quote"))
            if not header or len(problems) >= MOST_PROBLEMS:
                break
            continue
        cells = [cell.strip() for cell in taken]
        if not any(cells):
            continue
        if not header:
            header, wrong = cells, list(_header_problems(file, line, cells))
            problems += wrong
            if wrong:
                break
        elif len(cells) != len(header):
            said = f"has {len(cells)} fields, the header {len(header)}"
            problems.append(Problem(file, line, "", said, 'put a field with a comma in "quotes"'))
        else:
            rows.append((line, dict(zip(header, cells, strict=True))))
    return rows, problems


def _taken_apart(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Lines with their fields, or with why they are none; after such a one it goes on in the next line."""
    rest, first = list(io.StringIO(text, newline="")), 1
    while rest:
        reader, before = csv.reader(rest, strict=True), 0
        try:
            for cells in reader:
                yield first + before, cells
                before = reader.line_num
            return
        except csv.Error as error:
            yield first + before, str(error)
        first, rest = first + before + 1, rest[before + 1 :]


def _header_problems(file: str, line: int, cells: Sequence[str]) -> Iterator[Problem]:
    wanted = ",".join(FIELDS)
    for cell in dict.fromkeys(cells):
        if cell not in FIELDS:
            yield Problem(file, line, "", f"{cell!r} is no column", f"the header may be: {wanted}")
        elif cells.count(cell) > 1:
            yield Problem(file, line, "", f"has the column {cell!r} twice", "remove one")
    if "name" not in cells:
        yield Problem(file, line, "", "has no column 'name'", f"begin the file with: {wanted}")


def _row_problems(place: _Place, row: Mapping[str, str], site: Site) -> Iterator[Problem]:
    checks = {
        "name": name_fault(row["name"], site) if row["name"] else ("is empty", "name everybody"),
        "full_name": text_fault(row.get("full_name", "")),
        "mail": mail_fault(row.get("mail", "")),
        # What is wrong with a password is said without the password.
        "password": text_fault(row.get("password", "")),
    }
    for name, (message, remedy) in checks.items():
        if message:
            yield place.problem(name, message, remedy)


def _person(row: Mapping[str, str]) -> NewPerson:
    password = row.get("password", "")
    return NewPerson(
        row["name"],
        row.get("full_name", ""),
        row.get("mail", ""),
        _groups(row),
        password=Secret(password) if password else None,
    )


def _groups(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(re.split(r"[\s;]+", row["groups"]))) if row.get("groups") else ()


def roster_problems(found: ReadPeople, file: str, roster: Roster) -> Iterator[Problem]:
    """What the directory has against people of the file, those of broken lines too."""
    for person, line in found.lines.items():
        place = _Place(file, line)
        if roster.person(person):
            yield place.problem("name", f"{person!r} is in the directory already", "remove the line")
        for name in roster.left_behind(person):
            said = f"{name} still lists somebody called {person!r}, who would be in it"
            yield place.problem("name", said, f"run: deskside group leave {name} {person}")
        for name in found.groups.get(person, ()):
            if roster.group(name) is None:
                remedy = f"make it: deskside group add {name}"
                yield place.problem("groups", f"the directory has no group {name!r}", remedy)
