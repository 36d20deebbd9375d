"""Whether a change is one that a saved plan approved. Decides for one run; asks and changes nothing.

A change is covered when it is the one that was approved: same subject, same words, same differences, same
actions, at no higher cost. It need not be the same where the plan itself moved the facts:

- What the plan did not know yet (`Deferred`) may be done, for at most a restart.
- Something of the plan has been made already, by this run or by one before it, on the same host or in a step
  that this one waits for or that waits for this one. Then an approved change may differ in words and actions
  (of three packages one came with another), but never in the differences that were shown, nor in its cost.
- It only waits, and changes nothing. What a host is waited for may have come meanwhile, or gone.
- This run has begun to act there. Then something that is neither in the plan nor in what was found when the
  run began follows from it, and may be done for at most what was approved for the step on that host.

Whatever had moved before the run began is refused, whatever the run does afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deskside.engine.graph import Graph, GraphNode
from deskside.engine.planner import Plan
from deskside.engine.saved import SavedChange, SavedNode, SavedPlan, change_digest
from deskside.model.resource import Change, Disruption
from deskside.site.secrets import Secret


@dataclass(frozen=True)
class Moved:
    """A change that is not the one that was approved."""

    node: str
    subject: str
    reason: str
    """What was approved and what it is now, as the end of a sentence."""


@dataclass
class Agreement:
    """What a saved plan approves in one run."""

    saved: SavedPlan
    key: Secret
    graph: Graph
    found: Plan
    """What was found when the run began: nothing of it is this run's doing."""
    again: str
    """The command that makes the plan anew."""
    moved: tuple[Moved, ...] = field(init=False)
    """What had moved when the run began, in plan order."""
    _nodes: Mapping[str, SavedNode] = field(init=False)
    _made: frozenset[str] = field(init=False)
    _begun: set[str] = field(default_factory=set, init=False)
    _refused: frozenset[tuple[str, str]] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        self._nodes = {node.node: node for node in self.saved.nodes}
        self._made = frozenset(self._nodes_made())
        planned = {node.node: node.changes for node in self.found.nodes}
        self.moved = tuple(
            moved
            for node in self.graph.nodes
            for change in planned.get(node.id, ())
            if (moved := self._moved(node, change))
        )
        self._refused = frozenset((moved.node, moved.subject) for moved in self.moved)

    def began(self, node: GraphNode) -> None:
        """The run is about to make changes of that node."""
        self._begun.add(node.id)

    def refused(self, node: GraphNode, changes: Sequence[Change]) -> Moved | None:
        """The first that may not be made."""
        return next((moved for change in changes if (moved := self._moved(node, change))), None)

    def _nodes_made(self) -> set[str]:
        """Nodes of which an approved change is no longer due."""
        made = set()
        for plan in self.found.nodes:
            due = {item.subject for item in plan.items}
            saved = self._nodes.get(plan.node)
            if saved and plan.failure is None and any(change.subject not in due for change in saved.changes):
                made.add(plan.node)
        return made

    def _moved(self, node: GraphNode, change: Change) -> Moved | None:
        if change.waits:
            return None
        saved = self._nodes.get(node.id)
        listed = {item.subject: item for item in saved.changes} if saved else {}
        was = listed.get(change.subject)
        reason = self._listed(node, change, was) if was else self._unlisted(node, change, saved)
        return Moved(node.id, change.subject, reason) if reason else None

    def _listed(self, node: GraphNode, change: Change, was: SavedChange) -> str:
        if change.disruption > was.cost:
            return _costs(change, was.cost)
        if change_digest(node.id, change, self.key) == was.digest:
            return ""
        refused = (node.id, change.subject) in self._refused
        if not refused and change.diff == was.diff and self._near(node) & (self._made | self._begun):
            return ""
        if change.summary != was.summary:
            return f'"{was.summary}" was approved, now it is "{change.summary}"'
        what = "the differences that were shown" if change.diff != was.diff else "what would be done"
        return f'"{was.summary}" was approved, and {what} moved since'

    def _unlisted(self, node: GraphNode, change: Change, saved: SavedNode | None) -> str:
        most = saved.cost if saved else Disruption.NONE
        if saved and any(item.subject == change.subject for item in saved.deferred):
            return _costs(change, Disruption.RESTART) if change.disruption > Disruption.RESTART else ""
        if (node.id, change.subject) in self._refused or not self._near(node) & self._begun:
            return f'"{change.summary}" is not in the plan'
        return _costs(change, most) if change.disruption > most else ""

    def _near(self, node: GraphNode) -> frozenset[str]:
        """Nodes whose changes can move what this one finds."""
        beside = {other.id for other in self.graph.nodes if other.host.name == node.host.name}
        return self.graph.ancestors(node.id) | beside | self.graph.descendants(node.id)


def _costs(change: Change, most: Disruption) -> str:
    approved = "nothing" if most is Disruption.NONE else f"at most a {most.word}"
    return f'"{change.summary}" costs a {change.disruption.word}, and {approved} was approved for it'
