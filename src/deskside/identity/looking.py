"""A look at an existing directory as the account of `identity.bind`: password, base, users and the group.

What it finds names the field of the site file to change. Without `identity.bind` nothing of this is known
before somebody logs in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output, ReadOutput
from deskside.site.schema import Identity
from deskside.site.secrets import Secret

PROGRAM = Path(__file__).parent / "on_host/look.py"
MEMBERS = ("member", "uniquemember", "memberuid")
"""Attributes by which the hub finds a member of a group, in lower case."""
REFUSED, TIMED_OUT = 49, None
CHECK = "directory account"


def look_question(identity: Identity, ca: str, password: Secret) -> ReadOutput:
    """Read base, an admin and the group; needs `identity.bind`."""
    assert identity.bind is not None
    server = identity.server
    asked = {
        "url": f"{server.scheme}://{server.host}:{server.port}",
        "starttls": server.starttls,
        "ca": ca,
        "dn": identity.bind.dn,
        "password": password.reveal(),
        "entries": list(_entries(identity)),
    }
    return ReadOutput(("python3", "-I", "-c", PROGRAM.read_text()), Secret(json.dumps(asked)), 60.0)


def _entries(identity: Identity) -> Iterator[str]:
    yield identity.base
    yield from (_user(identity, name) for name in identity.admins)
    if identity.allow.group is not None:
        yield identity.allow.group


def _user(identity: Identity, name: str) -> str:
    return identity.user_dn_template.replace("{username}", name)


def look_findings(identity: Identity, output: Output) -> tuple[Finding, ...]:
    """What the answers mean: everything that is wrong at once, or one finding that all is well."""
    assert identity.bind is not None
    found = _answer(output)
    if found is None:
        why = (
            "ldapsearch is not installed there yet, apply installs it"
            if output.status == 127
            else "no answer"
        )
        return (
            _finding(
                Outcome.WARNING, f"whether {identity.bind.dn} can read the directory is not known: {why}"
            ),
        )
    if found.get("status"):
        return (_refused(identity, int(str(found["status"])), str(found.get("said", ""))),)
    entries = found.get("entries")
    assert isinstance(entries, Mapping)
    wrong = tuple(_wrong(identity, entries))
    if wrong:
        return wrong
    return (
        _finding(
            Outcome.OK, f"{identity.bind.dn} reads the base, {len(identity.admins)} admins and the rule"
        ),
    )


def _answer(output: Output) -> Mapping[str, object] | None:
    try:
        found = json.loads(output.stdout) if output.status == 0 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refused(identity: Identity, status: int, said: str) -> Finding:
    assert identity.bind is not None
    last = (said.splitlines() or [f"status {status}"])[-1]
    if "expired" in said.lower():
        message = f"the password of {identity.bind.dn} has expired"
        return _finding(
            Outcome.FAILED, message, "set a new one in the directory, and in identity.bind.password"
        )
    if status == REFUSED:
        message = f"the directory refuses the password of {identity.bind.dn}"
        return _finding(Outcome.FAILED, message, "correct identity.bind.dn or identity.bind.password")
    return _finding(
        Outcome.FAILED, f"the directory cannot be read: {last}", "identity.server, identity.ca.file"
    )


def _wrong(identity: Identity, entries: Mapping[str, object]) -> Iterator[Finding]:
    if entries.get(identity.base) is None:
        hint = "identity.base: on a Synology it is in LDAP Server, Settings, Connection Settings, as Base DN"
        yield _finding(Outcome.FAILED, f"the directory has no entry {identity.base}", hint)
    for name in identity.admins:
        if entries.get(_user(identity, name)) is None:
            message = f"the directory has no user {_user(identity, name)}"
            yield _finding(Outcome.FAILED, message, f"identity.user_dn, or {name} in identity.admins")
    group = identity.allow.group
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
