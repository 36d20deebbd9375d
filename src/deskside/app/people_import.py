"""`deskside user import`: a file of people becomes people of the directory, all of them or none.

Importing a file again whose people are all there says so and changes nothing; where some are there and some
are not, the file is taken for a mistake, and nothing is imported.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deskside.app.by_hand import import_file
from deskside.app.people import People
from deskside.app.people_file import FIELDS, ReadPeople, decoded, read_people, roster_problems
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, FileError, Problem, SiteError, UsageError
from deskside.identity.people import NewPerson, Roster
from deskside.identity.reaching import Declined
from deskside.site.secrets import Secret

LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Of random passwords: without those that people take for another."""
PARTS, PART = 4, 4
MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Import:
    """A file that can be imported."""

    people: tuple[NewPerson, ...] = field(repr=False)
    """Those to be added; nobody when all are there."""
    there: tuple[str, ...]
    """Names that are there already."""
    passwords: Path
    """Where random passwords go."""
    made: tuple[str, ...]
    """Names of those who get a random password."""


def read_file(path: Path, workspace: Workspace) -> ReadPeople:
    """The file's people. Raises FileError with every problem that the file itself shows."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            hint=f"name a CSV file that begins with: {','.join(FIELDS)}",
        ) from None
    if len(raw) > MOST_BYTES:
        raise UsageError(f"{path} has more than {MOST_BYTES >> 20} MiB", hint="split it")
    text, problems = decoded(raw, str(path))
    return ReadPeople((), problems, {}) if problems else read_people(text, str(path), workspace.site)


def broken(path: Path, problems: Sequence[Problem], unasked: DesksideError | None = None) -> FileError:
    """The error for a file with problems: all of them, in the order of lines.

    `unasked` is why it could not be held against the directory.
    """
    ordered = sorted(problems, key=lambda one: (one.line, one.field))
    count = f"{len(ordered)} problem{'s' if len(ordered) > 1 else ''}"
    if unasked is None:
        return FileError(f"{path} has {count}; nobody was imported", problems=ordered)
    others = unasked.problems if isinstance(unasked, SiteError) else ()
    return FileError(
        f"{path} has {count}, and the directory was not asked: {unasked.message}",
        problems=(*ordered, *others),
        hint=unasked.hint and f"correct the file; {unasked.hint}",
    )


def refuse_broken(path: Path, found: ReadPeople, roster: Roster | None) -> None:
    """Raises FileError with every problem of the file, and of the directory where that could be read."""
    problems = [*found.problems, *(roster_problems(found, str(path), roster) if roster else ())]
    if problems:
        raise broken(path, problems)


def make_import(found: ReadPeople, path: Path, roster: Roster) -> Import:
    """What is to be done. Raises FileError with every problem of file and directory together."""
    there = tuple(name for name in found.lines if roster.person(name))
    passwords = path.with_name(f"{path.stem}.passwords.csv")
    if not found.problems and len(there) == len(found.people):
        return Import((), there, passwords, ())
    refuse_broken(path, found, roster)
    people = tuple(_complete(one, roster) for one in found.people)
    return Import(people, (), passwords, tuple(one.name for one in found.people if one.password is None))


def _complete(person: NewPerson, roster: Roster) -> NewPerson:
    """With the allowed group and a random password where the file says nothing."""
    allowed = (roster.allowed.name,) if roster.allowed else ()
    groups, password = person.groups or allowed, person.password or random_password()
    return replace(person, groups=groups, password=password)


def random_password() -> Secret:
    """Four parts of four letters and digits: more than 90 bits, and still typed without mistakes."""
    parts = ("".join(secrets.choice(LETTERS) for _ in range(PART)) for _ in range(PARTS))
    return Secret("-".join(parts))


async def carry_out(found: People, roster: Roster, wanted: Import) -> None:
    """Import. Random passwords are on disk before anybody has one, and go again when nobody was imported.

    Where that is not known they stay: they may be those of people by now.
    """
    made = [one for one in wanted.people if one.name in wanted.made]
    if made:
        rows = "".join(f"{one.name},{one.password.reveal()}\n" for one in made if one.password)
        write_private(wanted.passwords, f"name,password\n{rows}")
    try:
        await found.add(roster, wanted.people)
    except Declined:
        if made:
            wanted.passwords.unlink()
        raise
    except DesksideError as error:
        if made:
            error.hint = (
                f"{error.hint}; random passwords are in {wanted.passwords}: look with deskside user list"
            )
        raise


def write_private(path: Path, text: str) -> None:
    """Write a new file for its owner alone. Raises UsageError when there is one already."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="move it away, and run the command again") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="put the CSV file into a folder that you may write to",
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def hand_over(workspace: Workspace, path: Path, found: ReadPeople, roster: Roster | None) -> tuple[Path, str]:
    """Write the file for a directory's own import, beside the CSV; where it is, and what to do with it.

    Raises UsageError when such a file is there already.
    """
    group = workspace.site.identity.allow.group
    plain = group.partition("=")[2].partition(",")[0] if group and "=" in group else group
    people = [replace(one, groups=one.groups or ((plain,) if plain else ())) for one in found.people]
    end, text, how = import_file(workspace.site, people, roster)
    target = path.with_name(f"{path.stem}{end}")
    write_private(target, text)
    return target, how
