"""The LDAP directory: what the hub gets to read, who may then log in, and what the checks say."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from time import time
from typing import Any

import pytest

from addons.sites import CA, example_ldap, example_site
from deskside.identity.ldap import AT_HUB, LDAP, base_finding, base_question, tls_finding
from deskside.model.finding import Outcome
from deskside.model.platform import Given
from deskside.model.query import Output, TlsFound

GROUP = "cn=ai,cn=groups,dc=lab,dc=example"


def login(**identity: object) -> dict[str, Any]:
    """`hub.config` for a site; `allow` replaces the example's."""
    base = example_site().model_dump(mode="json", exclude_none=True, by_alias=True)
    base["identity"] |= {"server": "ldaps://nas.lab.example"} | identity
    found: dict[str, Any] = json.loads(
        json.dumps(LDAP.hub_login(type(example_site()).model_validate(base), Given(CA)).config)
    )
    return found


def rules(config: dict[str, Any]) -> dict[str, Any]:
    """All traits that decide who may log in."""
    names = ("allow_all", "allowed_groups", "allowed_users", "allow_existing_users", "admin_users")
    found = {name: config["LDAPAuthenticator"].get(name) for name in names}
    found |= {name: config["Authenticator"][name] for name in names if name in config["Authenticator"]}
    return {name: value for name, value in found.items() if value is not None}


TABLE = [
    ({"allow": {"group": GROUP}, "admins": []}, {"allowed_groups": [GROUP]}),
    ({"allow": {"all": True}, "admins": []}, {"allow_all": True}),
    ({"allow": {"all": True}, "admins": ["ann"]}, {"allow_all": True, "admin_users": ["ann"]}),
    (
        {"allow": {"group": GROUP}, "admins": ["zoe", "ann"]},
        {
            "allowed_groups": [GROUP],
            "admin_users": ["ann", "zoe"],
            "allowed_users": ["ann", "zoe"],
            "allow_existing_users": False,
        },
    ),
]


@pytest.mark.parametrize(("identity", "wanted"), TABLE)
def test_exactly_one_allow_rule(identity: dict[str, object], wanted: dict[str, object]) -> None:
    found = rules(login(**identity))
    assert found == wanted
    assert ("allow_all" in found) != ("allowed_groups" in found)


def test_a_local_admin_is_let_in_beside_the_group() -> None:
    local = {"name": "breakglass", "password": {"file": "x"}}
    config = login(allow={"group": GROUP}, admins=[], break_glass=local)
    assert rules(config) == {
        "allowed_groups": [GROUP],
        "admin_users": ["breakglass"],
        "allowed_users": ["breakglass"],
        "allow_existing_users": False,
    }
    assert "DirectoryAuthenticator" not in config, "without a hash there is no way in"


def test_the_code_of_the_hub_is_python() -> None:
    compile(AT_HUB.read_text(), "directory.py", "exec")


@pytest.mark.parametrize(
    ("server", "port", "strategy"),
    [
        ("ldaps://nas.lab.example", 636, "on_connect"),
        ("ldap://nas.lab.example", 389, "before_bind"),
        ("ldaps://nas.lab.example:1636", 1636, "on_connect"),
    ],
)
def test_tls_is_never_off_and_always_checked(server: str, port: int, strategy: str) -> None:
    found = login(server=server)["LDAPAuthenticator"]
    assert (found["server_address"], found["server_port"]) == ("nas.lab.example", port)
    assert found["tls_strategy"] == strategy
    assert found["tls_kwargs"]["validate"] == 2
    assert found["tls_kwargs"]["ca_certs_file"]


def test_user_names_and_the_authority() -> None:
    site = example_site()
    found = LDAP.hub_login(site, Given(CA))
    traits: Any = found.config["LDAPAuthenticator"]
    assert traits["bind_dn_template"] == ["uid={username},cn=users,dc=lab,dc=example"]
    assert found.files == {traits["tls_kwargs"]["ca_certs_file"]: CA}
    bare = LDAP.hub_login(site, Given())
    assert bare.files == {}
    assert "/etc/ssl/certs/" in json.dumps(bare.config)


# In the group, not in the group, an admin outside the group, somebody the hub's database still knows.
WHO_MAY = [
    ({"allow": {"group": GROUP}, "admins": []}, (True, False, False, False)),
    ({"allow": {"all": True}, "admins": []}, (True, True, True, True)),
    ({"allow": {"all": True}, "admins": ["ann"]}, (True, True, True, True)),
    ({"allow": {"group": GROUP}, "admins": ["ann"]}, (True, False, True, False)),
]
ASK = """
import asyncio, json, sys
from ldapauthenticator import LDAPAuthenticator
from traitlets.config import Config

class Known:
    name = "former"

async def answers(config, group):
    found = LDAPAuthenticator(config=Config(config))
    found.add_user(Known())
    member = {"name": "eve", "auth_state": {"ldap_groups": [group]}}
    outside = lambda name: {"name": name, "auth_state": {"ldap_groups": []}}
    asked = [member, outside("bob"), outside("ann"), outside("former")]
    return [bool(await found.check_allowed(one["name"], one)) for one in asked]

group = "cn=ai,cn=groups,dc=lab,dc=example"
print(json.dumps([asyncio.run(answers(config, group)) for config in json.load(sys.stdin)]))
"""
"""Runs in the hub's own image: the real classes are asked."""


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_who_may_log_in_by_the_real_classes(hub_tree: Path) -> None:
    configs = [login(**identity) for identity, _ in WHO_MAY]
    # The traps, as a proof that this test can fail: both rules at once, and admins with the default.
    both = login(allow={"group": GROUP}, admins=[])
    both["LDAPAuthenticator"]["allow_all"] = True
    trap = login(allow={"group": GROUP}, admins=["ann"])
    del trap["Authenticator"]["allow_existing_users"]
    argv: list[str | Path] = ["chroot", hub_tree, "/opt/jupyter/bin/python3", "-c", ASK]
    text = json.dumps([*configs, both, trap])
    ended = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = [tuple(row) for row in json.loads(ended.stdout)]
    assert found[:-2] == [wanted for _, wanted in WHO_MAY]
    assert found[-2:] == [(True, True, True, True), (True, False, True, True)]


YEAR = 365 * 24 * 3600.0
NAMES = ("nas.lab.example", "10.20.0.20")


def tls(error: str = "", names: tuple[str, ...] = NAMES, left: float = YEAR) -> TlsFound:
    return TlsFound(error, names, time() + left if names else 0.0)


DIRECTORY = example_ldap()


def test_a_good_certificate_prints_its_names() -> None:
    found = tls_finding(DIRECTORY.server, CA, tls())
    assert found.outcome is Outcome.OK
    assert "nas.lab.example, 10.20.0.20" in found.message


def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    found = tls_finding(DIRECTORY.server, CA, tls(left=3 * 24 * 3600))
    assert found.outcome is Outcome.WARNING
    assert "renew" in found.hint


def test_nobody_listens() -> None:
    found = tls_finding(DIRECTORY.server, CA, tls("[Errno 111] Connection refused", ()))
    assert found.outcome is Outcome.FAILED
    assert "identity.server: does a directory listen on nas.lab.example port 636" in found.hint


def test_no_starttls() -> None:
    server = example_ldap({"server": "ldap://nas.lab.example"}).server
    found = tls_finding(server, CA, tls("the server refuses StartTLS", ()))
    assert "ldaps://" in found.hint


@pytest.mark.parametrize(
    ("output", "outcome", "words"),
    [
        (Output(0, "dn: dc=lab,dc=example\n", ""), Outcome.OK, "has the base"),
        (Output(32, "", "No such object (32)"), Outcome.FAILED, "no entry dc=lab,dc=example"),
        (Output(34, "", "Invalid DN syntax (34)"), Outcome.FAILED, "for no name"),
        (Output(48, "", "anonymous bind disallowed"), Outcome.WARNING, "does not tell without a password"),
        (Output(127, "", ""), Outcome.WARNING, "ldapsearch is not installed"),
    ],
)
def test_the_base_is_asked_without_a_password(output: Output, outcome: Outcome, words: str) -> None:
    found = base_finding(DIRECTORY, output)
    assert found.outcome is outcome
    assert words in found.message
    assert found.outcome is Outcome.OK or found.hint


def test_base_question_begins_tls_as_the_url_says() -> None:
    assert "-ZZ" not in base_question(DIRECTORY).argv
    starttls = example_ldap({"server": "ldap://nas.lab.example"})
    assert "-ZZ" in base_question(starttls).argv
    assert "ldap://nas.lab.example:389" in base_question(starttls).argv
