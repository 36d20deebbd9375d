"""Rules of the section `identity`: what each kind needs and takes, and whether names hang together.

As in `rules.py`, a rule stays silent about what it cannot see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from string import Formatter

from deskside.site.directory import base_of
from deskside.site.draft import Draft, leaf
from deskside.site.faults import Fault, at
from deskside.site.schema import Identity
from deskside.site.values import ROOT_GROUPS

NEEDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ldap": (("server", "ldaps://nas.lab.example"), ("base", "dc=lab,dc=example")),
    "synology": (("server", "ldaps://nas.lab.example"), ("base", "dc=lab,dc=example")),
    "openldap": (("on", "ws1"),),
    "okta": (
        ("issuer", "https://lab.okta.com/oauth2/default"),
        ("client_id", "0oa1b2c3d4"),
        ("client_secret", "{file: okta.secret}"),
    ),
}
"""What each kind cannot do without, with an example."""
_ANY = ("kind", "allow", "admins")
_LDAP = (*_ANY, "break_glass", "host_login", "host_admins")
_EXISTING = (*_LDAP, "server", "fallback", "ca", "base", "user_dn", "bind", "manager", "group_class")
TAKES: Mapping[str, tuple[str, ...]] = {
    "ldap": _EXISTING,
    "synology": _EXISTING,
    "openldap": (*_LDAP, "on", "replica", "base"),
    "okta": (*_ANY, "issuer", "client_id", "client_secret", "username_claim", "groups_claim", "ca"),
}


def kind(draft: Draft) -> Iterator[Fault]:
    """The section has what its kind needs, and nothing of another kind."""
    found, section = draft.identity("kind"), draft.data.get("identity")
    if found is None or not isinstance(section, Mapping):
        return
    for name, example in NEEDS[found]:
        if name not in section:
            yield Fault(("identity", name), "is missing", f"add {name}: {example}")
    for name in section:
        if name in Identity.model_fields and name not in TAKES[found]:
            kinds = " and ".join(other for other, takes in TAKES.items() if name in takes)
            yield Fault(("identity", name), f"is for {kinds}, not for {found}", "remove it")


def places(draft: Draft) -> Iterator[Fault]:
    """A directory that Deskside runs is on managed hosts, its copy on another one."""
    if draft.identity("kind") != "openldap":
        return
    managed = [host.name for host in draft.hosts if host.name and host.managed is not False]
    example = f"name a managed host, as {managed[0]}" if managed else "name a managed host"
    names = {"on": draft.identity("on"), "replica": draft.identity("replica")}
    for field, name in names.items():
        if name is None or name in managed:
            continue
        known = any(host.name == name for host in draft.hosts)
        said = f"{name} is not managed: nothing is run on it" if known else f"no host is called {name!r}"
        yield Fault(("identity", field), said, example)
    if names["on"] and names["on"] == names["replica"]:
        said = f"{names['on']} has the directory already"
        yield Fault(("identity", "replica"), said, "name another managed host, or remove it")


def names(draft: Draft) -> Iterator[Fault]:
    """Names in the directory hang together: groups are below the base, the user's name can be filled in."""
    found, base = draft.identity("kind"), _base(draft)
    if found != "okta":
        yield from _groups(draft, found, base)
    template = draft.identity("user_dn")
    if template is not None and (reason := _template_fault(template, base)):
        yield Fault(("identity", "user_dn"), reason, 'write "uid={username},cn=users,{base}", in quotes')
    for field, server in (("server", draft.directory), ("fallback", draft.fallback)):
        if server and server.host.replace(".", "").isdigit():
            yield Fault(
                ("identity", field),
                f"{server.host} is an address; certificates seldom name one",
                "write the name that stands in the directory's certificate",
                warning=True,
            )
    yield from _fallback(draft)
    for name, count in Counter(draft.admins).items():
        if count > 1:
            yield Fault(("identity", "admins"), f"has {name!r} {count} times", "name each admin once")


def _fallback(draft: Draft) -> Iterator[Fault]:
    """A second server is another one, and TLS begins there as on the first."""
    first, second = draft.directory, draft.fallback
    if first is None or second is None:
        return
    place = ("identity", "fallback")
    if (first.host, first.port) == (second.host, second.port):
        yield Fault(place, f"{second} is identity.server itself", "name another server, or remove it")
    elif first.scheme != second.scheme:
        said = f"begins TLS in another way than identity.server ({first.scheme}://)"
        yield Fault(place, said, f"write {first.scheme}://{second.host}")


def _base(draft: Draft) -> str | None:
    own = draft.identity("base")
    if own or draft.identity("kind") != "openldap" or at(draft.data, ("identity", "base")) is not None:
        return own
    return base_of(draft.site) if draft.site else None


def _groups(draft: Draft, found: str | None, base: str | None) -> Iterator[Fault]:
    for place in (("identity", "allow", "group"), ("identity", "host_admins")):
        group = at(draft.data, place)
        if not isinstance(group, str):
            continue
        if "=" not in group:
            if found == "ldap":
                said = f"{group!r} is no distinguished name of a directory"
                remedy = "write attribute=value pairs that end in dc=..., as cn=ai,cn=groups,dc=lab"
                yield Fault(place, said, remedy)
        elif base and not _below(group, base):
            yield Fault(place, f"{group!r} is not below the base {base}", f"end it in ,{base}")
        elif base and found == "openldap" and not _laid_out(group, base):
            said = f"{group!r} is not where the directory that Deskside runs has its groups"
            yield Fault(place, said, f"write the group's name alone, or cn=NAME,cn=groups,{base}")
    if found == "openldap" and base and not all(part.strip().startswith("dc=") for part in base.split(",")):
        said = f"{base!r} is not made of dc= parts, as the directory that Deskside runs is"
        yield Fault(("identity", "base"), said, "write dc=lab,dc=example, or remove it")


def host_login(draft: Draft) -> Iterator[Fault]:
    """Whoever logs in to hosts is looked up by an account, and is of a group."""
    section, place = draft.data.get("identity"), ("identity", "host_login")
    if leaf(section, Identity, "host_login", bool):
        own = draft.identity("kind") == "openldap"
        if not own and at(draft.data, ("identity", "bind")) is None:
            said = "hosts look people up by an account of the directory, and identity.bind names none"
            yield Fault(place, said, "add bind: {dn: DN, password: {file: PATH}}")
        for where in (("identity", "allow", "group"), ("identity", "host_admins")):
            group = at(draft.data, where)
            if isinstance(group, str) and _plain(group) in ROOT_GROUPS:
                said = f"{_plain(group)!r} is a group by which hosts give rights to its members"
                yield Fault(where, said, "name another group of the directory")
        if at(draft.data, ("identity", "allow", "all")) is not None:
            said = "not everybody with an account may log in to the hosts"
            yield Fault(place, said, "write identity.allow as {group: DN}")
    elif at(draft.data, ("identity", "host_admins")) is not None:
        said = "nobody of the directory logs in to the hosts"
        yield Fault(("identity", "host_admins"), said, "add host_login: true, or remove host_admins")


def _plain(group: str) -> str:
    """`ai` of a distinguished name, or of a name."""
    return group.partition(",")[0].rpartition("=")[2].strip().lower()


def _laid_out(group: str, base: str) -> bool:
    """Whether a group is one level below cn=groups, by its cn."""
    first, _, rest = group.partition(",")
    return first.strip().lower().startswith("cn=") and _parts(rest) == _parts(f"cn=groups,{base}")


def _parts(name: str) -> list[str]:
    return [part.strip().lower() for part in name.split(",")]


def _below(name: str, base: str) -> bool:
    parts, above = _parts(name), _parts(base)
    return len(parts) > len(above) and parts[-len(above) :] == above


def _template_fault(template: str, base: str | None) -> str:
    try:
        found = list(Formatter().parse(template))
    except ValueError:
        return f"{template!r} has a brace too many"
    holes = [(name, spec, conversion) for _, name, spec, conversion in found if name is not None]
    odd = [name for name, spec, conversion in holes if name not in ("username", "base") or spec or conversion]
    if odd or "{{" in template or "}}" in template:
        return f"{template!r} has more to fill in than {{username}} and {{base}}"
    if [name for name, _, _ in holes].count("username") != 1:
        return f"{template!r} needs {{username}} once"
    if base and not _below(template.replace("{base}", base), base):
        return f"{template!r} is not below the base {base}"
    return ""


IDENTITY_RULES: tuple[Callable[[Draft], Iterator[Fault]], ...] = (kind, places, names, host_login)
