"""Sites of every kind of directory with all that they can have, and what travels to their hosts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from addons.sites import CA, locked_artifacts
from deskside.app.handover import account_actions, door_actions, remove_account_action
from deskside.catalog import make_platform, steps_for
from deskside.engine.graph import make_graph
from deskside.engine.planner import Plan, make_plan
from deskside.hosts.fake import FakeHost, Unmodelled, bare_facts
from deskside.model.facts import Facts
from deskside.model.platform import Given, OwnDirectory
from deskside.model.query import Output, ReadFacts
from deskside.site import rules
from deskside.site.draft import make_draft
from deskside.site.reading import read_document
from deskside.site.schema import DataDevice, Site
from deskside.site.secrets import Secret
from deskside.site.trains import load_train
from teaching import teach_mount_points

SECRET = "zq7'$(id)`id`\"; id #%n\\ "
"""Every secret of these sites, to begin with; it holds what shells and settings read."""
SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "dash")
BASE = "dc=lab,dc=example"
EXAMPLE = Path(__file__).parents[2] / "docs/examples/site.yaml"
HEAD: dict[str, Any] = deepcopy(dict(read_document(EXAMPLE.read_bytes()).data))
HEAD["admin"]["installer"] = {"user": "ubuntu"}
HEAD["network"]["firewall"] = {"open": ["tcp/8080"]}
HEAD["hosts"][2]["data"] = {"device": "/dev/sdb", "serial": "S6B0NL0T"}
HEAD["notebooks"] |= {"scratch": "/scratch", "image": "quay.io/x/y:1", "values": {"hub": {"a": "b"}}}
HEAD["releases"] = {"metallb": {"values": {"a": "b"}}}
IDENTITIES: Mapping[str, dict[str, object]] = {
    "ldap": {
        **HEAD["identity"],
        "fallback": "ldaps://nas2.lab.example",
        "bind": {"dn": f"uid=reader,cn=users,{BASE}", "password": {"env": "READER"}},
        "manager": {"dn": f"uid=root,cn=users,{BASE}", "password": {"env": "MANAGER"}},
        "break_glass": {"name": "glass", "password": {"env": "GLASS"}},
        "host_login": True,
        "host_admins": f"cn=administrators,cn=groups,{BASE}",
        "group_class": "posixGroup",
    },
    "openldap": {
        "kind": "openldap",
        "on": "ws1",
        "replica": "ws2",
        "allow": {"group": "ai"},
        "admins": ["ann"],
        "host_login": True,
        "host_admins": "operators",
    },
    "okta": {
        "kind": "okta",
        "issuer": "https://lab.okta.com/oauth2/default",
        "client_id": "0oa1",
        "client_secret": {"env": "OKTA"},
        "allow": {"group": "ai"},
        "admins": ["ann"],
        "username_claim": "preferred_username",
        "groups_claim": "groups",
    },
}


def tree_of(kind: str) -> dict[str, Any]:
    """A site with as many texts as that kind of directory allows."""
    tree = deepcopy({**HEAD, "identity": IDENTITIES[kind]})
    if kind == "okta":
        key = {"name": "deskside", "secret": {"env": "DNS_KEY"}}
        tree["network"]["dns"] = {"provider": "router", "server": "10.20.0.5", "tsig": key}
    return tree


def texts(tree: object, here: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Place and value of every text."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inside:
        if isinstance(value, str):
            yield (*here, key), value
        yield from texts(value, (*here, key))


def put(tree: Any, place: tuple[str | int, ...], value: str) -> None:
    for part in place[:-1]:
        tree = tree[part]
    tree[place[-1]] = value


def accepted(tree: dict[str, Any]) -> Site | None:
    """The site, unless the loader would refuse it."""
    try:
        site = Site.model_validate(tree)
    except ValidationError:
        return None
    return site if all(fault.warning for fault in rules.faults(make_draft(tree))) else None


@dataclass
class Heard:
    """Everything that would travel to the hosts of a site."""

    argvs: list[list[str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    open_files: list[str] = field(default_factory=list)
    """Of these, what others than the owner may read."""
    given: list[str] = field(default_factory=list)
    """What programs get on standard input."""
    plan: Plan = field(default_factory=lambda: Plan(()))

    def hear(self, value: object) -> None:
        """Keep the command lines and files that are somewhere in a question or an action."""
        inside: Iterable[object] = value if isinstance(value, list | tuple) else ()
        if isinstance(value, Mapping):
            self._hear_mapping(value)
            inside = value.values()
        for inner in inside:
            self.hear(inner)

    def _hear_mapping(self, value: Mapping[str, Any]) -> None:
        for words in (value.get("argv"), value.get("command")):
            if isinstance(words, list):
                self.argvs.append([str(word) for word in words])
        if isinstance(value.get("content"), str):
            self.files.append(base64.b64decode(value["content"]).decode("utf-8", "replace"))
            if int(value["mode"]) & 0o077:
                self.open_files.append(self.files[-1])
        if isinstance(value.get("stdin"), str):
            self.given.append(value["stdin"])
        if isinstance(value.get("values"), str):
            self.hear(yaml.safe_load(value["values"]))

    def scripts(self) -> Iterator[str]:
        """Each text that a shell, or Python as a program text, is to understand."""
        for argv in self.argvs:
            for place, word in enumerate(argv[:-1]):
                if re.fullmatch(r"-[a-z]*c", word) and (argv[0] in SHELLS or "python" in argv[0]):
                    yield argv[place + 1]
        for text in self.files:
            if text.startswith("#!"):
                yield text
            yield from (line for line in text.splitlines() if re.search(r"\b(ba|da)?sh\b.* -c ", line))


class Hearing(FakeHost):
    """A bare host that keeps what it is asked."""

    heard: Heard

    def answer_of(self, query: Any) -> Any:
        self.heard.hear(query)
        return super().answer_of(query)

    def _called(self, known: Any, argv: tuple[str, ...], given: str) -> Output:
        try:
            return super()._called(known, argv, given)
        except Unmodelled:
            return Output(0, "{}", "")  # a host that knows nothing yet


async def heard_of(site: Site, word: str = SECRET) -> Heard:
    """Plan the site on bare hosts, where `word` is every secret of it."""
    hosts, heard = {}, Heard()
    for spec in site.managed_hosts:
        hosts[spec.name] = host = Hearing(spec.name, facts=bare_facts(spec.name, str(spec.address)))
        host.heard = heard
        teach_mount_points(host)
        if isinstance(spec.data, DataDevice):
            blank = {"path": spec.data.device, "serial": spec.data.serial, "type": "disk"}
            host.answer("lsblk", says=json.dumps({"blockdevices": [blank]}))
    train, secret = load_train(site.train), Secret(word)
    own = OwnDirectory(secret, {name: ("PEM", secret) for name in hosts})
    given = Given(CA, secret, secret, secret, "salt$hash", own if site.identity.kind == "openldap" else None)
    facts_of = {name: Facts.from_raw(await host.read(ReadFacts(("/",)))) for name, host in hosts.items()}
    platform = make_platform(site, train, locked_artifacts(train), facts_of, given)
    if site.network.dns is not None and site.network.dns.tsig is not None:
        platform = replace(platform, dns_key=secret)
    plan = await make_plan(make_graph(steps_for(platform), platform), site, platform, hosts)
    assert not plan.failures, plan.failures
    heard.plan = plan
    for node in plan.nodes:
        for change in node.changes:
            heard.hear([action.wire() for action in (*change.actions, *change.confirm)])
    installer = site.admin.installer
    assert installer is not None
    adopted = (*account_actions(site, ()), *door_actions(()), remove_account_action(installer.user))
    heard.hear([action.wire() for action in adopted])
    return heard
