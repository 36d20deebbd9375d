"""A look at an existing directory as the account of `identity.bind`: password, base, users and the group.

What it finds names the field of the site file to change. Without `identity.bind` nothing of this is known
before somebody logs in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from deskside.identity.programs import program
from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output, ReadOutput, object_of
from deskside.site.directory import LdapDirectory
from deskside.site.secrets import Secret

MEMBERS = ("member", "uniquemember", "memberuid")
"""Attributes by which the hub finds a member of a group, in lower case."""
REFUSED, TIMED_OUT = 49, None
NOT_YET = {
    127: "ldapsearch is not installed there yet, apply installs it",
    68: "the host does not know the server's name yet, apply makes the site's names known",
}
"""Exit statuses of the program that looks, on a host that nothing was applied to."""
CHECK = "directory account"


def look_question(directory: LdapDirectory, ca: str, password: Secret) -> ReadOutput:
    """Read base, an admin and the group; needs `identity.bind`."""
    assert directory.reader is not None
    server = directory.server
    asked = {
        # One after the other, until one answers.
        "url": " ".join(f"{one.scheme}://{one.host}:{one.port}" for one in directory.servers),
        "starttls": server.starttls,
        "ca": ca,
        "dn": directory.reader,
        "password": password.reveal(),
        "entries": list(_entries(directory)),
    }
    return ReadOutput(program("look"), Secret(json.dumps(asked)), 60.0)


def _entries(directory: LdapDirectory) -> Iterator[str]:
    yield directory.base
    yield from (directory.user(name) for name in directory.admins)
    if directory.group is not None:
        yield directory.group


def look_findings(directory: LdapDirectory, output: Output) -> tuple[Finding, ...]:
    """What the answers mean: everything that is wrong at once, or one finding that all is well."""
    assert directory.reader is not None
    found = object_of(output)
    if found is None:
        why = NOT_YET.get(output.status or 0, "no answer")
        return (
            _finding(
                Outcome.WARNING, f"whether {directory.reader} can read the directory is not known: {why}"
            ),
        )
    if found.get("status"):
        return (_refused(directory, int(str(found["status"])), str(found.get("said", ""))),)
    entries = found.get("entries")
    assert isinstance(entries, Mapping)
    wrong = tuple(_wrong(directory, entries))
    if wrong:
        return wrong
    return (
        _finding(
            Outcome.OK, f"{directory.reader} reads the base, {len(directory.admins)} admins and the rule"
        ),
    )


def _refused(directory: LdapDirectory, status: int, said: str) -> Finding:
    assert directory.reader is not None
    last = (said.splitlines() or [f"status {status}"])[-1]
    if "expired" in said.lower():
        message = f"the password of {directory.reader} has expired"
        return _finding(
            Outcome.FAILED, message, "set a new one in the directory, and in identity.bind.password"
        )
    if status == REFUSED:
        message = f"the directory refuses the password of {directory.reader}"
        return _finding(Outcome.FAILED, message, "correct identity.bind.dn or identity.bind.password")
    return _finding(
        Outcome.FAILED, f"the directory cannot be read: {last}", "identity.server, identity.ca.file"
    )


def _wrong(directory: LdapDirectory, entries: Mapping[str, object]) -> Iterator[Finding]:
    if entries.get(directory.base) is None:
        hint = "identity.base: on a Synology it is in LDAP Server, Settings, Connection Settings, as Base DN"
        yield _finding(Outcome.FAILED, f"the directory has no entry {directory.base}", hint)
    for name in directory.admins:
        if entries.get(directory.user(name)) is None:
            message = f"the directory has no user {directory.user(name)}"
            yield _finding(Outcome.FAILED, message, f"identity.user_dn, or {name} in identity.admins")
    group = directory.group
    if group is None:
        return
    attributes = entries.get(group)
    if attributes is None:
        yield _finding(Outcome.FAILED, f"the directory has no group {group}", "identity.allow.group")
    elif isinstance(attributes, list) and not {str(one).lower() for one in attributes} & set(MEMBERS):
        message = f"{group} shows no members to the account ({', '.join(MEMBERS)})"
        hint = (
            "identity.allow.group: nobody could log in by it; has it members, and may the account see them?"
        )
        yield _finding(Outcome.FAILED, message, hint)


def _finding(outcome: Outcome, message: str, hint: str = "") -> Finding:
    return Finding(CHECK, "directory", outcome, message, hint)
