"""A short run as events, at times of its own, for every listener."""

from __future__ import annotations

import io

from deskside.model.event import Event, NodeChanged, NodeStatus, OutputLine, Progress, RunEnded, RunStarted


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def node(name: str, status: NodeStatus, at: float, **fields: object) -> NodeChanged:
    step, _, host = name.partition("@")
    return NodeChanged(name, step, host, f"Do the {step}", status, at=at, **fields)  # type: ignore[arg-type]


def short_run() -> list[Event]:
    return [
        RunStarted("20261123T214501-1f4c", "apply", 5, ("ws1", "ws2"), 4, at=1000.0),
        Progress("ws2", "waiting for gpu on ws1", at=1000.0),
        node("baseline@ws1", NodeStatus.RUNNING, 1000.1, in_a_row=4),
        Progress("ws1", "package conntrack, file /etc/hosts", at=1000.4),
        OutputLine("ws1", "Setting up \x1b[31mconntrack\x1b[0m", at=1001.0),
        node("baseline@ws1", NodeStatus.DONE, 1003.2, changes=2, seconds=3.1, in_a_row=3),
        node("time@ws1", NodeStatus.UNCHANGED, 1003.3),
        node("gpu@ws1", NodeStatus.RUNNING, 1003.3),
        node(
            "gpu@ws1",
            NodeStatus.FAILED,
            1075.0,
            seconds=71.7,
            reason="installing the driver on ws1 failed: [bold]no space[/bold]",
            hint="df -h /var",
        ),
        node("desks@ws2", NodeStatus.SKIPPED, 1075.0, reason="because gpu on ws1 failed"),
        RunEnded(
            "20261123T214501-1f4c",
            False,
            {"done": 1, "unchanged": 1, "failed": 1, "skipped": 1},
            2,
            75.0,
            "/runs/log",
            at=1075.0,
        ),
    ]
