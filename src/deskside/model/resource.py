"""A resource is the desired state of one thing on one host; a change is the difference, as data.

The planner hands a `HostReader` to `plan`; it cannot write. A change carries the actions that would make it,
so a plan shows what will run, and the executor needs to know no resource (decision 0001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeVar, overload

from deskside.model.action import Action, ActionResult
from deskside.model.artifact import Locked
from deskside.model.query import Query

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Disruption(IntEnum):
    """What a change costs the people on the machine; ordered, so that sums are maxima."""

    NONE = 0
    RESTART = 1
    DRAIN = 2
    REBOOT = 3

    @property
    def word(self) -> str:
        """As typed after `--allow`."""
        return self.name.lower()


@dataclass(frozen=True)
class Change:
    """What would be done to bring one subject to its desired state."""

    subject: str
    summary: str
    """One line, without the host's name: `write (3 lines differ)`, `install conntrack`."""
    actions: tuple[Action, ...]
    sends: tuple[Locked, ...] = ()
    """Artifacts that must lie in the host's staging before the actions run."""
    disruption: Disruption = Disruption.NONE
    diff: str = ""
    """Unified diff for people; a secret's content never stands here."""
    result: Callable[[Sequence[ActionResult]], object] | None = None
    """Makes the typed result that the step `gives` from what the actions printed."""
    confirm: tuple[Action, ...] = ()
    """Carried out over a *new* connection after `actions`; without them the host takes the change back."""
    waits: bool = False
    """Its actions wait for something and change nothing; what is waited for may differ a moment later."""


@dataclass(frozen=True)
class Deferred:
    """Cannot be planned yet: the facts that it depends on do not exist."""

    subject: str
    reason: str
    """As `known after the cluster is up`."""


class HostReader(Protocol):
    """A host that can be asked. What is asked in one turn of the event loop goes out as one script."""

    @property
    def name(self) -> str:
        """The host's name in the site file."""

    @overload
    async def read(self, first: Query[A], /) -> A: ...
    @overload
    async def read(self, first: Query[A], second: Query[B], /) -> tuple[A, B]: ...
    @overload
    async def read(self, first: Query[A], second: Query[B], third: Query[C], /) -> tuple[A, B, C]: ...

    async def read_all(self, queries: Sequence[Query[A]], /) -> tuple[A, ...]:
        """Several questions of one kind. Raises Unreachable, or StepFailed when a question itself failed."""


class HostWriter(HostReader, Protocol):
    """A host that can be changed. One writer per host at a time; the executor sees to it."""

    async def send(self, artifact: Locked) -> None:
        """Bring an artifact into the host's staging folder, verified by digest; nothing when it is there."""

    async def reconnect(self) -> None:
        """Log in anew; the old connection is closed once the new one stands.

        Raises Unreachable when the host lets no new connection in; the old one is kept then.
        """

    async def perform(
        self, actions: Sequence[Action], *, title: str, deadline: float
    ) -> tuple[ActionResult, ...]:
        """Carry out actions in order in one detached run, which ends by `deadline` (seconds).

        Raises StepFailed (with what the machine said) at the first action that fails, Busy when somebody
        else holds what it needs, Unreachable when the connection is lost and cannot be made again.
        """


class Resource(Protocol):
    """The desired state of one thing on one host (or of one object in the cluster)."""

    @property
    def subject(self) -> str:
        """Stable name: `file /etc/hosts`, `package conntrack`, `release hub/jupyterhub`."""

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """The difference, or None when there is none. Asks once (one `await host.read...`)."""
