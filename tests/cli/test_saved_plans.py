"""A plan that is kept in a file, at the command line; what it approves is tested with the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli.running import EXAMPLE, Runner
from deskside.app.outline import outline
from deskside.app.workspace import Workspace
from deskside.engine.agreement import Agreement
from deskside.engine.planner import NodePlan, Plan
from deskside.errors import DesksideError, Unreachable
from deskside.model.action import RunCommand
from deskside.model.resource import Change

NODE = "baseline@ws1"
CHANGE = Change("file /etc/motd", "write", (RunCommand(("true",)),), diff="+hello")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The example, in a folder that may be written to."""
    shutil.copytree(EXAMPLE.parent, tmp_path / "lab")
    return tmp_path / "lab" / EXAMPLE.name


def proposing(
    monkeypatch: pytest.MonkeyPatch, *changes: Change, failure: DesksideError | None = None
) -> list[Agreement | None]:
    """Put a plan in place of looking at hosts; what would be carried out, as it comes."""
    agreements: list[Agreement | None] = []

    @asynccontextmanager
    async def proposed(workspace: Workspace, *_: object, **__: object) -> AsyncIterator[SimpleNamespace]:
        plan = Plan((NodePlan(NODE, "baseline", "ws1", "Baseline", changes, failure),) if changes else ())
        yield SimpleNamespace(
            workspace=workspace,
            plan=plan,
            graph=outline(workspace),
            findings=(),
            refusal=None,
            silent_error=None,
        )

    async def carry_out(*given: object) -> None:
        agreed = given[-1]
        assert agreed is None or isinstance(agreed, Agreement)
        agreements.append(agreed)
        raise DesksideError("carried out")

    monkeypatch.setattr("deskside.app.runs.proposed", proposed)
    monkeypatch.setattr("deskside.app.runs.carry_out", carry_out)
    return agreements


def test_a_plan_is_kept_and_carried_out(
    deskside: Runner, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreements = proposing(monkeypatch, CHANGE)
    ran = deskside("-f", site, "plan", "--out", "lab.plan")
    assert ran.status == 0
    assert "deskside apply lab.plan" in ran.out
    kept = Path("lab.plan")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["nodes"][0]["changes"][0]["subject"] == CHANGE.subject
    ran = deskside("-f", site, "apply", "lab.plan")
    assert (ran.status, agreements) == (2, [])
    assert "deskside apply lab.plan --yes" in ran.err
    ran = deskside("-f", site, "apply", "lab.plan", "--yes")
    assert "error: carried out" in ran.err
    assert "Approved in the plan of 20" in ran.out
    (agreed,) = agreements
    assert agreed is not None
    assert agreed.moved == ()


def test_what_moved_is_shown_before_anything_is_asked(
    deskside: Runner, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposing(monkeypatch, CHANGE)
    deskside("-f", site, "plan", "--out", "a plan")
    proposing(monkeypatch, replace(CHANGE, diff="+goodbye"))
    ran = deskside("-f", site, "apply", "a plan")
    assert f"{NODE}: file /etc/motd: " in ran.out
    assert "deskside plan --out 'a plan'" in ran.out
    said = json.loads(deskside("-f", site, "apply", "a plan", "--json").out)
    assert [moved["node"] for moved in said["moved"]] == [NODE]


def test_a_plan_that_is_not_whole_is_not_kept(
    deskside: Runner, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposing(monkeypatch, CHANGE, failure=Unreachable("ws1 is silent"))
    ran = deskside("-f", site, "plan", "--out", "lab.plan")
    assert ran.status == 4
    assert "The plan was not written to lab.plan" in ran.err
    assert "deskside apply" not in ran.out + ran.err
    assert not Path("lab.plan").exists()


def test_a_plan_of_another_site_file_or_of_none_is_refused(
    deskside: Runner, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreements = proposing(monkeypatch, CHANGE)
    deskside("-f", site, "plan", "--out", "lab.plan")
    site.write_text(site.read_text() + "# a word more\n")
    for name, said in (
        ("lab.plan", "of another content of the site file"),
        ("absent.plan", "absent.plan cannot be read"),
        (str(site), "is no plan file"),
    ):
        ran = deskside("-f", site, "apply", name, "--yes")
        assert ran.status == 2
        assert said in ran.err
        assert "deskside plan --out" in ran.err
    before = site.read_text()
    ran = deskside("-f", site, "plan", "--out", site)
    assert (ran.status, site.read_text()) == (2, before)
    assert agreements == []


def test_steps_alone_are_no_plan_to_keep(deskside: Runner, site: Path) -> None:
    ran = deskside("-f", site, "plan", "--graph", "text", "--out", "lab.plan")
    assert ran.status == 2
    assert "--out" in ran.err


def test_no_host_is_asked_for_a_plan_that_cannot_be_kept(
    deskside: Runner, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deskside.app.runs.proposed", None)
    for out, said in (
        ("nowhere/lab.plan", "cannot be written to nowhere/lab.plan"),
        (site, "is no plan file"),
    ):
        ran = deskside("-f", site, "plan", "--out", out)
        assert (ran.status, ran.out) == (2, "")
        assert said in ran.err
