"""People and groups as text: tables for lists, a few lines for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deskside.ui.words import clean

if TYPE_CHECKING:
    from deskside.app.people import Removed
    from deskside.identity.people import Group, Person, Roster


def people_text(roster: Roster) -> str:
    """Everybody, one a line."""
    allowed = roster.allowed
    rows = [
        (
            one.name,
            one.full_name,
            one.entry.first("mail"),
            one.entry.first("uidNumber"),
            " ".join(one.groups),
        )
        for one in sorted(roster.people, key=lambda one: one.name)
    ]
    lines = list(_table(("NAME", "FULL NAME", "MAIL", "UID", "GROUPS"), rows))
    if allowed is not None:
        lines += ["", f"Members of {allowed.name} may log in."]
    return "\n".join(lines) + "\n"


def person_text(person: Person) -> str:
    """One person."""
    rows = (
        ("name", person.name),
        ("full name", person.full_name),
        ("mail", person.entry.first("mail")),
        ("uid", person.entry.first("uidNumber")),
        ("groups", " ".join(person.groups)),
        ("entry", person.entry.dn),
    )
    return "".join(f"{name:<10} {clean(value)}".rstrip() + "\n" for name, value in rows)


def groups_text(groups: Sequence[Group]) -> str:
    """Every group, one a line."""
    rows = [
        (one.name, one.entry.first("gidNumber"), " ".join(one.members))
        for one in sorted(groups, key=lambda one: one.name)
    ]
    return "\n".join(_table(("NAME", "GID", "MEMBERS"), rows)) + "\n"


def removed_text(found: Removed) -> str:
    """What a removal did, and what is left."""
    lines = [f"{found.name}: {found.directory}", f"{found.name}: at the hub: {found.hub}"]
    return "".join(f"{clean(text)}\n" for text in (*lines, *found.notes))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    cells = [head, *(tuple(clean(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
