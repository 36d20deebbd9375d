"""The commands `directory ...`, as far as they go without hosts."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cli.running import Runner
from cli.sites import misused, no_host, refused, write_site

NAME = "20261124T021500Z.ldif.gz"
COMMANDS = (("status",), ("backup",), ("backups",), ("restore", NAME, "--yes"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("directory", "frob"), "No such command 'frob'"),
        (("directory", "status", "ws1"), "unexpected extra argument"),
        (("directory", "backup", "--yes"), "No such option"),
        (("directory", "backups", NAME), "unexpected extra argument"),
        (("directory", "restore"), "Missing argument 'NAME'"),
        (("directory", "restore", NAME, NAME), "unexpected extra argument"),
    ],
)
def test_what_the_command_line_does_not_know(deskside: Runner, words: tuple[str, ...], said: str) -> None:
    misused(deskside(*words), said)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("kind", ["ldap", "synology", "okta"])
def test_a_directory_of_somebody_else_is_kept_by_somebody_else(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: tuple[str, ...]
) -> None:
    no_host(monkeypatch)
    ran = deskside("-f", write_site(tmp_path, kind), "directory", *words)
    refused(ran, 3, f"the directory of lab.example ({kind}) is run by somebody else", "back yours up where")


def test_a_restore_without_a_terminal_needs_yes(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_host(monkeypatch)
    ran = deskside("-f", write_site(tmp_path, "openldap"), "directory", "restore", NAME)
    refused(ran, 2, "there is no terminal to ask on", f"run: deskside directory restore {NAME} --yes")
    # For another kind there is nothing to ask either.
    ran = deskside("-f", write_site(tmp_path, "ldap"), "directory", "restore", NAME)
    refused(ran, 3, "is run by somebody else")


def test_a_silent_host_is_an_answer_of_status(deskside: Runner, tmp_path: Path) -> None:
    site = write_site(tmp_path, "openldap", "  replica: ws2\n")
    ran = deskside("-f", site, "directory", "status")
    assert ran.status == 5
    assert [line.split()[:3] for line in ran.out.splitlines()] == [
        ["HOST", "ROLE", "ANSWERS"],
        ["ws1", "first", "no"],
        ["ws2", "copy", "no"],
    ]
    assert "error: the directory on ws1 does not answer: " in ran.err
    assert "hint: " in ran.err
    found = json.loads(deskside("-f", site, "directory", "status", "--json").out)
    assert [(one["host"], one["answers"]) for one in found] == [("ws1", False), ("ws2", False)]


@pytest.mark.parametrize("words", COMMANDS[1:], ids=lambda words: words[0])
def test_silent_hosts_are_a_sentence(deskside: Runner, tmp_path: Path, words: tuple[str, ...]) -> None:
    refused(deskside("-f", write_site(tmp_path, "openldap"), "directory", *words), 4, "ws1")


def test_the_site_s_own_secrets_are_not_said(deskside: Runner, tmp_path: Path) -> None:
    site = write_site(tmp_path, "openldap")
    said = ""
    for words in (("plan",), ("user", "list"), ("directory", "status", "--json"), ("directory", "backups")):
        ran = deskside("-f", site, *words)
        said += ran.out + ran.err
    kept = [path for path in (tmp_path / "site-secrets").iterdir() if path.suffix in (".secret", ".key")]
    assert len(kept) > 3
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not any(line in said for line in path.read_text().splitlines() if not line.startswith("--"))
