"""Commands about the site file, which ask no host: validate, the graph, trust's flags; and bad files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli.running import EXAMPLE, Runner

BAD = (
    EXAMPLE.read_text().replace("10.20.0.12", "10.99.0.12").replace("site: lab.example", "site: Lab_Example")
)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD.replace("notebooks:", "notebook:"))
    return path


def test_a_good_file_is_said_to_be_good(deskside: Runner) -> None:
    ran = deskside("-f", EXAMPLE, "validate")
    assert ran.status == 0
    assert "no problems" in ran.out


def test_the_environment_names_the_site_file_and_the_flag_wins(
    deskside: Runner, bad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESKSIDE_SITE", str(bad))
    assert deskside("validate").status == 3
    assert deskside("-f", EXAMPLE, "validate").status == 0


def test_every_problem_of_a_bad_file_is_in_one_report(deskside: Runner, bad: Path) -> None:
    ran = deskside("-f", bad, "validate")
    assert ran.status == 3
    assert ran.out == ""
    *problems, error, hint = ran.err.splitlines()
    assert all(line.startswith(f"{bad}:") for line in problems)
    for field in ("site", "hosts[1].address", "notebook"):
        assert any(f" {field}:" in line for line in problems), field
    assert f"{len(problems)} problems" in error
    assert hint.startswith("hint: ")


def test_problems_as_json_are_the_problems_as_text(deskside: Runner, bad: Path) -> None:
    ran = deskside("-f", bad, "validate", "--json")
    assert ran.status == 3
    found = json.loads(ran.out)
    assert found["ok"] is False
    text = deskside("-f", bad, "validate").err
    for problem in found["problems"]:
        assert f"{problem['file']}:{problem['line']}: {problem['field']}: {problem['message']}" in text
    assert len(found["problems"]) == len(text.splitlines()) - 2
    assert json.loads(deskside("-f", EXAMPLE, "validate", "--json").out) == {"ok": True, "problems": []}


def test_a_warning_is_said_and_exits_well(deskside: Runner, tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(EXAMPLE.read_text().replace("roles: [worker]", "roles: [server, worker]", 1))
    ran = deskside("-f", path, "validate")
    assert ran.status == 0
    assert "warning" in ran.err
    problems = json.loads(deskside("-f", path, "validate", "--json").out)["problems"]
    assert [problem["warning"] for problem in problems] == [True]


def test_the_graph_asks_no_host(deskside: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a host was asked")

    monkeypatch.setattr("deskside.hosts.session.open_sessions", refuse)
    text = deskside("-f", EXAMPLE, "plan", "--graph", "text")
    assert text.status == 0
    assert "baseline" in text.out
    assert "(after metallb, local_path, homes)" in text.out
    dot = deskside("-f", EXAMPLE, "plan", "--graph", "dot")
    assert dot.status == 0
    assert dot.out.startswith("digraph")
    assert dot.out.rstrip().endswith("}")
    assert dot.out.count("->") > text.out.count("(after ")


@pytest.mark.parametrize(
    "command", ["validate", "plan", "apply", "check", "status", "verify", "kubeconfig", "trust"]
)
def test_a_file_that_cannot_be_read_is_said_by_every_command(
    deskside: Runner, command: str, tmp_path: Path
) -> None:
    for path, status in ((tmp_path / "none.yaml", 3), (tmp_path, 2), (Path("/proc/self/mem"), 3)):
        ran = deskside("-f", path, command)
        assert ran.status == status, path
        assert str(path) in ran.err
        assert ran.out == ""


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root reads every file; the case above has one that nobody reads"
)
def test_a_file_without_permission_is_said(deskside: Runner, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("")
    path.chmod(0)
    ran = deskside("-f", path, "validate")
    assert ran.status == 3
    assert "Permission denied" in ran.err


@pytest.mark.parametrize(
    "given", ["ws1", "ws1=", "ws1=MD5:aa:bb", "=SHA256:abc", "ws9=SHA256:abc", "nas=SHA256:abc"]
)
def test_a_fingerprint_of_another_form_is_refused_before_a_host_is_asked(
    deskside: Runner, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a host was asked")

    monkeypatch.setattr("deskside.app.trust.scan_host_key", refuse)
    ran = deskside("-f", EXAMPLE, "trust", "--fingerprint", given)
    assert ran.status == 2
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize(
    "arguments",
    [("plan", "--frob"), ("frob",), ("plan", "extra"), ("completion", "tcsh"), ("lab", "break", "x", "y")],
)
def test_what_the_command_line_does_not_know_is_a_usage_error(
    deskside: Runner, arguments: tuple[str, ...]
) -> None:
    ran = deskside(*arguments)
    assert ran.status == 2
    assert "Usage: deskside" in ran.err
    assert ran.out == ""


def test_unknown_costs_are_named_before_a_host_is_asked(deskside: Runner) -> None:
    ran = deskside("-f", EXAMPLE, "apply", "--yes", "--allow", "drain,frob")
    assert ran.status == 2
    assert "--allow frob: costs are none, restart, drain, reboot" in ran.err


def test_all_that_is_missing_beside_the_site_file_is_said_at_once(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOB_PASSWORD", raising=False)
    path = tmp_path / "site.yaml"
    tsig = "provider: router, server: 10.20.0.1, tsig: {name: deskside, secret: {file: dns.key}}"
    path.write_text(EXAMPLE.read_text().replace("dns: {provider: dnsmasq, on: ws1}", f"dns: {{{tsig}}}"))
    both = (f"{path}:12: network.dns.tsig.secret: ", ": identity.ca.file: ")
    for command, more in (
        ("plan", ()),
        ("status", ()),
        ("verify", (": verify.user.password: ", ": verify.outsider.password: a secret is asked from")),
    ):
        ran = deskside("-f", path, command)
        assert (ran.status, ran.out) == (3, "")
        *problems, error, hint = ran.err.splitlines()
        assert len(problems) == len(both) + len(more), ran.err
        assert all(any(words in line for line in problems) for words in (*both, *more)), ran.err
        assert error == f"error: {path} needs {len(problems)} things that are missing or cannot be used"
        assert hint == "hint: correct all of them and run the command again"
