"""Every error ends as a sentence and its exit status, whatever raised it and where; never as a traceback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli.running import EXAMPLE, Runner
from deskside import errors
from deskside.app.workspace import Workspace
from deskside.engine.planner import NodePlan, Plan
from deskside.model.action import RunCommand
from deskside.model.resource import Change
from deskside.site.load import load
from deskside.site.secrets import Secret

CANARY = "canary-7f3a9b"
STATUSES = {
    "DesksideError": 1,
    "UsageError": 2,
    "FileError": 2,
    "SiteError": 3,
    "Unreachable": 4,
    "LoginRefused": 4,
    "PythonMissing": 4,
    "WrongMachine": 4,
    "CheckFailed": 5,
    "StepFailed": 6,
    "Busy": 6,
    "Locked": 7,
    "Interrupted": 130,
}


def tree(kind: type[errors.DesksideError] = errors.DesksideError) -> Iterator[type[errors.DesksideError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(Workspace, "open", fail)


@pytest.mark.parametrize("kind", list(tree()))
def test_each_class_has_its_status(
    deskside: Runner, monkeypatch: pytest.MonkeyPatch, kind: type[errors.DesksideError]
) -> None:
    raising(monkeypatch, kind("ws1 said no", hint="ask again"))
    ran = deskside("plan")
    assert ran.status == STATUSES[kind.__name__]
    assert ran.err == "error: ws1 said no\nhint: ask again\n"


def test_ctrl_c_is_130(deskside: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    ran = deskside("status")
    assert ran.status == 130
    assert "run the same command again" in ran.err


def test_the_system_s_refusals_are_a_sentence(deskside: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, PermissionError(13, "Permission denied", "/some/file"))
    ran = deskside("status")
    assert (ran.status, ran.err) == (1, "error: /some/file: Permission denied\n")


def test_a_fault_of_ours_is_a_sentence_and_a_report(
    deskside: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    ran = deskside("status")
    assert ran.status == 1
    assert "a fault of Deskside: ZeroDivisionError: division by zero" in ran.err
    [report] = tmp_path.glob("deskside-fault-*.txt")
    assert str(report) in ran.err
    assert "Traceback" in report.read_text()


def proposing(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    """Put a plan in place of looking at hosts."""
    proposal = SimpleNamespace(plan=plan, findings=(), refusal=None, silent_error=None)

    @asynccontextmanager
    async def proposed(*_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        yield proposal

    monkeypatch.setattr("deskside.app.runs.proposed", proposed)


def a_plan(failure: errors.DesksideError | None = None) -> Plan:
    change = Change("file /etc/motd", "write", (RunCommand(("true",)),))
    items = () if failure else (change,)
    return Plan((NodePlan("motd@ws1", "motd", "ws1", "Greet", items, failure),))


def test_apply_without_a_terminal_needs_yes(deskside: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise AssertionError("something was carried out")

    proposing(monkeypatch, a_plan())
    monkeypatch.setattr("deskside.app.runs.carry_out", refuse)
    ran = deskside("-f", EXAMPLE, "apply")
    assert ran.status == 2
    assert "there is no terminal to ask on" in ran.err
    assert "deskside apply --yes" in ran.err
    assert "file /etc/motd" in ran.out


def test_apply_with_nothing_to_do_asks_nobody(deskside: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    proposing(monkeypatch, Plan(()))
    assert deskside("-f", EXAMPLE, "apply").status == 0
    # Recorded all the same: the last run is no longer one that was killed and finished by its hosts.
    (journal,) = Path.cwd().rglob("journal.jsonl")
    assert '"ok": true' in journal.read_text().splitlines()[-1]


def test_plan_says_by_its_status_whether_there_is_something_to_do(
    deskside: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposing(monkeypatch, a_plan())
    assert deskside("-f", EXAMPLE, "plan").status == 0
    assert deskside("-f", EXAMPLE, "plan", "--exit-code").status == 10
    assert deskside("-f", EXAMPLE, "plan", "--exit-code", "--json").status == 10
    proposing(monkeypatch, Plan(()))
    assert deskside("-f", EXAMPLE, "plan", "--exit-code").status == 0
    proposing(monkeypatch, a_plan(errors.Unreachable("ws1 is silent")))
    assert deskside("-f", EXAMPLE, "plan", "--exit-code").status == 4


@pytest.fixture
def secretive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site on addresses where nobody listens, with a password in the environment."""
    monkeypatch.setenv("CANARY_PASSWORD", CANARY)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = (
        EXAMPLE.read_text()
        .replace("10.20.0.", "127.20.0.")
        .replace("{file: ann.secret}", "{env: CANARY_PASSWORD}")
    )
    text = text.replace("{env: BOB_PASSWORD}", "{env: CANARY_PASSWORD}").replace("ca: {file: nas-ca.pem}", "")
    path = tmp_path / "site.yaml"
    path.write_text(text)
    site = load(path).site
    assert site.verify.user is not None
    assert site.verify.user.password is not None
    assert site.verify.user.password.resolve(tmp_path).reveal() == CANARY
    return path


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("validate", "--json"), 0),
        (("plan", "-v"), 4),
        (("plan", "--json"), 4),
        (("check",), 4),
        (("apply", "--yes", "-v", "--json"), 4),
        (("status", "--json"), 4),
        (("verify",), 4),
        (("verify", "--json"), 4),
        (("kubeconfig",), 4),
        (("trust",), 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_no_command_shows_a_password_and_silent_hosts_end_in_a_sentence(
    deskside: Runner, secretive: Path, arguments: tuple[str, ...], status: int
) -> None:
    ran = deskside("-f", secretive, *arguments)
    assert ran.status == status
    assert CANARY not in ran.out + ran.err
    if status:
        assert "ws1" in ran.err
    for path in secretive.parent.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_a_fault_while_a_password_is_held_does_not_report_it(
    deskside: Runner, secretive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Secret] = []

    async def accept(*_: object, user: SimpleNamespace, **__: object) -> None:
        seen.append(user.password)
        raise ZeroDivisionError(f"with {user}, {user.password!r} and {user.password}")

    monkeypatch.setattr("deskside.app.acceptance.accept", accept)
    ran = deskside("-f", secretive, "verify")
    assert ran.status == 1
    assert [secret.reveal() for secret in seen] == [CANARY]
    [report] = secretive.parent.glob("deskside-fault-*.txt")
    assert CANARY not in ran.out + ran.err + report.read_text()
