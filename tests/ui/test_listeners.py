from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading

import pytest
from rich.cells import cell_len
from rich.console import Console

from deskside.model.event import NodeStatus, Progress, RunStarted
from deskside.ui import make_listener
from deskside.ui.jsonlines import JsonLines
from deskside.ui.live import LiveDisplay
from deskside.ui.plain import PlainLines

from .events import Terminal, node, short_run


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rows(display: LiveDisplay, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    text = "".join(segment.text for segment in console.render(display.view()))
    return [line.rstrip() for line in text.splitlines()]


def test_plain_lines_of_a_run() -> None:
    stream = io.StringIO()
    with PlainLines(stream) as listener:
        for event in short_run():
            listener(event)
    assert stream.getvalue().splitlines() == [
        "    0.0s  apply: run 20261123T214501-1f4c, 5 steps on ws1, ws2",
        "    0.0s  ws2  waiting for gpu on ws1",
        "    0.1s  ws1  baseline: Do the baseline ...",
        "    0.4s  ws1  package conntrack, file /etc/hosts",
        "    3.2s  ws1  baseline: done, 2 changes in 3.1 s",
        "    3.3s  ws1  time: already in step",
        "    3.3s  ws1  gpu: Do the gpu ...",
        "   75.0s  ws1  gpu: FAILED after 1 min 12 s: installing the driver on ws1 failed: "
        "[bold]no space[/bold]",
        "   75.0s  ws1  hint: df -h /var",
        "   75.0s  ws2  desks: skipped because gpu on ws1 failed",
        "   75.0s  ended: 1 done, 1 already in step, 1 failed, 1 skipped, in 1 min 15 s",
    ]


def test_output_is_shown_when_verbose_and_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    with PlainLines(stream, verbose=True) as listener:
        for event in short_run():
            listener(event)
    assert "ws1  | Setting up \ufffd[31mconntrack\ufffd[0m\n" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_silence_is_broken_and_less_often_with_time() -> None:
    stream, clock = io.StringIO(), Clock()
    listener = PlainLines(stream, silence=10.0, now=clock)
    with listener:
        for event in short_run()[:4]:
            listener(event)
        said = []
        for _ in range(200):
            clock.now += 1
            before = len(stream.getvalue())
            listener.remind()
            if len(stream.getvalue()) > before:
                said.append(clock.now - 1000.0)
    assert said == [10.0, 30.0, 70.0, 130.0, 190.0]
    assert stream.getvalue().splitlines()[4] == (
        "   10.0s  still going on: ws1 baseline for 9.9 s (package conntrack, file /etc/hosts);"
        " at least 4 more in a row"
    )


def test_silence_between_steps_names_what_hosts_wait_for() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainLines(stream, now=clock) as listener:
        listener(RunStarted("r", "lab up", 0, (), at=1000.0))
        listener(Progress("recipes", "building containerd", at=1000.0))
        clock.now += 10
        listener.remind()
        assert "still going on: recipes building containerd" in stream.getvalue().replace("  ", " ")
        for event in short_run()[-1:]:
            listener(event)
        clock.now += 1000
        size = len(stream.getvalue())
        listener.remind()
        assert len(stream.getvalue()) == size


def test_the_thread_breaks_the_silence_and_ends() -> None:
    said = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if "still going on" in text:
                said.set()
            return super().write(text)

    before = threading.active_count()
    with PlainLines(Watched(), silence=0.02) as listener:
        listener(node("a@ws1", NodeStatus.RUNNING, 0.0))
        assert said.wait(5)
    assert threading.active_count() == before


def test_json_lines_are_the_events() -> None:
    stream = io.StringIO()
    with JsonLines(stream) as listener:
        for event in short_run():
            listener(event)
        listener.tell("stopping")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert records[:-1] == [json.loads(json.dumps(event.record())) for event in short_run()]
    assert (records[-1]["event"], records[-1]["text"]) == ("Notice", "stopping")


def test_live_rows_of_the_moment() -> None:
    clock = Clock()
    display = LiveDisplay(Terminal(), now=clock, refresh=False, width=80)
    with display:
        for event in short_run()[:4]:
            display(event)
        clock.now = 1072.0
        assert rows(display, 80) == [
            "ws1  baseline    1:11  package conntrack, file /etc/hosts",
            "ws2                    waiting for gpu on ws1",
            "0 of 5 steps  1:12  at least 4 more in a row",
        ]
        for event in short_run()[4:]:
            display(event)
        assert rows(display, 80)[-1].startswith("4 of 5 steps, 1 failed")


@pytest.mark.parametrize("width", [80, 40])
def test_live_rows_fit_the_terminal(width: int) -> None:
    display = LiveDisplay(Terminal(), now=Clock(), refresh=False, width=width)
    with display:
        display(RunStarted("r", "apply", 3, ("a-host-with-a-long-name", "ws2"), at=1000.0))
        display(node("a_step_with_quite_a_long_name@a-host-with-a-long-name", NodeStatus.RUNNING, 1000.0))
        display(Progress("a-host-with-a-long-name", "wide \u6f22\u5b57 " * 20, at=1000.0))
        shown = rows(display, width)
    assert all(cell_len(line) <= width for line in shown)
    assert len(shown) == (3 if width == 80 else 4)
    assert shown[0].startswith("a-host-with-a-l…  a_step_with")


def test_live_prints_what_ended_above_and_gives_the_cursor_back() -> None:
    stream = Terminal()
    with LiveDisplay(stream, refresh=False, width=100) as display:
        for event in short_run():
            display(event)
        display.tell("stopping")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "ws1  baseline  done, 2 changes in 3.1 s" in text
    assert "[bold]no space[/bold]" in text
    assert "hint: df -h /var" in text
    assert "skipped because gpu on ws1 failed" in text
    assert "stopping" in text
    assert "already in step" not in text
    assert "Setting up" not in text
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def test_no_color_is_respected_by_the_live_display() -> None:
    colours = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    for environ, coloured in ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False):
        stream = Terminal()
        with make_listener(stream=stream, environ=environ) as listener:
            for event in short_run():
                listener(event)
        assert bool(colours.search(stream.getvalue())) is coloured


def test_the_right_listener_is_chosen() -> None:
    xterm = {"TERM": "xterm-256color"}
    assert isinstance(make_listener(as_json=True, stream=Terminal(), environ=xterm), JsonLines)
    assert isinstance(make_listener(stream=Terminal(), environ=xterm), LiveDisplay)
    assert isinstance(make_listener(stream=io.StringIO(), environ=xterm), PlainLines)
    for environ in {"TERM": "dumb"}, {}, {"TERM": ""}:
        assert isinstance(make_listener(stream=Terminal(), environ=environ), PlainLines)


def test_rich_is_imported_by_the_live_display_only() -> None:
    modules = [
        "board",
        "errors",
        "findings",
        "jsonlines",
        "plain",
        "plan_text",
        "status_text",
        "style",
        "summary",
        "words",
    ]
    code = f"import sys, deskside.ui, {', '.join(f'deskside.ui.{name}' for name in modules)}; " + (
        "deskside.ui.make_listener(stream=sys.stderr, environ={}); sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
