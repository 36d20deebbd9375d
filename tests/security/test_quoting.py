"""No value of a site file reaches a shell, or a line of a settings file, as anything but that value.

Every text of every kind of site is replaced by hostile ones. What the loader accepts is planned on bare
hosts, and every question and action is looked at as it would travel.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from addons.sites import CA, locked_artifacts
from deskside.app.handover import account_actions, door_actions, remove_account_action
from deskside.catalog import make_platform, steps_for
from deskside.engine.graph import make_graph
from deskside.engine.planner import make_plan
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

MARK = "zq7"
LINE = f"{MARK}=injected"
HOSTILE = (
    "{old}" + MARK + "'$(id)`id`",
    "{old}" + MARK + '"; id #',
    "{old}" + MARK + "\n" + LINE,
    "{old}" + MARK + "\r" + LINE,
    "{old} " + MARK,
    "{old}" + MARK + "%n%h",
    "{old}" + MARK + "\\",
    "$(" + MARK + ")",
    "-" + MARK,
    "/" + MARK + "/$(id);'",
    "{old}" + MARK,
)
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
SECRET = f"{MARK}'$(id)`id`\"; id #%n\\ "


def tree_of(kind: str) -> dict[str, Any]:
    """A site with as many texts as that kind of directory allows."""
    return deepcopy({**HEAD, "identity": IDENTITIES[kind]})


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

    def hear(self, value: object) -> None:
        """Keep the command lines and files that are somewhere in a question or an action."""
        if isinstance(value, Mapping):
            if isinstance(value.get("argv"), list):
                self.argvs.append([str(word) for word in value["argv"]])
            if isinstance(value.get("content"), str):
                self.files.append(base64.b64decode(value["content"]).decode("utf-8", "replace"))
            if isinstance(value.get("values"), str):
                self.hear(yaml.safe_load(value["values"]))
            if isinstance(value.get("command"), list):
                self.argvs.append([str(word) for word in value["command"]])
            for inner in value.values():
                self.hear(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                self.hear(inner)

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


async def heard_of(site: Site) -> Heard:
    """Plan the site on bare hosts."""
    hosts, heard = {}, Heard()
    for spec in site.managed_hosts:
        hosts[spec.name] = host = Hearing(spec.name, facts=bare_facts(spec.name, str(spec.address)))
        host.heard = heard
        teach_mount_points(host)
        if isinstance(spec.data, DataDevice):
            blank = {"path": spec.data.device, "serial": spec.data.serial, "type": "disk"}
            host.answer("lsblk", says=json.dumps({"blockdevices": [blank]}))
    train, secret = load_train(site.train), Secret(SECRET)
    own = OwnDirectory(secret, {name: ("PEM", secret) for name in hosts})
    given = Given(CA, secret, secret, secret, "salt$hash", own if site.identity.kind == "openldap" else None)
    facts_of = {name: Facts.from_raw(await host.read(ReadFacts(("/",)))) for name, host in hosts.items()}
    platform = make_platform(site, train, locked_artifacts(train), facts_of, given)
    plan = await make_plan(make_graph(steps_for(platform), platform), site, platform, hosts)
    assert not plan.failures, plan.failures
    for node in plan.nodes:
        for change in node.changes:
            heard.hear([action.wire() for action in (*change.actions, *change.confirm)])
    installer = site.admin.installer
    assert installer is not None
    adopted = (*account_actions(site, ()), *door_actions(()), remove_account_action(installer.user))
    heard.hear([action.wire() for action in adopted])
    return heard


def check(heard: Heard, values: list[str]) -> None:
    """Nothing hostile stands in a script but quoted, and no line of a file is one that a value brought."""
    for script in heard.scripts():
        bare = script
        for value in values:
            bare = bare.replace(shlex.quote(value), "''")
        assert MARK not in bare, script
    for text in heard.files:
        lines = re.split(r"[\r\n]", text)
        assert not [line for line in lines if line.strip().startswith(LINE)], text


@pytest.mark.parametrize("kind", IDENTITIES)
@pytest.mark.parametrize("form", range(len(HOSTILE)))
async def test_hostile_values(kind: str, form: int) -> None:
    """All values that are accepted by themselves, at once, as far as they go together."""
    tree, taken = tree_of(kind), []
    assert accepted(tree) is not None
    for place, old in texts(tree):
        value = HOSTILE[form].replace("{old}", old)
        trial = deepcopy(tree)
        put(trial, place, value)
        if accepted(trial) is not None:
            tree = trial
            taken.append(value)
    found = accepted(tree)
    assert found is not None
    heard = await heard_of(found)
    assert len(heard.argvs) > 20
    assert len(heard.files) > 20
    check(heard, [*taken, SECRET])


def test_what_gets_through_would_be_seen() -> None:
    for argv in (["sh", "-ec", f"ls {MARK}"], ["python3", "-I", "-c", f"x = '{MARK}'"]):
        with pytest.raises(AssertionError):
            check(Heard([argv]), [MARK + "'"])
    with pytest.raises(AssertionError):
        check(Heard(files=[f"[Unit]\n{LINE}\n"]), [])
    quoted = f"ls {shlex.quote(MARK + ' x')}"
    check(Heard([["sh", "-c", quoted]]), [MARK + " x"])
