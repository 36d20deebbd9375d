from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskside.app.status import HostStatus, ReleaseStatus, SiteStatus
from deskside.engine.journal import PastRun
from deskside.engine.outcome import NodeResult, RunResult
from deskside.engine.planner import NodePlan, Plan
from deskside.errors import DesksideError, Problem, SiteError, StepFailed, Unreachable
from deskside.model.action import Action, InstallPackages, RemovePath, RunCommand, WriteFile
from deskside.model.event import NodeStatus
from deskside.model.finding import Finding, Outcome
from deskside.model.platform import Certificate
from deskside.model.resource import Change, Deferred, Disruption
from deskside.site.secrets import Secret
from deskside.ui.errors import SHOWN, error_text
from deskside.ui.findings import finding_line, findings_text
from deskside.ui.plan_text import plan_text, sign
from deskside.ui.status_text import status_text
from deskside.ui.style import PLAIN, Style, style_of
from deskside.ui.summary import summary_text
from deskside.ui.words import clean, clock, duration

from .events import Terminal

DIFF = "--- /etc/hosts\n+++ /etc/hosts\n@@ -1 +1 @@\n-10.0.0.1 a\n+10.0.0.2 a\n"


def change(
    subject: str, summary: str, *actions: Action, cost: Disruption = Disruption.NONE, diff: str = ""
) -> Change:
    return Change(subject, summary, actions, disruption=cost, diff=diff)


def node(name: str, *items: Change | Deferred, failure: DesksideError | None = None) -> NodePlan:
    step, _, host = name.partition("@")
    return NodePlan(name, step, host, f"Do the {step}", items, failure)


PLAN = Plan(
    (
        node(
            "baseline@ws1",
            change("package conntrack", "install conntrack", InstallPackages(("conntrack",))),
            change("file /etc/hosts", "write (1 line differs)", WriteFile("h", Secret("s3")), diff=DIFF),
            change("file /etc/old", "remove", RemovePath("/etc/old")),
            change("unit x", "restart", RunCommand(("systemctl",)), cost=Disruption.RESTART),
        ),
        node("baseline@ws2"),
        node("baseline@ws3", failure=Unreachable("ws3 does not answer", hint="look at its cable")),
        node("reboot@ws1", change("kernel", "reboot", RunCommand(("reboot",)), cost=Disruption.REBOOT)),
        node("hub@ws1", *(Deferred(f"release {n}", "known after the cluster is up") for n in range(5))),
    )
)


def test_a_plan_per_host() -> None:
    assert plan_text(PLAN, style=PLAIN) == (
        "ws1\n"
        "  baseline: Do the baseline\n"
        "    + package conntrack: install conntrack\n"
        "    ~ file /etc/hosts: write (1 line differs)\n"
        "        --- /etc/hosts\n"
        "        +++ /etc/hosts\n"
        "        @@ -1 +1 @@\n"
        "        -10.0.0.1 a\n"
        "        +10.0.0.2 a\n"
        "    - file /etc/old: remove\n"
        "    ~ unit x: restart  [restart]\n"
        "  reboot: Do the reboot\n"
        "    ~ kernel: reboot  [reboot]\n"
        "  known later\n"
        "    ? hub, 5 things: known after the cluster is up\n"
        "\n"
        "ws3\n"
        "    ! baseline could not be planned: ws3 does not answer\n"
        "      hint: look at its cable\n"
        "\n"
        "In step already: ws2.\n"
        "5 changes on 1 host (1 with restart, 1 with reboot); 5 known only later; "
        "1 step could not be planned.\n"
        "To make it so: deskside apply (unattended: deskside apply --yes --allow reboot)\n"
    )


def test_a_plan_with_nothing_to_do() -> None:
    text = plan_text(Plan((node("a@ws1"), node("a@ws2"))), style=PLAIN)
    assert text == "Everything is as the site file says; nothing to do.\n"


def test_long_diffs_wait_for_verbose_and_deferred_are_listed_then() -> None:
    long = "--- /dev/null\n+++ /etc/x\n" + "".join(f"+line {n}\n" for n in range(40))
    plan = Plan((*PLAN.nodes[4:], node("f@ws1", change("file x", "write", WriteFile("x", ""), diff=long))))
    text = plan_text(plan, style=PLAIN)
    assert "+ file x: write\n        (42 lines of differences: -v shows them)\n" in text
    loud = plan_text(plan, verbose=True, style=PLAIN)
    assert "        +line 39\n" in loud
    assert loud.count("? release") == 5
    assert "To make it so" not in plan_text(plan, next_command="", style=PLAIN)


def test_no_secret_and_no_escape_of_a_machine_is_in_a_plan() -> None:
    evil = change("file \x1b[2Jx", "write\r\nmore", WriteFile("x", Secret("hunter2")), diff="+\x1b]0;x\x07\n")
    text = plan_text(Plan((node("a@ws1", evil),)), verbose=True, style=PLAIN)
    assert "hunter2" not in text
    assert not set(text) & {"\x1b", "\x07", "\r"}


def test_signs() -> None:
    assert sign(change("a", "", RemovePath("x"), RemovePath("y"))) == "-"
    assert sign(change("a", "", RemovePath("x"), WriteFile("y", ""))) == "~"
    assert sign(change("a", "")) == "~"
    assert sign(change("a", "", WriteFile("y", ""), diff="--- /dev/null\n")) == "+"


FINDINGS = (
    Finding("ports", "ws1", Outcome.OK, "all ports are free", seconds=0.01),
    Finding("disk", "ws2", Outcome.WARNING, "8 GiB are free", "grow it: lvextend"),
    Finding("spawn", "hub", Outcome.FAILED, "no desk came up", "kubectl get events", 12.4),
    Finding("login", "site", Outcome.NOT_RUN, "no user is named", "write verify.user"),
)


def test_findings_worst_first() -> None:
    assert findings_text(FINDINGS, style=PLAIN) == (
        "FAILED   spawn  hub   no desk came up (12 s)\n"
        "         hint: kubectl get events\n"
        "not run  login  site  no user is named\n"
        "         hint: write verify.user\n"
        "warning  disk   ws2   8 GiB are free\n"
        "         hint: grow it: lvextend\n"
        "ok       ports  ws1   all ports are free\n"
        "4 checks: 1 failed, 1 not run, 1 warning, 1 ok\n"
    )
    assert findings_text((), style=PLAIN) == "no checks\n"
    assert finding_line(FINDINGS[0], style=PLAIN) == "ok       ports  ws1  all ports are free"


def result_of(*nodes: NodeResult, interrupted: bool = False) -> RunResult:
    return RunResult("20261123T214501-1f4c", nodes, interrupted, 243.0, "/runs/r/log")


def ended(name: str, status: NodeStatus, **fields: object) -> NodeResult:
    step, _, host = name.partition("@")
    return NodeResult(name, step, host, step, status, **fields)  # type: ignore[arg-type]


def test_the_summary_names_failures_first_then_log_and_next_command() -> None:
    error = StepFailed("installing the driver on ws2 failed: no space", hint="df -h")
    result = result_of(
        ended("a@ws1", NodeStatus.DONE, changes=3, seconds=130.0),
        ended("gpu@ws2", NodeStatus.FAILED, changes=1, reason=error.message, error=error, seconds=5.0),
        ended("b@ws2", NodeStatus.SKIPPED, reason="because gpu on ws2 failed", cause="gpu@ws2"),
    )
    assert summary_text(result, style=PLAIN) == (
        "FAILED  gpu on ws2: installing the driver on ws2 failed: no space\n"
        "        hint: df -h\n"
        "        skipped because of it: b on ws2\n"
        "\n"
        "1 step failed; all that did not depend on it went on.\n"
        "3 steps: 1 done, 1 failed, 1 skipped; 4 changes made in 4 min 3 s.\n"
        "Longest: a on ws1 2 min 10 s.\n"
        "Log: /runs/r/log\n"
        "Next: deskside apply  (it goes on from there)\n"
    )


def test_the_summary_of_a_good_and_of_a_stopped_run() -> None:
    good = summary_text(result_of(ended("a@ws1", NodeStatus.UNCHANGED)), style=PLAIN)
    assert good == (
        "Everything is as the site file says.\n"
        "1 step: 1 already in step; 0 changes made in 4 min 3 s.\n"
        "Log: /runs/r/log\n"
        "Next: deskside verify\n"
    )
    nodes = (ended("a@ws1", NodeStatus.DONE, changes=1), ended("b@ws1", NodeStatus.WAITING))
    stopped = summary_text(result_of(*nodes, interrupted=True), style=PLAIN)
    assert stopped.startswith("Stopped; what had begun was finished.\n2 steps: 1 not begun, 1 done;")


def test_errors_say_every_problem_one_sentence_and_a_hint() -> None:
    problems = (
        Problem("site.yaml", 3, "hosts[0].nam", "no such field", "did you mean name?"),
        Problem("site.yaml", 0, "", "an even number of servers", warning=True),
    )
    assert error_text(SiteError("site.yaml has 1 problem", problems=problems), style=PLAIN) == (
        "site.yaml:3: hosts[0].nam: no such field; did you mean name?\n"
        "site.yaml: warning: an even number of servers\n"
        "error: site.yaml has 1 problem\n"
        "hint: correct the file and run: deskside validate\n"
    )
    assert (
        error_text(DesksideError("no\x1b[2J", detail="secret output"), style=PLAIN) == "error: no\ufffd[2J\n"
    )


def test_the_first_problems_of_very_many_are_shown() -> None:
    problems = [
        Problem("site.yaml", line, "hosts", "is no list", "write a list") for line in range(1, 30_000)
    ]
    lines = error_text(SiteError("29999 problems", problems=problems), style=PLAIN).splitlines()
    assert len(lines) == SHOWN + 3
    assert lines[-3:-1] == ["and 29799 more problems", "error: 29999 problems"]


def test_colour_is_for_terminals_that_want_it() -> None:
    xterm = {"TERM": "xterm"}
    assert style_of(Terminal(), xterm).colour
    assert not style_of(Terminal(), xterm | {"NO_COLOR": "1"}).colour
    assert not style_of(Terminal(), {"TERM": "dumb"}).colour
    assert style_of(io.StringIO(), xterm) == PLAIN
    assert "\x1b[31m[reboot]" in plan_text(PLAN, style=Style(colour=True))
    assert "\x1b" not in plan_text(PLAN, style=Style(colour=False))


def test_status_on_one_screen() -> None:
    found = SiteStatus(
        site="lab.example",
        train="2026-11",
        hosts=(
            HostStatus("ws1", "10.0.0.11", ("server", "worker"), True, "Debian 12", "", "Ready", "v1.36", 1),
            HostStatus("ws10", "10.0.0.12", ("worker",), False, reason="ws10 does not answer"),
        ),
        releases=(ReleaseStatus("hub", "jupyterhub", "deployed", "jupyterhub-4.3"),),
        certificates=(
            Certificate("ws1", "apiserver", 1000.0 + 5 * 86400),
            Certificate("ws1", "ca", 1000.0 + 3000 * 86400),
        ),
        plan=Plan((node("a@ws1", change("file /etc/hosts", "write", WriteFile("x", ""))),)),
        last=PastRun("r", "apply", 1000.0, 1060.0, True, 3, {"done": 3}, {}, (), Path("/runs/r/log")),
        address="http://10.0.0.200",
    )
    assert status_text(found, now=datetime.fromtimestamp(1000.0, UTC), style=PLAIN) == (
        "lab.example  train 2026-11  http://10.0.0.200\n"
        "\n"
        "  ws1   10.0.0.11  server, worker  Ready      v1.36  Debian 12  1 change due\n"
        "  ws10  10.0.0.12  worker          no answer\n"
        "  ! ws10: ws10 does not answer\n"
        "\n"
        "releases\n"
        "  hub/jupyterhub  deployed  jupyterhub-4.3\n"
        "\n"
        "certificates\n"
        "  ! ws1 apiserver: 5 days left\n"
        "  1 other is good for 3000 days or more (the next: ca on ws1)\n"
        "\n"
        "Out of step: file /etc/hosts. See: deskside plan\n"
        "The last run, apply of 1970-01-01 00:16 UTC, ended well.\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text", "ticks"),
    [
        (-1, "0.0 s", "0:00"),
        (0.04, "0.0 s", "0:00"),
        (9.96, "10 s", "0:09"),
        (59.7, "1 min 0 s", "0:59"),
        (185, "3 min 5 s", "3:05"),
        (3599.9, "1 h 0 min", "59:59"),
        (4800, "1 h 20 min", "1:20:00"),
    ],
)
def test_durations(seconds: float, text: str, ticks: str) -> None:
    assert (duration(seconds), clock(seconds)) == (text, ticks)


@given(st.text())
def test_clean_text_is_one_line_that_any_terminal_can_show(text: str) -> None:
    shown = clean(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    shown.encode()
