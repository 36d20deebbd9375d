"""People and groups of an LDAP directory: what was read, and the calls of ldap-utils that change it.

Pure: no host is asked here. New entries are made like those that are there, so that whatever else uses the
directory finds what it expects. Passwords are never hashed here: the server does, by its own policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deskside.identity.ldif import Entry, added, deleted, modified, normal_dn, parsed, same_dn
from deskside.model.query import Json
from deskside.site.directory import LdapDirectory
from deskside.site.secrets import Secret

FIRST_NUMBER = 2000
"""The lowest uidNumber and gidNumber that is given out; below are a host's own accounts."""
NOBODY = (65533, 65534, 65535)
MEMBERS = ("member", "uniqueMember", "memberUid")
NAMED_MEMBERS = ("member", "uniqueMember")
"""Attributes that hold distinguished names."""
PERSON_CLASSES = ("inetOrgPerson", "posixAccount", "shadowAccount")
KNOWN_CLASSES = (
    *("top", "person", "organizationalPerson", "inetOrgPerson", "account", "posixAccount", "shadowAccount"),
    *("extensibleObject", "apple-user"),
)
"""Classes that a new person may have: those whose required attributes are known here."""
GROUP_CLASSES = ("top", "posixGroup", "groupOfNames", "groupOfUniqueNames", "extensibleObject", "apple-group")
PRIMARY_GROUP = "users"
KEYS_CLASS, KEYS = "ldapPublicKey", "sshPublicKey"
NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT = 16, 32


@dataclass(frozen=True)
class NewPerson:
    """Somebody to be added."""

    name: str
    full_name: str = ""
    mail: str = ""
    groups: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    password: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Person:
    """Somebody of the directory."""

    name: str
    entry: Entry
    groups: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """As people write it."""
        return self.entry.first("displayName") or self.entry.first("cn")

    def to_json(self) -> dict[str, Json]:
        """What is shown of a person; never a hash."""
        return {
            "name": self.name,
            "full_name": self.full_name,
            "mail": self.entry.first("mail"),
            "uid": _number(self.entry.first("uidNumber")),
            "groups": list(self.groups),
            "dn": self.entry.dn,
        }


@dataclass(frozen=True)
class Group:
    """A group of the directory."""

    name: str
    entry: Entry
    members: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """What is shown of a group."""
        number = _number(self.entry.first("gidNumber"))
        return {"name": self.name, "gid": number, "members": list(self.members), "dn": self.entry.dn}


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


@dataclass(frozen=True)
class Roster:
    """Everybody, and every group, as the directory had them when it was read."""

    directory: LdapDirectory
    own: bool
    """Whether Deskside runs the directory, whose groups have both kinds of members."""
    people: tuple[Person, ...]
    groups: tuple[Group, ...]

    def person(self, name: str) -> Person | None:
        """The person of that name."""
        return next((one for one in self.people if one.name == name), None)

    def group(self, name: str) -> Group | None:
        """The group of that name."""
        return next((one for one in self.groups if one.name.lower() == name.lower()), None)

    @property
    def allowed(self) -> Group | None:
        """The group whose members may log in."""
        wanted = self.directory.group
        return next((one for one in self.groups if wanted and same_dn(one.entry.dn, wanted)), None)

    def left_behind(self, name: str) -> tuple[str, ...]:
        """Groups that list somebody who is not there: whoever gets that name would be in them."""
        return () if self.person(name) else tuple(one.name for one in self.groups if name in one.members)

    def next_number(self, attribute: str, taken: int = 0) -> int:
        """A number above all that are there; `taken` more were given out since."""
        entries = [one.entry for one in self.people] + [one.entry for one in self.groups]
        found = [number for entry in entries if (number := _number(entry.first(attribute))) is not None]
        first = max([FIRST_NUMBER, *(number + 1 for number in found if number not in NOBODY)]) + taken
        return first if first not in NOBODY else max(NOBODY) + 1

    def member_attributes(self, group: Group) -> tuple[str, ...]:
        """How this group holds its members: as it does, and as others of its kind do."""
        classes = group.entry.classes
        alike = [one.entry for one in self.groups if one.entry.classes == classes]
        used = [name for name in MEMBERS if any(entry.all(name) for entry in alike)]
        if self.own:
            return ("member", "memberUid")
        return tuple(used) or tuple(_by_class(classes))


def _by_class(classes: frozenset[str]) -> Iterator[str]:
    if "groupofnames" in classes:
        yield "member"
    if "groupofuniquenames" in classes:
        yield "uniqueMember"
    if "posixgroup" in classes:
        yield "memberUid"


def needs_a_member(classes: frozenset[str]) -> bool:
    """Whether a group of these classes can never be empty."""
    return bool(classes & {"groupofnames", "groupofuniquenames"})


def read_calls(directory: LdapDirectory) -> list[Json]:
    """Searches for all people and all groups; hashes are not asked for."""
    person = ("objectClass", naming(directory), "cn", "displayName", "mail", "uidNumber", "gidNumber")
    group = ("objectClass", "cn", "gidNumber", *MEMBERS)
    places = (
        (directory.users_base, naming(directory), person, "read people"),
        (directory.groups_base, "cn", group, "read groups"),
    )
    return [
        {
            "tool": "ldapsearch",
            "arguments": ["-LLL", "-o", "ldif-wrap=no", "-s", "one", "-b", where, f"({key}=*)", *wanted],
            "what": what,
        }
        for where, key, wanted, what in places
    ]


def naming(directory: LdapDirectory) -> str:
    """The attribute that names a user: `uid`."""
    return directory.user_dn.partition("=")[0].strip()


def make_roster(directory: LdapDirectory, printed: Sequence[str], *, own: bool) -> Roster:
    """From what the two searches printed."""
    people, groups = (parsed(text) for text in printed)
    key = naming(directory)
    found = tuple(_group(directory, key, entry) for entry in groups)
    return Roster(
        directory,
        own,
        tuple(
            Person(name, entry, tuple(group.name for group in found if name in group.members))
            for entry in people
            if (name := entry.first(key))
        ),
        found,
    )


def _group(directory: LdapDirectory, key: str, entry: Entry) -> Group:
    names = dict.fromkeys(entry.all("memberUid"))
    end = normal_dn(f",{directory.users_base}")
    for dn in (value for name in NAMED_MEMBERS for value in entry.all(name)):
        plain = normal_dn(dn)
        if plain.startswith(f"{key.lower()}=") and plain.endswith(end):
            names[plain.removeprefix(f"{key.lower()}=").removesuffix(end)] = None
    return Group(entry.first("cn"), entry, tuple(names))


def call(change: str, what: str, *, undo: str = "", accepts: Sequence[int] = ()) -> dict[str, Json]:
    """A change as LDIF, with the words for it and what undoes it."""
    return {"tool": "ldapmodify", "stdin": change, "arguments": [], "what": what, "undo": undo} | (
        {"accepts": list(accepts)} if accepts else {}
    )


def adding(roster: Roster, people: Sequence[NewPerson]) -> list[Json]:
    """Add people, with passwords and groups; each call can be undone."""
    calls: list[Json] = []
    for taken, person in enumerate(people):
        dn = roster.directory.user(person.name)
        change = added(dn, list(_attributes(roster, person, taken)))
        calls.append(call(change, f"add {person.name}", undo=deleted(dn)))
        if person.password is not None:
            calls.append(password_call(roster.directory, person.name, person.password))
        calls += [
            joining(roster, group, person.name)
            for name in person.groups
            if (group := roster.group(name)) is not None
        ]
    return calls


def password_call(directory: LdapDirectory, name: str, password: Secret) -> dict[str, Json]:
    """Let the server set and hash a password (RFC 3062)."""
    return {
        "tool": "ldappasswd",
        "arguments": [directory.user(name)],
        "secret": password.reveal(),
        "what": f"set the password of {name}",
    }


def _attributes(roster: Roster, person: NewPerson, taken: int) -> Iterator[tuple[str, str]]:
    classes = _classes(roster, person)
    lower = {name.lower() for name in classes}
    full = person.full_name or person.name
    yield from (("objectClass", name) for name in classes)
    yield (naming(roster.directory), person.name)
    if naming(roster.directory).lower() != "cn":
        yield ("cn", full)
    if naming(roster.directory).lower() != "uid" and lower & {"posixaccount", "inetorgperson", "account"}:
        yield ("uid", person.name)
    if lower & {"inetorgperson", "person", "organizationalperson"}:
        yield ("sn", full.split()[-1])
    if "inetorgperson" in lower:
        yield ("displayName", full)
        if person.mail:
            yield ("mail", person.mail)
    if "posixaccount" in lower:
        number = roster.next_number("uidNumber", taken)
        primary = roster.group(PRIMARY_GROUP)
        gid = primary.entry.first("gidNumber") if primary else ""
        yield ("uidNumber", str(number))
        yield ("gidNumber", gid or str(number))
        yield ("homeDirectory", f"/home/{person.name}")
        yield ("loginShell", "/bin/bash")
    yield from ((KEYS, key) for key in person.keys)


def _classes(roster: Roster, person: NewPerson) -> tuple[str, ...]:
    """Those that most people there have, as far as they are known here."""
    known = {name.lower(): name for name in KNOWN_CLASSES}
    usual = [frozenset(known[name] for name in one.entry.classes if name in known) for one in roster.people]
    counted = sorted(set(usual), key=lambda found: (-usual.count(found), sorted(found)))
    found = next((tuple(sorted(one)) for one in counted if one - {"top", "extensibleObject"}), PERSON_CLASSES)
    return (*found, KEYS_CLASS) if person.keys else found


def joining(roster: Roster, group: Group, name: str) -> dict[str, Json]:
    """Put somebody into a group."""
    values = _members(roster, roster.member_attributes(group), name)
    change = modified(group.entry.dn, "add", values)
    undo = modified(group.entry.dn, "delete", values)
    return call(change, f"put {name} into {group.name}", undo=undo)


def leaving(roster: Roster, group: Group, name: str) -> dict[str, Json]:
    """Take somebody out of a group: out of every attribute that names them."""
    values = _membership(roster, group, name)
    change = modified(group.entry.dn, "delete", values)
    undo = modified(group.entry.dn, "add", values)
    return call(change, f"take {name} out of {group.name}", undo=undo)


def _membership(roster: Roster, group: Group, name: str) -> list[tuple[str, str]]:
    """Where the group names them now."""
    there = {attribute: [normal_dn(value) for value in group.entry.all(attribute)] for attribute in MEMBERS}
    return [
        (attribute, value)
        for attribute, value in _members(roster, MEMBERS, name)
        if normal_dn(value) in there[attribute]
    ]


def _members(roster: Roster, attributes: Sequence[str], name: str) -> list[tuple[str, str]]:
    dn = roster.directory.user(name)
    return [(attribute, dn if attribute in NAMED_MEMBERS else name) for attribute in attributes]


def removing(roster: Roster, person: Person) -> list[Json]:
    """Remove a person, and then what groups still say of them.

    The entry goes first: from then on nobody logs in as it. A directory may have cleaned its groups itself,
    of one kind of members and not of another: each kind is a change of its own.
    """
    gone = (NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT)
    calls: list[Json] = [call(deleted(person.entry.dn), f"remove {person.name}")]
    for name in person.groups:
        group = roster.group(name)
        if group is not None and not is_last(group, person.name):
            what = f"take {person.name} out of {group.name}"
            calls += [
                call(modified(group.entry.dn, "delete", [value]), what, accepts=gone)
                for value in _membership(roster, group, person.name)
            ]
    return calls


def is_last(group: Group, name: str) -> bool:
    """Whether the group cannot be without this member: it is the only one, and there has to be one."""
    return needs_a_member(group.entry.classes) and set(group.members) <= {name}


def making_group(roster: Roster, name: str, members: Sequence[str]) -> dict[str, Json]:
    """Make a group like those that are there."""
    classes, attributes = group_shape(roster)
    dn = roster.directory.group_named(name)
    values = [value for one in members for value in _members(roster, attributes, one)]
    number = [("gidNumber", str(roster.next_number("gidNumber")))]
    head = [*(("objectClass", found) for found in classes), ("cn", name)]
    numbered = {one.lower() for one in classes} & {"posixgroup", "extensibleobject"}
    change = added(dn, [*head, *(number if numbered else []), *values])
    return call(change, f"make the group {name}", undo=deleted(dn))


def group_shape(roster: Roster) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Object classes and attributes of members of a new group: those of the allowed one, or of the first."""
    model = roster.allowed or next(iter(roster.groups), None)
    if roster.own or model is None:
        return ("posixGroup", "extensibleObject"), ("member", "memberUid")
    known = [name for name in GROUP_CLASSES if name.lower() in model.entry.classes]
    return tuple(known), roster.member_attributes(model)


def removing_group(group: Group) -> dict[str, Json]:
    """Remove a group."""
    return call(deleted(group.entry.dn), f"remove the group {group.name}")
