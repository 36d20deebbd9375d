"""Rules between sections of the site file: what no field can know by itself.

Each rule looks at a `Draft`, in which whatever could not be read is None, and stays silent about what it
cannot see: so all rules run over a file that has other problems too. A rule touches no host and no file but
the trains. `network_rules.py` has the rules about addresses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from string import Formatter

from deskside.errors import SiteError
from deskside.site.draft import Draft, leaf
from deskside.site.faults import Fault, at
from deskside.site.network_rules import NETWORK_RULES
from deskside.site.schema import Identity, Role
from deskside.site.service_rules import SERVICE_RULES
from deskside.site.trains import load_train


def faults(draft: Draft) -> Iterator[Fault]:
    """What every rule finds, in the order of the rules."""
    for rule in (*RULES, *NETWORK_RULES, *SERVICE_RULES):
        yield from rule(draft)


def site_name(draft: Draft) -> Iterator[Fault]:
    """The name of the site is no domain that something else answers for."""
    last = (draft.site or "").rpartition(".")[2]
    if last == "local":
        yield Fault(
            ("site",),
            f"{draft.site!r} ends in .local, which multicast DNS answers for",
            "use a domain of yours, or one below .internal or .home.arpa",
        )
    if last == "localhost":
        yield Fault(("site",), f"{draft.site!r} always means the machine itself", "use a domain of yours")


def train(draft: Draft) -> Iterator[Fault]:
    """The train is known and brings the version of Kubernetes that is asked for."""
    if draft.train is None:
        return
    try:
        found = load_train(draft.train)
    except SiteError as error:
        yield Fault(("train",), error.message, error.hint)
        return
    if draft.kubernetes not in (None, found.kubernetes_minor):
        yield Fault(
            ("kubernetes", "version"),
            f"{draft.kubernetes} is not the version of the train {found.name}",
            f'write "{found.kubernetes_minor}", or choose another train',
        )


def admin_keys(draft: Draft) -> Iterator[Fault]:
    """Keys are named by their public half: a private one has no business in a site file."""
    for index, key in enumerate(draft.keys):
        if isinstance(key, Path) and key.suffix != ".pub":
            yield Fault(
                ("admin", "keys", index), f"{str(key)!r} is no public key", f"name its public half: {key}.pub"
            )


def roles_present(draft: Draft) -> Iterator[Fault]:
    """There is a server, a worker and a storage host, and the number of servers can outvote a failure."""
    if not draft.sound_hosts:
        return
    needs = {
        Role.SERVER: "the cluster's API has no place",
        Role.WORKER: "desks have no place",
        Role.STORAGE: "homes have no place",
    }
    for role, why in needs.items():
        if not any(host.is_a(role) for host in draft.hosts):
            yield Fault(
                ("hosts",), f"no host has the role {role}: {why}", f"add {role} to the roles of a host"
            )
    servers = sum(host.is_a(Role.SERVER) for host in draft.hosts)
    if servers and servers % 2 == 0:
        yield Fault(
            ("hosts",),
            f"{servers} servers survive no more failures than {servers - 1}",
            f"use {servers - 1} or {servers + 1} servers",
            warning=True,
        )


def roles_fit(draft: Draft) -> Iterator[Fault]:
    """No role stands twice; a host that is not managed is not asked to change."""
    for host in draft.hosts:
        for role, count in Counter(host.roles).items():
            if count > 1:
                yield Fault((*host.place, "roles"), f"has {role} {count} times", "name each role once")
        busy = [role.value for role in (Role.SERVER, Role.WORKER) if host.is_a(role)]
        if host.managed is False and busy:
            yield Fault(
                (*host.place, "managed"),
                f"a host that is not managed cannot be a {' and '.join(busy)}",
                "remove `managed: false`, or give it the role storage alone",
            )
        if host.managed is False and host.has_data:
            yield Fault((*host.place, "data"), "a host that is not managed is never changed", "remove `data`")


def homes(draft: Draft) -> Iterator[Fault]:
    """The homes are on a storage host of the file."""
    if draft.homes is None:
        return
    place = ("storage", "homes", "source")
    named = [host for host in draft.hosts if host.name == draft.homes.host]
    if not named:
        names = [host.name for host in draft.hosts if host.name]
        near = get_close_matches(draft.homes.host, names, 1)
        storage = [host.name for host in draft.hosts if host.name and host.is_a(Role.STORAGE)]
        wanted = (near or storage or ["NAME"])[0]
        yield Fault(place, f"no host is called {draft.homes.host!r}", f"write {wanted}:{draft.homes.path}")
    elif named[0].roles and not named[0].is_a(Role.STORAGE):
        yield Fault(
            place,
            f"{draft.homes.host} is not a storage host",
            f"add storage to the roles of {draft.homes.host}, or name another host",
        )


def names_apart(draft: Draft) -> Iterator[Fault]:
    """No host takes the name of the API, and the hub has a name of its own."""
    for host in draft.hosts:
        if host.name == "api":
            yield Fault(
                (*host.place, "name"), "'api' is the name of the cluster's API", "give the host another name"
            )
    taken = {f"{host.name}.{draft.site}" for host in draft.hosts if host.name} | {f"api.{draft.site}"}
    if draft.site and draft.hub_name in {*taken, draft.site}:
        yield Fault(
            ("notebooks", "hostname"),
            f"{draft.hub_name} is the name of something else",
            f"write notebooks.{draft.site}",
        )


def directory(draft: Draft) -> Iterator[Fault]:
    """Names in the directory hang together: the group is below the base, the user's name can be filled in."""
    base = draft.identity("base")
    group = at(draft.data, ("identity", "allow", "group"))
    if base and isinstance(group, str) and not _below(group, base):
        yield Fault(
            ("identity", "allow", "group"), f"{group!r} is not below the base {base}", f"end it in ,{base}"
        )
    template = draft.identity("user_dn")
    if template is not None and (reason := _template_fault(template, base)):
        yield Fault(("identity", "user_dn"), reason, 'write "uid={username},cn=users,{base}", in quotes')
    server = draft.directory
    if server and server.host.replace(".", "").isdigit():
        yield Fault(
            ("identity", "server"),
            f"{server.host} is an address; certificates seldom name one",
            "write the name that stands in the directory's certificate",
            warning=True,
        )
    for name, count in Counter(draft.admins).items():
        if count > 1:
            yield Fault(("identity", "admins"), f"has {name!r} {count} times", "name each admin once")


def host_login(draft: Draft) -> Iterator[Fault]:
    """Whoever logs in to hosts is looked up by an account, and is of a group."""
    section, place = draft.data.get("identity"), ("identity", "host_login")
    admins, base = at(draft.data, ("identity", "host_admins")), draft.identity("base")
    if leaf(section, Identity, "host_login", bool):
        if at(draft.data, ("identity", "bind")) is None:
            said = "hosts look people up by an account of the directory, and identity.bind names none"
            yield Fault(place, said, "add bind: {dn: DN, password: {file: PATH}}")
        if at(draft.data, ("identity", "allow", "all")) is not None:
            said = "not everybody with an account may log in to the hosts"
            yield Fault(place, said, "write identity.allow as {group: DN}")
    elif admins is not None:
        said = "nobody of the directory logs in to the hosts"
        yield Fault(("identity", "host_admins"), said, "add host_login: true, or remove host_admins")
    if base and isinstance(admins, str) and not _below(admins, base):
        yield Fault(
            ("identity", "host_admins"), f"{admins!r} is not below the base {base}", f"end it in ,{base}"
        )


def _below(name: str, base: str) -> bool:
    parts = [part.strip().lower() for part in name.split(",")]
    above = [part.strip().lower() for part in base.split(",")]
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


def profiles(draft: Draft) -> Iterator[Fault]:
    """Profiles can be told apart, and at most one of them is the default."""
    seen: dict[str, int] = {}
    default: int | None = None
    for number, (place, name, is_default) in enumerate(draft.profiles()):
        if name is not None and (first := seen.setdefault(name.casefold(), number)) != number:
            yield Fault(
                (*place, "name"), f"{name!r} is also the name of profiles[{first}]", "use another name"
            )
        if is_default and default is not None:
            yield Fault((*place, "default"), f"profiles[{default}] is the default already", "remove one")
        default = number if is_default and default is None else default


def people(draft: Draft) -> Iterator[Fault]:
    """Who tests logging in, and who tests being refused, can be both right."""
    user, outsider = draft.person("user"), draft.person("outsider")
    if user and user == outsider:
        yield Fault(
            ("verify", "outsider", "name"),
            f"{user!r} is also verify.user",
            "name somebody who may not log in",
        )
    if outsider and at(draft.data, ("identity", "allow", "all")) is not None:
        yield Fault(
            ("verify", "outsider"),
            "whoever has an account may log in (identity.allow.all): nobody is an outsider",
            "remove verify.outsider, or allow a group",
        )


RULES: tuple[Callable[[Draft], Iterator[Fault]], ...] = (
    site_name,
    train,
    admin_keys,
    roles_present,
    roles_fit,
    homes,
    names_apart,
    directory,
    host_login,
    profiles,
    people,
)
