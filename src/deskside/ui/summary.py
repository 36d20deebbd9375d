"""The end of a run: failures first, what they held up, counts and times, the log, and the next command."""

from __future__ import annotations

from collections.abc import Iterator

from deskside.engine.outcome import NodeResult, RunResult
from deskside.model.event import NodeStatus
from deskside.ui.board import counted
from deskside.ui.style import Style, style_of
from deskside.ui.words import clean, count, duration, listed

LONG = 10.0
"""Seconds from which a step is worth naming."""


def summary_text(
    result: RunResult,
    *,
    next_command: str = "deskside verify",
    again_command: str = "deskside apply",
    style: Style | None = None,
) -> str:
    """How the run ended, as text that ends with a newline."""
    style = style_of() if style is None else style
    lines = [line for node in result.failures for line in _failure(node, result, style)]
    if lines:
        lines.append("")
    verdict = _verdict(result)
    lines.append((style.good if result.ok else style.bad)(verdict))
    lines.append(f"{_steps(result)}; {count(result.changes, 'change')} made in {duration(result.seconds)}.")
    longest = sorted((node for node in result.nodes if node.seconds >= LONG), key=lambda node: -node.seconds)[
        :3
    ]
    if longest:
        named = [f"{node.step} on {node.host} {duration(node.seconds)}" for node in longest]
        lines.append(f"Longest: {', '.join(named)}.")
    lines.append(f"Log: {result.log}")
    if result.ok:
        lines.append(f"Next: {next_command}")
    else:
        lines.append(f"Next: {again_command}  (it goes on from there)")
    return "\n".join(lines) + "\n"


def _failure(node: NodeResult, result: RunResult, style: Style) -> Iterator[str]:
    yield f"{style.bad('FAILED')}  {node.step} on {node.host}: {clean(node.reason)}"
    if node.hint:
        yield f"        hint: {clean(node.hint)}"
    held_up = [f"{other.step} on {other.host}" for other in result.nodes if other.cause == node.node]
    if held_up:
        yield f"        skipped because of it: {listed(held_up)}"


def _verdict(result: RunResult) -> str:
    if result.ok:
        return "Everything is as the site file says."
    if result.interrupted:
        return "Stopped; what had begun was finished."
    them = "it" if len(result.failures) == 1 else "them"
    return f"{count(len(result.failures), 'step')} failed; all that did not depend on {them} went on."


def _steps(result: RunResult) -> str:
    waiting = result.counts.get(NodeStatus.WAITING.value, 0)
    total = count(len(result.nodes), "step")
    return f"{total}: {counted(result.counts)}" if result.counts or waiting else total
