"""Who may read and change a directory, from which host, and what its refusals mean in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deskside.errors import Busy, DesksideError, StepFailed, UsageError
from deskside.identity.programs import program
from deskside.model.action import RunCommand
from deskside.model.platform import Given
from deskside.model.query import Json, Output, ReadOutput, object_of
from deskside.site.directory import LdapDirectory
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.site.values import LdapServer

OWN_SOCKET = "ldapi:///"
SECONDS = 300.0


class Declined(StepFailed):
    """The directory refused a change, and everything is as it was before."""


class DeclinedBusy(Declined, Busy):
    """As `Declined`, and another time it may be taken."""


@dataclass(frozen=True)
class Door:
    """One way into the directory."""

    hosts: tuple[str, ...]
    """Hosts from which it is tried, in this order."""
    connection: Secret
    """JSON of what `on_host/speak.py` takes."""

    def question(self, calls: Sequence[Json]) -> ReadOutput:
        """The calls as a question: for searches alone."""
        return ReadOutput(program("people"), self._input(calls), SECONDS)

    def action(self, calls: Sequence[Json]) -> RunCommand:
        """The calls as an action; it prints how they ended, and ends well itself."""
        return RunCommand(program("people"), self._input(calls), timeout=SECONDS)

    def _input(self, calls: Sequence[Json]) -> Secret:
        return Secret(json.dumps({**json.loads(self.connection.reveal()), "calls": list(calls)}))


def reading_fault(site: Site) -> UsageError | None:
    """Why the directory can never be read with this site file; None where it can."""
    if site.ldap is None:
        return UsageError(
            f"people of {site.identity.issuer} are looked after there; Deskside does not read them",
            hint="look in the provider's admin console, under Directory, People",
        )
    if site.identity.kind == "openldap" or site.ldap.reader or site.ldap.manager:
        return None
    return UsageError(
        "the directory cannot be read: identity.bind names no account",
        hint="add bind: {dn: DN, password: {file: PATH}} to identity, or manager: likewise",
    )


def changing_fault(site: Site) -> UsageError | None:
    """Why the directory can never be changed with this site file, and where to do it; None where it can."""
    if site.ldap is None:
        return UsageError(
            f"people of {site.identity.issuer} are looked after there; Deskside does not change them",
            hint="make the change in the provider's admin console, under Directory, People",
        )
    if site.identity.kind == "openldap" or site.ldap.manager:
        return None
    synology = site.identity.kind == "synology"
    where = "DSM, LDAP Server, Manage Users" if synology else "the directory's tools"
    return UsageError(
        "Deskside may not change this directory: identity.manager names no account",
        hint=f"add manager: {{dn: DN, password: {{file: PATH}}}} to identity, or use {where}",
    )


def reading_door(site: Site, given: Given) -> Door:
    """The way in for looking. Raises UsageError where there is none."""
    if fault := reading_fault(site):
        raise fault
    if given.manager is not None or site.identity.kind == "openldap":
        return changing_door(site, given)
    assert site.ldap is not None
    return Door(_servers(site), _connection(site.ldap, given, site.ldap.servers, reader=True))


def changing_door(site: Site, given: Given) -> Door:
    """The way in for changes. Raises UsageError with where to make them where there is none."""
    if fault := changing_fault(site):
        raise fault
    if site.identity.kind == "openldap":
        assert site.identity.on is not None
        return Door((site.identity.on,), Secret(json.dumps({"url": OWN_SOCKET})))
    assert site.ldap is not None
    return Door(_servers(site), _connection(site.ldap, given, site.ldap.servers[:1], reader=False))


def _servers(site: Site) -> tuple[str, ...]:
    return tuple(spec.name for spec in site.servers)


def _connection(
    directory: LdapDirectory, given: Given, servers: Sequence[LdapServer], *, reader: bool
) -> Secret:
    secret = given.reader if reader else given.manager
    assert secret is not None
    return Secret(
        json.dumps(
            {
                "url": " ".join(f"{one.scheme}://{one.host}:{one.port}" for one in servers),
                "starttls": servers[0].starttls,
                "ca": given.ca,
                "dn": directory.reader if reader else directory.manager,
                "password": secret.reveal(),
            }
        )
    )


def answered(printed: str, status: int | None, where: str) -> Mapping[str, object]:
    """What the program printed. Raises DesksideError with the directory's refusal in plain words."""
    found = object_of(Output(status, printed, ""))
    if found is None:
        if status == 127:
            raise StepFailed(f"{where} has no ldap-utils yet", hint="run: deskside apply")
        raise StepFailed(
            f"how the directory answered {where} is not known",
            hint="run the command again: it looks at the directory first",
        )
    if found.get("status"):
        raise refusal(found)
    return found


def refusal(found: Mapping[str, object]) -> DesksideError:
    """The error for an answer that is a refusal."""
    said = str(found.get("said", ""))
    words, hint = _meaning(int(str(found["status"])), said)
    left = found.get("left")
    rest = (
        f"; could not be taken back: {', '.join(map(str, left))}" if isinstance(left, list) and left else ""
    )
    busy = found["status"] in (51, 52)
    kind = (Busy if busy else StepFailed) if rest else (DeclinedBusy if busy else Declined)
    return kind(f"the directory did not {found.get('what')}: {words}{rest}", hint=hint, detail=said)


MEANINGS: Mapping[int, tuple[str, str]] = {
    4: ("it has more entries than it tells this account", "raise its size limit for the account"),
    16: ("it has no such value", ""),
    20: ("it is so already", ""),
    21: ("it takes a value for none of its kind", ""),
    32: ("it has no such entry", "identity.base and identity.user_dn say where people are"),
    49: ("it refuses the account's password", "correct identity.manager or identity.bind"),
    50: ("the account may not do that", "give the account of identity.manager that right in the directory"),
    65: ("its schema does not allow that", ""),
    68: ("it has that entry already", ""),
    255: ("it does not answer", "run: deskside check"),
}
"""Result codes of RFC 4511, which ldap-utils hand on as their exit status."""
POLICY: Mapping[str, str] = {
    "too short": "the password is too short for its policy",
    "quality": "the password is too simple for its policy",
    "history": "the password was used before, and its policy refuses that",
    "too young": "the password was changed too recently for its policy",
    "reus": "the password was used before, and its policy refuses that",
}


def _meaning(status: int, said: str) -> tuple[str, str]:
    lower = said.lower()
    # ldappasswd ends with a status of its own.
    if status == 19 or "ppolicy: error" in lower:
        found = next((words for part, words in POLICY.items() if part in lower), "")
        return found or f"its policy refuses the password ({_last(said)})", "choose another password"
    words, hint = MEANINGS.get(status, ("", ""))
    if KEYS_UNKNOWN in lower or (status in (17, 21) and "objectclass" in lower and "ldappublickey" in lower):
        return "it has no schema for SSH keys", "leave out --key, or add the schema openssh-lpk to it"
    detail = _last(said)
    return (f"{words} ({detail})" if words and detail else words or detail or f"status {status}"), hint


KEYS_UNKNOWN = "sshpublickey: attribute type undefined"


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
