"""One node on its way to its desired state: plan again, act, look again. Knows no other node.

A node acts in rounds. A round plans the node, sends artifacts, and performs all changes in one detached run
on the host; the next round looks whether they took. A subject that was changed and differs still did not
take. A subject that differs only now (a unit whose file was just written) is a consequence, and gets a
round of its own, up to `ROUNDS`. A change with a `result` makes a value for this run alone and is made
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice

from deskside.engine.agreement import Agreement
from deskside.engine.approval import Approval
from deskside.engine.graph import GraphNode
from deskside.engine.planner import NodePlan, as_failure
from deskside.errors import Busy, Interrupted, StepFailed, Unreachable
from deskside.model.action import Action, ActionResult
from deskside.model.resource import Change, Disruption, HostWriter

ROUNDS = 4
"""Rounds of changes that one node may take; more means that two resources undo each other."""
BACK_OFF = (2.0, 5.0, 10.0)
"""Seconds before each further try, for the errors that may pass: Unreachable and Busy."""
GRACE = 30.0
"""Seconds beyond a step's deadline, so that the host's own report of running out of time comes first."""


@dataclass
class NodeWork:
    """What is done for one node; made anew for each."""

    node: GraphNode
    host: HostWriter
    plan: Callable[[], Awaitable[NodePlan]]
    """Plans the node again."""
    approval: Approval
    drains: asyncio.Lock
    """Held while something is drained or rebooted: one at a time in the whole site."""
    cancel: asyncio.Event
    report: Callable[[str], None]
    """Tells what is being done or waited for."""
    keep: Callable[[object], None]
    """Keeps what the step gives."""
    agreement: Agreement | None = None
    """Where a saved plan is carried out: what it approves, whatever `approval` allows."""
    made: int = 0
    """Changes that were made so far."""
    _ends: float = field(default=0.0, init=False)
    _given: set[str] = field(default_factory=set, init=False)
    _draining: bool = field(default=False, init=False)

    async def carry_out(self) -> None:
        """Bring the node to its desired state.

        Raises StepFailed when a change fails, is not approved, does not take, when something stays deferred,
        and when the deadline passes; Unreachable; Interrupted when the run was stopped before any change.
        """
        deadline = self.node.step.deadline
        self._ends = _now() + deadline
        limit = asyncio.timeout(deadline + GRACE)
        try:
            async with limit:
                await self._with_retries(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise StepFailed(
                f"{self.node.step.title} on {self.host.name} did not end within {deadline:g} seconds",
                hint="what it started may still go on there; run the same command again to join it",
            ) from None

    async def _with_retries(self, limit: asyncio.Timeout) -> None:
        for delay in BACK_OFF:
            try:
                return await self._settle(limit)
            except (Unreachable, Busy) as error:
                if self.cancel.is_set():
                    raise
                self.report(f"trying again in {delay:g} s: {error.message}")
                if await _set_within(self.cancel, delay):
                    raise
        return await self._settle(limit)

    async def _settle(self, limit: asyncio.Timeout) -> None:
        acted: set[str] = set()
        rounds = 0
        self._draining = False
        async with AsyncExitStack() as held:
            while changes := await self._wanted():
                self._refuse_unapproved(changes)
                self._refuse_repeated(changes, acted)
                if rounds == ROUNDS:
                    raise self._failed(f"still finds something else to change: {_subjects(changes)}")
                if await self._wait_for_turn(changes, held, limit):
                    continue  # others acted meanwhile: look again
                await self._act(changes)
                acted.update(change.subject for change in changes)
                rounds += 1

    async def _wanted(self) -> tuple[Change, ...]:
        """Changes that are due; checks, when there are none, that nothing stays deferred."""
        planned = await self.plan()
        if planned.failure is not None:
            raise planned.failure
        changes = tuple(change for change in planned.changes if change.subject not in self._given)
        if not changes and planned.deferred:
            first, more = planned.deferred[0], len(planned.deferred) - 1
            others = f" (and {more} more)" if more else ""
            raise StepFailed(
                f"{self.node}: {first.subject} cannot be done, although its turn has come: "
                f"{first.reason}{others}"
            )
        return changes

    def _refuse_unapproved(self, changes: Sequence[Change]) -> None:
        how = "went no further" if self.made else "was not begun"
        if self.agreement and (moved := self.agreement.refused(self.node, changes)):
            raise self._failed(
                f"{how}: {moved.subject}: {moved.reason}",
                hint=f"see what moved, and approve it: {self.agreement.again}",
            )
        refused = self.approval.refused(changes)
        if refused:
            raise self._failed(
                f"{how}: {refused[0].subject} ({refused[0].summary}) costs a "
                f"{refused[0].disruption.word}, which was not approved",
                hint=f"approve it: {self.approval.command} {self.approval.flag_for(refused)}",
            )

    def _refuse_repeated(self, changes: Sequence[Change], acted: set[str]) -> None:
        again = [change for change in changes if change.subject in acted]
        if again:
            raise StepFailed(
                f"{self.node.step.title} on {self.host.name} was carried out, but did not take: "
                f"{_subjects(again)}",
                hint="see what differs: deskside plan",
            )

    async def _wait_for_turn(
        self, changes: Sequence[Change], held: AsyncExitStack, limit: asyncio.Timeout
    ) -> bool:
        """Hold the right to drain, where needed. True when it was waited for; that time is not the step's."""
        if self._draining or all(change.disruption < Disruption.DRAIN for change in changes):
            return False
        waited = self.drains.locked()
        if waited:
            self.report("waiting: another host is being drained or rebooted")
        begun, ends = _now(), limit.when()
        limit.reschedule(None)
        await held.enter_async_context(self.drains)
        limit.reschedule(None if ends is None else ends + _now() - begun)
        self._ends += _now() - begun
        self._draining = True
        if self.cancel.is_set() and not self.made:
            raise Interrupted(f"{self.node} was not begun")
        return waited

    async def _act(self, changes: Sequence[Change]) -> None:
        if self.agreement:
            self.agreement.began(self.node)
        for artifact in {sent.sha256: sent for change in changes for sent in change.sends}.values():
            self.report(f"sending {artifact.name} {artifact.artifact.version}")
            await self.host.send(artifact)
        self.report(_subjects(changes))
        actions = [action for change in changes for action in change.actions]
        remaining = max(1.0, self._ends - _now())
        results = await self.host.perform(actions, title=self.node.step.title, deadline=remaining)
        if len(results) != len(actions):
            raise self._failed(f"sent {len(actions)} actions and got {len(results)} answers")
        await self._confirm([action for change in changes for action in change.confirm])
        self.made += len(changes)
        answers = iter(results)
        for change in changes:
            self._take_result(change, tuple(islice(answers, len(change.actions))))

    async def _confirm(self, actions: Sequence[Action]) -> None:
        """Show over a new connection that the host can still be reached."""
        if not actions:
            return
        self.report("logging in anew, to see that the host can still be reached")
        try:
            await self.host.reconnect()
        except Unreachable as error:
            raise self._failed(
                f"lets no new connection in ({error.message}); the host takes the change back by itself",
                "does network.firewall.allow_from contain this machine's address? see: deskside ports",
            ) from error
        remaining = max(1.0, self._ends - _now())
        await self.host.perform(actions, title=self.node.step.title, deadline=remaining)

    def _take_result(self, change: Change, answers: Sequence[ActionResult]) -> None:
        if change.result is None:
            return
        self._given.add(change.subject)
        if self.node.step.gives is None:
            return
        try:
            self.keep(change.result(answers))
        except Exception as error:
            raise as_failure(error, f"reading the result of {change.subject} on {self.host.name}") from error

    def _failed(self, what: str, hint: str = "") -> StepFailed:
        return StepFailed(f"{self.node.step.title} on {self.host.name} {what}", hint=hint)


def _subjects(changes: Sequence[Change], most: int = 5) -> str:
    named = [change.subject for change in changes[:most]]
    more = len(changes) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _now() -> float:
    return asyncio.get_running_loop().time()
