"""How a run ended, node by node. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from deskside.errors import DesksideError, Interrupted
from deskside.model.event import NodeStatus


@dataclass(frozen=True)
class NodeResult:
    """How one node ended. WAITING: the run was stopped before it began."""

    node: str
    """`step@host`."""
    step: str
    host: str
    title: str
    status: NodeStatus
    changes: int = 0
    """Changes that were made, also by a node that failed later."""
    reason: str = ""
    error: DesksideError | None = None
    seconds: float = 0.0
    cause: str = ""
    """Of a skipped node: id of the failed node that it waited for."""

    @property
    def hint(self) -> str:
        """The next command, where the error has one."""
        return self.error.hint if self.error else ""


@dataclass(frozen=True)
class RunResult:
    """How a run ended; `nodes` in plan order."""

    run: str
    nodes: tuple[NodeResult, ...]
    interrupted: bool
    seconds: float
    log: str

    @property
    def ok(self) -> bool:
        """Everything is as the site file says."""
        return all(node.status in (NodeStatus.DONE, NodeStatus.UNCHANGED) for node in self.nodes)

    @property
    def changes(self) -> int:
        """Changes that were made."""
        return sum(node.changes for node in self.nodes)

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes by the status that they ended in."""
        found = [node.status for node in self.nodes]
        return {status.value: found.count(status) for status in NodeStatus if status in found}

    @property
    def failures(self) -> tuple[NodeResult, ...]:
        """Failed nodes, in plan order."""
        return tuple(node for node in self.nodes if node.status is NodeStatus.FAILED)

    @property
    def error(self) -> DesksideError | None:
        """What the command ends with: Interrupted, else the error of the first failed node, else None."""
        if self.interrupted and not self.ok:
            return Interrupted("the run was stopped; what had begun was finished")
        return self.failures[0].error if self.failures else None
