"""A plan for a person: per host what would change, what is known only later, the cost, and the next command.

Signs: `+` something new, `~` something different, `-` something less, `?` known later, `!` not planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deskside.engine.planner import NodePlan, Plan
from deskside.model.action import (
    Action,
    InstallArtifact,
    InstallPackages,
    MakeClusterSecret,
    MakeDirectory,
    RemovePath,
)
from deskside.model.resource import Change, Disruption
from deskside.ui.style import Style, style_of
from deskside.ui.words import clean, clean_lines, count, listed

if TYPE_CHECKING:
    from deskside.engine.agreement import Agreement

SHORT = 12
"""Lines of a diff that are shown without -v."""
NEW: tuple[type[Action], ...] = (InstallArtifact, InstallPackages, MakeClusterSecret, MakeDirectory)


def plan_text(
    plan: Plan, *, verbose: bool = False, next_command: str = "deskside apply", style: Style | None = None
) -> str:
    """The plan as text, ending with a newline. An empty `next_command` leaves the last sentence out."""
    style = style_of() if style is None else style
    if plan.empty:
        return "Everything is as the site file says; nothing to do.\n"
    lines: list[str] = []
    for host in plan.hosts:
        mine = [node for node in plan.nodes if node.host == host]
        body = [*_changes(mine, verbose, style), *_later(mine, verbose, style), *_failures(mine, style)]
        if body:
            lines += [style.bold(host), *body, ""]
    still = [host for host in plan.hosts if all(_quiet(node) for node in plan.nodes if node.host == host)]
    if still:
        lines.append(f"In step already: {listed(still)}.")
    lines.append(_counts(plan))
    if next_command and (plan.changes or plan.deferred):
        lines.append(_next(plan, next_command))
    return "\n".join(lines) + "\n"


def moved_text(agreement: Agreement, *, style: Style | None = None) -> str:
    """Which plan is carried out, and what of the hosts moved since; ends with a newline."""
    style = style_of() if style is None else style
    saved, moved = agreement.saved, agreement.moved
    left = ": nothing is left to do" if agreement.found.empty else ""
    lines = [f"Approved in the plan of {_moment(saved.made)}: {count(saved.changes, 'change')}{left}."]
    if moved:
        nodes = len({item.node for item in moved})
        lines.append(style.bad(f"Moved since, so {count(nodes, 'step')} will fail, and what needs them:"))
        lines += [f"  {item.node}: {clean(item.subject)}: {clean(item.reason)}" for item in moved]
        lines.append(f"To see it and approve it: {agreement.again}")
    return "\n".join(lines) + "\n"


def _moment(made: str) -> str:
    return clean(made.replace("T", " ").removesuffix("Z")) + " UTC"


def sign(change: Change) -> str:
    """What kind of change it is, from what it does."""
    if change.diff.startswith("--- /dev/null"):
        return "+"
    kinds = {type(action) for action in change.actions}
    if kinds and all(issubclass(kind, RemovePath) for kind in kinds):
        return "-"
    return "+" if kinds and all(issubclass(kind, NEW) for kind in kinds) else "~"


def _quiet(node: NodePlan) -> bool:
    return not node.items and node.failure is None


def _changes(nodes: Sequence[NodePlan], verbose: bool, style: Style) -> Iterator[str]:
    colours = {"+": style.good, "-": style.bad, "~": style.warn}
    for node in nodes:
        if node.changes:
            yield f"  {node.step}: {style.dim(node.title)}"
        for change in node.changes:
            mark = sign(change)
            cost = change.disruption
            price = "" if cost is Disruption.NONE else "  " + style.bad(f"[{cost.word}]")
            yield f"    {colours[mark](mark)} {clean(change.subject)}: {clean(change.summary)}{price}"
            yield from _diff(change.diff, verbose, style)


def _diff(diff: str, verbose: bool, style: Style) -> Iterator[str]:
    lines = clean_lines(diff.rstrip("\n")) if diff else []
    if len(lines) > SHORT and not verbose:
        yield f"        {style.dim(f'({len(lines)} lines of differences: -v shows them)')}"
        return
    for line in lines:
        header = line.startswith(("---", "+++", "@@"))
        show = style.dim if header else {"+": style.good, "-": style.bad}.get(line[:1], style.dim)
        yield f"        {show(line)}"


def _later(nodes: Sequence[NodePlan], verbose: bool, style: Style) -> Iterator[str]:
    found = [(node.step, item) for node in nodes for item in node.deferred]
    if not found:
        return
    yield f"  {style.dim('known later')}"
    groups: dict[tuple[str, str], list[str]] = {}
    for step, item in found:
        groups.setdefault((step, clean(item.reason)), []).append(clean(item.subject))
    for (step, reason), subjects in groups.items():
        if len(subjects) > 3 and not verbose:
            yield f"    ? {step}, {count(len(subjects), 'thing')}: {reason}"
        else:
            yield from (f"    ? {subject}: {reason}" for subject in subjects)


def _failures(nodes: Sequence[NodePlan], style: Style) -> Iterator[str]:
    shown: set[str] = set()
    for node in nodes:
        if node.failure is None or node.failure.message in shown:
            continue
        shown.add(node.failure.message)
        yield f"    {style.bad('!')} {node.step} could not be planned: {clean(node.failure.message)}"
        if node.failure.hint:
            yield f"      hint: {clean(node.failure.hint)}"


def _counts(plan: Plan) -> str:
    hosts = sum(1 for host in plan.hosts if plan.changes_of(host))
    costs = [
        f"{number} with {cost.word}"
        for cost, number in plan.by_disruption().items()
        if cost is not Disruption.NONE
    ]
    parts = [
        count(plan.changes, "change")
        + (f" on {count(hosts, 'host')}" if hosts else "")
        + (f" ({', '.join(costs)})" if costs else "")
    ]
    if plan.deferred:
        parts.append(f"{plan.deferred} known only later")
    if plan.failures:
        parts.append(f"{count(len(plan.failures), 'step')} could not be planned")
    return "; ".join(parts) + "."


def _next(plan: Plan, command: str) -> str:
    costs = [cost.word for cost in plan.by_disruption() if cost >= Disruption.DRAIN]
    allow = f" (unattended: {command} --yes --allow {','.join(costs)})" if costs else ""
    return f"To make it so: {command}{allow}"
