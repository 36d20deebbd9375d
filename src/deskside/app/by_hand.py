"""Files for a directory that Deskside may not change: what its own import takes, for a person to use."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from deskside.identity.ldif import line
from deskside.identity.people import NewPerson, Roster, adding, make_roster
from deskside.site.schema import Site

SYNOLOGY_COLUMNS = 14
"""Of the LDAP Server's import, in this order: name, password, description, mail, ..., group."""


def import_file(site: Site, people: Sequence[NewPerson], roster: Roster | None) -> tuple[str, str, str]:
    """Name's end, text, and what to do with it. Passwords are in it only where they were given."""
    if site.identity.kind == "okta":
        return ".okta.csv", _okta(people), "in the admin console: Directory, People, Import Users From CSV"
    if site.identity.kind == "synology":
        return (
            ".synology.csv",
            _synology(people),
            ("on the Synology: LDAP Server, Manage Users, Create, Import users, with comma as delimiter"),
        )
    return ".ldif", _ldif(site, people, roster), "with the directory's own tools: ldapmodify -f FILE"


def _rows(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _synology(people: Sequence[NewPerson]) -> str:
    rows = []
    for one in people:
        row = [""] * SYNOLOGY_COLUMNS
        row[0], row[1] = one.name, one.password.reveal() if one.password else ""
        row[2], row[3], row[-1] = one.full_name, one.mail, ",".join(one.groups)
        rows.append(row)
    return _rows(rows)


def _okta(people: Sequence[NewPerson]) -> str:
    """Passwords are never in it: the provider asks each person for one."""
    rows = [["login", "firstName", "lastName", "email"]]
    for one in people:
        first, _, last = (one.full_name or one.name).rpartition(" ")
        rows.append([one.mail or one.name, first or one.name, last, one.mail])
    return _rows(rows)


def _ldif(site: Site, people: Sequence[NewPerson], roster: Roster | None) -> str:
    assert site.ldap is not None
    known = roster or make_roster(site.ldap, ("", ""), own=False)
    note = (
        ""
        if roster
        else "# The directory could not be read: are the user numbers free, and the classes right?\n"
    )
    passwords = {f"add {one.name}": one.password for one in people}
    parts = []
    for call in adding(known, people):
        assert isinstance(call, dict)
        if call["tool"] != "ldapmodify":
            continue
        change, password = str(call["stdin"]), passwords.get(str(call["what"]))
        parts.append(change + (line("userPassword", password.reveal()) if password else ""))
    return note + "\n".join(parts)
