"""What is going on, gathered from events: shared by the listeners that show a moment rather than an event."""

from __future__ import annotations

from dataclasses import dataclass, field

from deskside.model.event import Event, NodeChanged, NodeStatus, Progress, RunEnded, RunStarted
from deskside.ui.words import clean, count, duration


@dataclass
class Row:
    """One host: the step that runs there since when, and what it does or waits for."""

    host: str
    step: str = ""
    since: float = 0.0
    doing: str = ""


@dataclass
class Board:
    """The moment. `at` are seconds since 1970."""

    begun: float = 0.0
    total: int = 0
    counts: dict[NodeStatus, int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    ended: bool = False
    in_a_row: int = 0
    """Steps of the longest way that is left, at least."""

    def take(self, event: Event) -> None:
        """Take an event into account."""
        self.begun = self.begun or event.at
        match event:
            case RunStarted():
                self.begun, self.total, self.in_a_row = event.at, event.nodes, event.in_a_row
                self.rows = {host: Row(host) for host in event.hosts}
            case NodeChanged():
                self._take_node(event)
            case Progress():
                self._row(event.host).doing = clean(event.text)
            case RunEnded():
                self.ended = True

    @property
    def finished(self) -> int:
        """Nodes that have ended, however."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Nodes that failed."""
        return self.counts.get(NodeStatus.FAILED, 0)

    @property
    def busy(self) -> tuple[Row, ...]:
        """Hosts on which a step runs, or something without a step goes on."""
        with_step = tuple(row for row in self.rows.values() if row.step)
        return with_step or tuple(row for row in self.rows.values() if row.doing not in ("", "finished"))

    @property
    def ahead(self) -> str:
        """What must follow one another until the end; empty where that is not known, or nothing."""
        return f"at least {self.in_a_row} more in a row" if self.in_a_row else ""

    def _take_node(self, event: NodeChanged) -> None:
        self.in_a_row = event.in_a_row
        row = self._row(event.host)
        if event.status is NodeStatus.RUNNING:
            row.step, row.since, row.doing = event.step, event.at, ""
        elif event.status is not NodeStatus.WAITING:
            self.counts[event.status] = self.counts.get(event.status, 0) + 1
            if row.step == event.step:
                row.step, row.doing = "", ""

    def _row(self, host: str) -> Row:
        return self.rows.setdefault(host, Row(host))


def ending(event: NodeChanged) -> str:
    """How a node ended, without its name: `done, 3 changes in 12 s`."""
    match event.status:
        case NodeStatus.DONE:
            return f"done, {count(event.changes, 'change')} in {duration(event.seconds)}"
        case NodeStatus.UNCHANGED:
            return "already in step"
        case NodeStatus.FAILED:
            return f"FAILED after {duration(event.seconds)}: {clean(event.reason)}"
        case NodeStatus.SKIPPED:
            return f"skipped {clean(event.reason)}"
        case NodeStatus.RUNNING:
            return f"{event.title} ..."
        case NodeStatus.WAITING:
            return "waiting"


def counted(counts: dict[str, int]) -> str:
    """Nodes by status in words: `12 done, 3 already in step`."""
    words = {"unchanged": "already in step", "waiting": "not begun"}
    return ", ".join(f"{number} {words.get(status, status)}" for status, number in counts.items())
