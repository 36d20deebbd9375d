"""What may be asked for: a new person, a name to remove, a group. Each is refused with its reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from deskside.app.people_file import mail_fault, name_fault, text_fault
from deskside.errors import UsageError
from deskside.identity.ldif import same_dn
from deskside.identity.people import Group, NewPerson, Roster
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.site.values import ROOT_GROUPS

GROUP_NAME = r"[A-Za-z][A-Za-z0-9._-]{0,62}"
_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( .*)?")


def new_person(
    site: Site, name: str, *, full_name: str, mail: str, groups: tuple[str, ...], key: Path | None
) -> NewPerson:
    """Somebody without a password yet. Raises UsageError with everything that is wrong."""
    faults = {
        "name": name_fault(name, site),
        "full name": text_fault(full_name),
        "mail": mail_fault(mail),
    }
    wrong = [(what, said, remedy) for what, (said, remedy) in faults.items() if said]
    if wrong:
        text = "; ".join(f"{what}: {said}" for what, said, _ in wrong)
        raise UsageError(text, hint="; ".join(remedy for _, _, remedy in wrong))
    return NewPerson(name, full_name, mail, groups, _keys(key) if key else ())


def _keys(path: Path) -> tuple[str, ...]:
    """Public keys of a file. Raises UsageError, which never quotes a private one."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"{path} cannot be read as a public key", hint="name the file that ends in .pub"
        ) from None
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found or not all(_KEY.fullmatch(line) for line in found):
        raise UsageError(f"{path} holds no public SSH key", hint="name the file that ends in .pub")
    return found


def fit(person: NewPerson, roster: Roster, password: Secret) -> NewPerson:
    """The person with password and groups, held against the directory. Raises UsageError."""
    if roster.person(person.name) is not None:
        raise UsageError(
            f"{person.name} is in the directory already", hint=f"see: deskside user show {person.name}"
        )
    if ghosts := roster.left_behind(person.name):
        raise UsageError(
            f"{', '.join(ghosts)} still lists somebody of that name, and {person.name} would be in it",
            hint=f"run: deskside group leave {ghosts[0]} {person.name}",
        )
    groups = person.groups or ((roster.allowed.name,) if roster.allowed else ())
    if missing := [name for name in groups if roster.group(name) is None]:
        raise UsageError(
            f"the directory has no group {', '.join(missing)}",
            hint=f"make it: deskside group add {missing[0]}",
        )
    return replace(person, groups=groups, password=password)


def removal_fault(site: Site, name: str) -> str:
    """Why a name is not to be removed; empty for a good one."""
    identity = site.identity
    if identity.break_glass and name == identity.break_glass.name:
        return f"{name} is the hub's own account (identity.break_glass), not one of the directory"
    accounts = {"identity.bind": identity.bind, "identity.manager": identity.manager}
    for field, account in accounts.items():
        if account and site.ldap and same_dn(account.dn, site.ldap.user(name)):
            return f"{name} is the account of {field}: Deskside itself uses it"
    return ""


def group_fault(name: str) -> str:
    """Why a group cannot have that name; empty for a good one."""
    if name.lower() in ROOT_GROUPS:
        return f"{name!r} is a group by which hosts give rights to its members"
    return "" if re.fullmatch(GROUP_NAME, name) else f"{name!r} is no name of a group"


def group_removal_fault(roster: Roster, group: Group) -> str:
    """Why a group is not to be removed; empty where nothing speaks against it."""
    uses = {
        "identity.allow": roster.directory.group,
        "identity.host_admins": roster.directory.host_admins,
    }
    for field, dn in uses.items():
        if dn and same_dn(group.entry.dn, dn):
            return f"{group.name} is the group of {field}"
    return ""
