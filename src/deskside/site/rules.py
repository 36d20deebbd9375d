"""Rules between sections of the site file: what no field can know by itself.

Each rule looks at a `Draft`, in which whatever could not be read is None, and stays silent about what it
cannot see: so all rules run over a file that has other problems too. A rule touches no host and no file but
the trains. `network_rules.py` has the rules about addresses, `identity_rules.py` those about the directory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from deskside.errors import SiteError
from deskside.site.draft import Draft
from deskside.site.faults import Fault, at
from deskside.site.identity_rules import IDENTITY_RULES
from deskside.site.network_rules import NETWORK_RULES
from deskside.site.schema import Role
from deskside.site.service_rules import SERVICE_RULES
from deskside.site.trains import load_train


def faults(draft: Draft) -> Iterator[Fault]:
    """What every rule finds, in the order of the rules."""
    for rule in (*RULES, *IDENTITY_RULES, *NETWORK_RULES, *SERVICE_RULES):
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
    profiles,
    people,
)
