"""Programs that know better than files what they have done (kubeadm): planned by the answer to one question.

The escape hatch: use it only where no other resource fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic, TypeVar

from deskside.model.action import ActionResult, RunCommand, Text
from deskside.model.query import Query
from deskside.model.resource import Change, Disruption, HostReader

A = TypeVar("A")


@dataclass(frozen=True)
class Command(Generic[A]):
    """A program that is run unless `done` says yes to what the host answers to `asks`."""

    subject: str
    argv: tuple[str, ...]
    _: KW_ONLY
    asks: Query[A]
    done: Callable[[A], bool]
    summary: str
    stdin: Text = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    """Seconds, for one attempt."""
    disruption: Disruption = Disruption.NONE
    attempts: int = 1
    result: Callable[[Sequence[ActionResult]], object] | None = None
    """Makes the typed result of the step from what the program printed."""

    async def plan(self, host: HostReader) -> Change | None:
        """The run, or None when it is done."""
        if self.done(await host.read(self.asks)):
            return None
        run = RunCommand(self.argv, self.stdin, self.env, self.timeout, attempts=self.attempts)
        return Change(self.subject, self.summary, (run,), disruption=self.disruption, result=self.result)
