"""A tiny world: hosts that are dictionaries, resources that set one key, a clock that jumps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from deskside.engine.agreement import Agreement
from deskside.engine.approval import Approval
from deskside.engine.executor import execute
from deskside.engine.graph import Graph, make_graph
from deskside.engine.journal import Recorder
from deskside.engine.outcome import RunResult
from deskside.errors import Unreachable
from deskside.model.action import Action, ActionResult
from deskside.model.artifact import Locked
from deskside.model.event import Event, NodeChanged, NodeStatus
from deskside.model.facts import Facts
from deskside.model.platform import Host, HostOs, Platform
from deskside.model.query import Json, Query
from deskside.model.resource import Change, Deferred, Disruption, HostReader, Resource
from deskside.model.step import Step
from deskside.site.schema import HostSpec, Role, Site

T = TypeVar("T")
SITE = cast(Site, None)
"""Steps of these tests do not look at the site."""


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: what the loop would wait for is added to its clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everything waits for something that never comes")
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time."""

    def __init__(self) -> None:
        self.jumps = JumpingSelector()
        super().__init__(self.jumps)

    def time(self) -> float:
        return self.jumps.now


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


@dataclass(frozen=True)
class ReadKey(Query[str]):
    op: ClassVar[str] = "key"
    key: str

    def answer(self, raw: Any) -> str:
        return str(raw["value"])


@dataclass(frozen=True)
class SetKey(Action):
    op: ClassVar[str] = "set"
    key: str
    value: str

    def wire(self) -> dict[str, Json]:
        return {"op": self.op, "key": self.key, "value": self.value}


@dataclass
class FakeHost:
    """Keys and values; counts round trips, and notices two writers."""

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    """Shared by all hosts of a world: what was performed, in order."""
    rounds: int = 0
    seconds: float = 1.0
    takes: dict[str, float] = field(default_factory=dict)
    """Seconds of a step by its title, where it is not `seconds`."""
    writers: int = 0
    most_writers: int = 0
    sent: list[str] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    trouble: list[Exception | BaseException] = field(default_factory=list)
    """Raised one by one by the next `perform`."""
    shut: bool = False
    """No new connection is let in."""
    deaf_reads: list[Exception] = field(default_factory=list)
    _asked: bool = False

    async def read(self, *queries: Query[Any]) -> Any:
        found = await self.read_all(queries)
        return found if len(queries) > 1 else found[0]

    async def read_all(self, queries: Sequence[Query[Any]], /) -> tuple[Any, ...]:
        if not self._asked:
            self._asked = True
            self.rounds += 1
            asyncio.get_running_loop().call_soon(setattr, self, "_asked", False)
        if self.deaf_reads:
            raise self.deaf_reads.pop(0)
        return tuple(self.keys.get(query.key, "") for query in queries if isinstance(query, ReadKey))

    async def reconnect(self) -> None:
        self.log.append(f"new connection@{self.name}")
        if self.shut:
            raise Unreachable(f"{self.name} lets nobody in")

    async def send(self, artifact: Locked) -> None:
        self.sent.append(artifact.name)

    async def perform(
        self, actions: Sequence[Action], *, title: str, deadline: float
    ) -> tuple[ActionResult, ...]:
        self.writers += 1
        self.most_writers = max(self.most_writers, self.writers)
        self.deadlines.append(deadline)
        self.log.append(f"begin {title}@{self.name}")
        try:
            await asyncio.sleep(self.takes.get(title, self.seconds))
            if self.trouble:
                raise self.trouble.pop(0)
            for action in actions:
                assert isinstance(action, SetKey)
                self.keys[action.key] = action.value
        finally:
            self.writers -= 1
            self.log.append(f"end {title}@{self.name}")
        return tuple(ActionResult(0, stdout=f"{action.wire()['value']}!") for action in actions)


@dataclass(frozen=True)
class Key:
    """The desired value of one key."""

    key: str
    value: str = "1"
    disruption: Disruption = Disruption.NONE
    fails: Exception | None = None
    takes: bool = True
    confirm: str = ""
    """A key that is set over a new connection once this one is."""
    after: str = ""
    """A key that must be set before this one can be planned."""
    result: Callable[[Sequence[ActionResult]], object] | None = None
    sends: tuple[Locked, ...] = ()
    diff: str = ""

    @property
    def subject(self) -> str:
        return f"key {self.key}"

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        found, before = await host.read(ReadKey(self.key), ReadKey(self.after))
        if self.fails:
            raise self.fails
        if self.after and not before:
            return Deferred(self.subject, f"known after {self.after}")
        if found == self.value and not self.result:
            return None
        action = SetKey(self.key, self.value) if self.takes else SetKey(f"not {self.key}", self.value)
        return Change(
            self.subject,
            f"set to {self.value}",
            (action,),
            self.sends,
            self.disruption,
            self.diff,
            self.result,
            (SetKey(self.confirm, "1"),) if self.confirm else (),
        )


def declare(
    name: str,
    *needs: str,
    on: frozenset[Role] | set[Role] = frozenset({Role.WORKER, Role.SERVER}),
    resources: Callable[..., Iterator[Resource]] | None = None,
    **fields: Any,
) -> Step:
    """A step that sets one key of its own name, unless told otherwise."""

    def own_key(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        yield Key(name)

    return Step(name, fields.pop("title", name), resources or own_key, tuple(needs), frozenset(on), **fields)


def make_platform(*names: str, roles: dict[str, tuple[Role, ...]] | None = None) -> Platform:
    """Hosts of these names; the first is server and worker, the others workers, unless `roles` says."""
    os = HostOs("debian", ("12",), {}, (), "")
    hosts = {}
    for number, name in enumerate(names):
        default = (Role.SERVER, Role.WORKER) if number == 0 else (Role.WORKER,)
        spec = HostSpec.model_validate(
            {"name": name, "address": f"10.0.0.{number + 10}", "roles": (roles or {}).get(name, default)}
        )
        hosts[name] = Host(spec, Facts(hostname=name, os_id="debian", os_version="12"), os)
    nothing = cast(Any, None)
    return Platform(nothing, {}, nothing, nothing, (), hosts)


@dataclass
class Recording:
    """A journal in memory, which is also the listener that tests read."""

    run: str = "20261123T214501-0000"
    log: Path = Path("/nowhere/log")
    events: list[Event] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda event: None

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def nodes(self, status: NodeStatus) -> list[str]:
        return [e.node for e in self.events if isinstance(e, NodeChanged) and e.status is status]


@dataclass
class World:
    """Steps on hosts, ready to run."""

    steps: Sequence[Step]
    platform: Platform
    hosts: dict[str, FakeHost] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.platform.hosts:
            self.hosts.setdefault(name, FakeHost(name, log=self.log))

    @property
    def graph(self) -> Graph:
        return make_graph(self.steps, self.platform)

    @property
    def keys(self) -> dict[str, dict[str, str]]:
        return {name: dict(host.keys) for name, host in self.hosts.items()}

    async def apply(
        self,
        *,
        approval: Approval | None = None,
        journal: Recorder | None = None,
        listener: Callable[[Event], None] | None = None,
        cancel: asyncio.Event | None = None,
        agreement: Agreement | None = None,
    ) -> RunResult:
        return await execute(
            self.graph,
            SITE,
            self.platform,
            self.hosts,
            approval=approval or Approval(),
            journal=journal or Recording(),
            listener=listener or (lambda event: None),
            cancel=cancel or asyncio.Event(),
            agreement=agreement,
        )


def status_of(result: RunResult) -> dict[str, str]:
    return {node.node: node.status.value for node in result.nodes}
