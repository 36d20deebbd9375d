"""The command `group`, as far as it goes without real hosts; what it shares with `user` is tested there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.running import Runner
from cli.sites import misused, no_host, on_fake_host, refused, write_site
from deskside.hosts.fake import FakeHost
from deskside.model.query import Output
from deskside.resources.release import KUBECTL


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return on_fake_host(monkeypatch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("group", "frob"), "No such command 'frob'"),
        (("group", "list", "ai"), "unexpected extra argument"),
        (("group", "add"), "Missing argument 'NAME'"),
        (("group", "remove"), "Missing argument 'NAME'"),
        (("group", "remove", "ai", "vision"), "unexpected extra argument"),
        (("group", "join"), "Missing argument 'GROUP'"),
        (("group", "join", "ai"), "Missing argument 'USERS...'"),
        (("group", "leave", "ai"), "Missing argument 'USERS...'"),
    ],
)
def test_what_the_command_line_does_not_know(deskside: Runner, words: tuple[str, ...], said: str) -> None:
    misused(deskside(*words), said)


@pytest.mark.parametrize("name", ["1x", "a b", "a,cn=b", "a*", "a\nb", "\u00e4", "", "_a", "x" * 64])
def test_names_that_no_group_can_have(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    no_host(monkeypatch)
    ran = deskside("-f", write_site(tmp_path, "managed"), "group", "add", name)
    refused(ran, 2, f"{name!r} is no name of a group", "a letter first")


def test_without_a_terminal_a_removal_needs_yes(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_host(monkeypatch)
    ran = deskside("-f", write_site(tmp_path, "managed"), "group", "remove", "vision")
    refused(ran, 2, "run: deskside group remove vision --yes")


def test_groups_are_shown(deskside: Runner, tmp_path: Path, host: FakeHost) -> None:
    site = write_site(tmp_path, "read")
    assert "ann" in deskside("-f", site, "group", "list").out
    found = json.loads(deskside("-f", site, "group", "list", "--json").out)["groups"]
    assert [(one["name"], one["members"]) for one in found] == [("ai", ["ann"]), ("users", [])]
    assert host.done == []


@pytest.mark.parametrize(
    ("words", "document", "text"),
    [
        (
            ("add", "vision", "ann", "ann"),
            {"added": ["vision"], "members": ["ann"]},
            "the group vision was made",
        ),
        (("remove", "users", "--yes"), {"removed": [{"name": "users"}]}, "the group users was removed"),
        (
            ("join", "ai", "nobody2", "ann"),
            {"group": "ai", "joined": ["nobody2"], "there": ["ann"]},
            "nobody2 joined ai",
        ),
        (("join", "ai", "ann"), {"group": "ai", "joined": [], "there": ["ann"]}, "all were in ai already"),
    ],
)
def test_changes_are_said_in_both_ways(
    deskside: Runner,
    tmp_path: Path,
    host: FakeHost,
    words: tuple[str, ...],
    document: dict[str, object],
    text: str,
) -> None:
    site = write_site(tmp_path, "managed")
    ran = deskside("-f", site, "group", *words, "--json")
    assert (ran.status, json.loads(ran.out)) == (0, document)
    ran = deskside("-f", site, "group", *words)
    assert (ran.status, ran.out) == (0, f"{text}\n")
    assert len(host.done) == (0 if document.get("joined") == [] else 2)


def test_who_leaves_the_allowed_group_is_out_of_the_hub(
    deskside: Runner, tmp_path: Path, host: FakeHost
) -> None:
    site = write_site(tmp_path, "managed")
    refused(deskside("-f", site, "group", "leave", "ai", "ann"), 2, "would have no member", "group remove ai")
    assert host.done == []
    # Taken out the time before, when the hub did not answer.
    words = ("-f", site, "group", "leave", "ai", "nobody2")
    host.effect(KUBECTL[0], does=Output(1, "", "connection refused"))
    late = deskside(*words)
    assert (late.status, "run the same command again" in late.err) == (6, True)
    host.effect(KUBECTL[0], does=f"deskside {json.dumps({'nobody2': 'put out'})}\n")
    (found,) = json.loads(deskside(*words, "--json").out)["removed"]
    assert (found["directory"], found["hub"], found["at_once"]) == ("was not in ai", "put out", True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "ai"), "there is a group ai already"),
        (("add", "sudo", "ann"), "hosts give rights to its members"),
        (("add", "vision", "dan"), "nobody is called 'dan'"),
        (("add", "vision"), "need a member from the beginning"),
        (("remove", "vision", "--yes"), "the directory has no group 'vision'"),
        (("remove", "ai", "--yes"), "ai is the group of identity.allow"),
        (("join", "vision", "ann"), "the directory has no group 'vision'"),
        (("join", "ai", "nobody2", "dan"), "nobody is called 'dan'"),
        (("leave", "vision", "ann"), "the directory has no group 'vision'"),
    ],
)
def test_what_does_not_fit_the_directory_changes_nothing(
    deskside: Runner, tmp_path: Path, host: FakeHost, words: tuple[str, ...], said: str
) -> None:
    refused(deskside("-f", write_site(tmp_path, "managed"), "group", *words), 2, said)
    assert host.done == []
