"""Secrets appear nowhere: a canary stands in every secret field, and is looked for in all that anybody sees.

What travels to the hosts is looked at for every kind of site; then the shipped command line runs against
hosts behind real SSH servers, one of which repeats what it was given. `tests/rack` watches the processes.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deskside.engine.saved import About, saved_plan, text_of
from deskside.hosts.fake import FakeHost, Unmodelled
from deskside.hosts.fake_files import Refused
from deskside.model.action import ActionResult
from deskside.model.query import Json, Output
from deskside.site.known import settings
from deskside.site.secrets import Secret, SecretSource, without_secrets
from deskside.steps.host_login import CONFIG
from deskside.ui.plan_text import plan_text
from matrix.controller import Nursery, ended
from matrix.place import Place, place_in
from matrix.world import EVERY, environment

from .hearing import IDENTITIES, accepted, heard_of, tree_of

CANARY = "canary'$x\"7f3a9b"
SECTION = """\
  bind: {dn: "uid=reader,cn=users,dc=lab,dc=example", password: {env: READER}}
  manager: {dn: "uid=root2,cn=users,dc=lab,dc=example", password: {file: manager.secret}}
  break_glass: {name: glass, password: {env: GLASS}}
  host_login: true
"""
VERIFY = "verify:\n  user: {name: ann, password: {file: ann.secret}}\n"
FIELDS = (
    *("identity.bind.password", "identity.manager.password", "identity.break_glass.password"),
    *(
        "identity.client_secret",
        "network.dns.tsig.secret",
        "verify.user.password",
        "verify.outsider.password",
    ),
)


def forms(word: str) -> tuple[str, ...]:
    """How a word may stand in a file."""
    once = json.dumps(word)[1:-1]
    return word, once, json.dumps(once)[1:-1], b64encode(word.encode()).decode()


def holds(text: str, *words: str) -> list[str]:
    return [form for word in words for form in forms(word) if form in text]


def test_every_secret_field_is_known_here() -> None:
    """Whoever adds one adds a canary for it."""
    found = [path for path, setting in settings().items() if setting.section is SecretSource]
    assert sorted(found) == sorted(FIELDS)


@pytest.mark.parametrize("kind", IDENTITIES)
async def test_what_travels(kind: str) -> None:
    """On standard input and in files for their owner alone: in no argument, no variable and no plan."""
    site = accepted(tree_of(kind))
    assert site is not None
    heard = await heard_of(site, CANARY)
    assert holds("\n".join([*heard.given, *heard.files]), CANARY), "no secret travels at all"
    for argv in heard.argvs:
        assert not holds(" ".join(argv), CANARY)
    for text in heard.open_files:
        assert not holds(text, CANARY), text
    key = Secret("a key of plans")
    about = About(site="lab.example", site_digest="", train="2026-11", lock_digest="", deskside="1")
    saved = text_of(saved_plan(heard.plan, about, key), key)
    for text in (repr(heard.plan), plan_text(heard.plan, verbose=True), saved):
        assert not holds(text, CANARY)


async def controlled(place: Place, *words: str) -> tuple[int, str]:
    """Status and output of a command line."""
    place.output.write_text("")
    given = {**environment(place.folder), "READER": CANARY + "-reader", "GLASS": CANARY + "-glass"}
    given["TMPDIR"] = str(place.folder)
    status = await ended(place.nursery.start(("-f", str(place.site), *words), given, place.output, EVERY))
    return status, place.output.read_text()


def repeats_what_it_is_given(host: FakeHost) -> None:
    """A host on which writing the file with the password fails, with all of it in the reason."""
    carry_out = host.carry_out

    def loud(wire: dict[str, Json]) -> ActionResult:
        if wire.get("path") == CONFIG:
            raise Refused(f"cannot write {CANARY}-reader, {json.dumps(CANARY + '-reader')}")
        return carry_out(wire)

    host.carry_out = loud  # type: ignore[method-assign]


def files_with(folder: Path, kept: set[Path]) -> list[Path]:
    """Files below that hold a canary, but for those that are there to hold it."""
    found = (path for path in folder.rglob("*") if path.is_file() and path not in kept)
    return [path for path in found if holds(path.read_bytes().decode("utf-8", "replace"), CANARY)]


async def test_the_command_line_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = FakeHost._called

    def agreeable(host: FakeHost, *given: Any) -> Output:
        with suppress(Unmodelled):
            return called(host, *given)
        return Output(0, "", "")

    monkeypatch.setattr(FakeHost, "_called", agreeable)
    async with place_in(tmp_path / "place", "127.20.5", Nursery()) as place:
        text = place.site.read_text().replace("  admins: [ann]\n", f"  admins: [ann]\n{SECTION}")
        place.site.write_text(text + VERIFY)
        kept = {place.folder / f"{name}.secret" for name in ("manager", "ann")}
        for path in kept:
            path.touch(0o600)
            path.write_text(f"{CANARY}-{path.stem}\n")
        heard: dict[str, str] = {}
        repeats_what_it_is_given(place.servers.hosts["ws2"].host)
        for served in place.servers.hosts.values():
            bad = Output(1, f"with {CANARY}-reader", f"{CANARY}-reader is no password")
            served.host.answer("python3", "-I", "-c", says=bad)
        for words, status in (
            (("plan", "-v"), 0),
            (("plan", "--json"), 0),
            (("check", "--json"), None),
            (("plan", "--out", str(place.folder / "kept.plan")), 0),
            (("apply", "--yes", "-v"), 6),
            (("apply", "--yes", "--json", "-v"), 6),
            (("verify", "--json"), None),
            (("status", "--json"), None),
        ):
            got, heard[" ".join(words[:2])] = await controlled(place, *words)
            assert status in (None, got), heard
        for command, said in heard.items():
            assert not holds(said, CANARY), command
            assert "Traceback" not in said, command
        assert "cannot write <secret>" in heard["apply --yes"]
        assert files_with(place.folder, kept) == []
        assert list((place.folder / "state").rglob("journal.jsonl"))
        for name, served in place.servers.hosts.items():
            assert not served.refused
            assert not any(holds(" ".join(argv), CANARY) for argv in served.host.ran), name
            with_it = {
                path: node.mode
                for path, node in served.host.files.nodes.items()
                if holds(node.content.decode("utf-8", "replace"), CANARY)
            }
            assert with_it == ({CONFIG: 0o600} if name == "ws1" else {})


def test_what_machines_say_is_cleared_of_it() -> None:
    Secret(CANARY)
    Secret("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n")
    Secret("ldap_uri = ldap://nas\nldap_default_authtok = x\n")
    said = without_secrets(f"bad password {CANARY} in {json.dumps({'p': CANARY})}, ldap_uri = ldap://nas")
    assert said == 'bad password <secret> in {"p": "<secret>"}, ldap_uri = ldap://nas'
    assert without_secrets("line MIGHAgEAMBMGByqGSM49 of -----BEGIN PRIVATE KEY-----") == (
        "line <secret> of -----BEGIN PRIVATE KEY-----"
    )
    assert os.environ.get("READER") is None
