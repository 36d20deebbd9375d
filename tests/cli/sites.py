"""Sites of every kind of directory, on addresses where nobody listens; and a fake host that knows people."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from cli.running import EXAMPLE, Ran
from deskside.app.people import People
from deskside.app.workspace import Workspace
from deskside.hosts.fake import FakeHost
from deskside.hosts.session import Session
from identity.test_people import BASE, GROUPS, PEOPLE

CANARY = "canary-7f3a9b"
"""Stands in every secret of these sites."""
BIND = f'  bind: {{dn: "uid=reader,cn=users,{BASE}", password: {{file: bind.secret}}}}\n'
MANAGER = f'  manager: {{dn: "uid=root2,cn=users,{BASE}", password: {{file: manager.secret}}}}\n'
_LDAP = f"""\
  server: ldaps://nas.lab.example
  ca: {{file: nas-ca.pem}}
  base: {BASE}
  user_dn: "uid={{username}},cn=users,{{base}}"
  allow: {{group: "cn=ai,cn=groups,{BASE}"}}
  admins: [ann]
"""
IDENTITIES: Mapping[str, str] = {
    "ldap": "  kind: ldap\n" + _LDAP,
    "read": "  kind: ldap\n" + _LDAP + BIND,
    "managed": "  kind: ldap\n" + _LDAP + MANAGER,
    "synology": "  kind: synology\n" + _LDAP,
    "openldap": "  kind: openldap\n  on: ws1\n  allow: {group: ai}\n  admins: [ann]\n",
    "okta": (
        "  kind: okta\n  issuer: https://lab.okta.com/oauth2/default\n  client_id: 0oa1\n"
        "  client_secret: {file: okta.secret}\n  allow: {group: ai}\n  admins: [ann]\n"
    ),
}
"""`read` may look people up, `managed` may change them; `ldap`, `synology` and `okta` may neither."""


def private(path: Path, text: str = f"{CANARY}\n", mode: int = 0o600) -> Path:
    """A file of a secret."""
    path.write_text(text)
    path.chmod(mode)
    return path


def write_site(folder: Path, identity: str, more: str = "") -> Path:
    """A site file with that kind of directory, and all that it needs beside it."""
    head, _, rest = EXAMPLE.read_text().replace("10.20.0.", "127.20.0.").partition("identity:")
    tail = rest[rest.index("\nstorage:") :]
    path = folder / "site.yaml"
    path.write_text(f"{head}identity:\n{IDENTITIES[identity]}{more}{tail}")
    (folder / "nas-ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    for name in ("bind", "manager", "okta"):
        private(folder / f"{name}.secret")
    return path


def refused(ran: Ran, status: int, *said: str) -> None:
    """It ended with that status, nothing on standard output, one sentence with a hint, and no secret."""
    assert ran.status == status, ran.err
    assert ran.out == ""
    *problems, error, hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert not any(line.startswith(("error: ", "hint: ")) for line in problems)
    for words in said:
        assert words in ran.err
    assert CANARY not in ran.err


def misused(ran: Ran, said: str) -> None:
    """The command line itself does not fit."""
    assert (ran.status, ran.out) == (2, "")
    assert "Usage: deskside" in ran.err
    assert said in ran.err


def on_fake_host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Lets commands about people reach a host that knows a directory of ann and nobody2."""
    host = FakeHost("ws1")
    host.answer("python3", says=json.dumps({"status": 0, "out": [PEOPLE, GROUPS]}))
    host.effect("python3", does=json.dumps({"status": 0, "out": []}))
    host.effect("/opt/deskside/bin/kubectl", does=f"deskside {json.dumps({'ann': 'put out'})}\n")

    @asynccontextmanager
    async def people(workspace: Workspace, *_: object) -> AsyncIterator[People]:
        yield People(workspace.site, workspace.given(), {"ws1": cast(Session, host)}, {})

    monkeypatch.setattr("deskside.app.people.people_of", people)
    return host


def no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a command that asks a host."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a host was asked")

    monkeypatch.setattr("deskside.hosts.session.open_sessions", refuse)
