"""What a run tells its listeners: the live display, plain lines, JSON lines, and the journal are listeners.

Events are values with a time in seconds since 1970; they carry no secret, and nobody waits for a listener.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from time import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from deskside.model.query import Json


class NodeStatus(StrEnum):
    """How far a node of the graph has come."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Event:
    """The root of all events."""

    at: float = field(default_factory=time, kw_only=True)

    def record(self) -> dict[str, Json]:
        """As JSON: `event` is the class's name, then the fields."""
        fields: dict[str, Json] = asdict(self)
        return {"event": type(self).__name__, **fields}


@dataclass(frozen=True)
class RunStarted(Event):
    """A run began."""

    run: str
    command: str
    nodes: int = 0
    hosts: tuple[str, ...] = ()
    in_a_row: int = 0
    """Nodes that must follow one another, at least: the length of the critical path."""


@dataclass(frozen=True)
class NodeChanged(Event):
    """A node took another status. `reason` says why it failed or was skipped."""

    node: str
    """`step@host`."""
    step: str
    host: str
    title: str
    status: NodeStatus
    changes: int = 0
    reason: str = ""
    hint: str = ""
    seconds: float = 0.0
    in_a_row: int = 0
    """Nodes that have not ended and must follow one another, at least."""


@dataclass(frozen=True)
class Progress(Event):
    """What a node or a piece of long work is doing or waiting for right now."""

    host: str
    text: str


@dataclass(frozen=True)
class OutputLine(Event):
    """A line that a machine printed (shown with -v)."""

    host: str
    text: str


@dataclass(frozen=True)
class RunEnded(Event):
    """A run ended; counts of nodes by status."""

    run: str
    ok: bool
    counts: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    seconds: float = 0.0
    log: str = ""


Listener: TypeAlias = Callable[[Event], None]
