"""The run of a graph: hosts in parallel, one writer per host, failures that skip exactly their descendants.

Decides when a node may begin and what its end means for others; what is done inside a node is `acting.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from deskside.engine.acting import NodeWork
from deskside.engine.agreement import Agreement
from deskside.engine.approval import Approval
from deskside.engine.graph import Graph, GraphNode
from deskside.engine.journal import Recorder
from deskside.engine.outcome import NodeResult, RunResult
from deskside.engine.planner import as_failure, make_node_plan
from deskside.engine.results import Results
from deskside.errors import DesksideError, Interrupted
from deskside.model.event import Event, Listener, NodeChanged, NodeStatus, Progress, RunEnded, RunStarted
from deskside.model.platform import Platform
from deskside.model.resource import HostWriter
from deskside.site.schema import Site


async def execute(
    graph: Graph,
    site: Site,
    platform: Platform,
    hosts: Mapping[str, HostWriter],
    *,
    approval: Approval,
    journal: Recorder,
    listener: Listener,
    cancel: asyncio.Event,
    command: str = "apply",
    agreement: Agreement | None = None,
) -> RunResult:
    """Bring every node of the graph to its desired state and say how each ended.

    With an `agreement`, a change that a saved plan did not approve stops its node as well.

    Setting `cancel` stops the run gently: nothing new begins, and what has begun is finished. Cancelling the
    task itself leaves at once; what runs on the hosts then ends there by itself. Raises nothing but
    cancellation: errors are in the result, and `RunResult.error` is what a command ends with.
    """
    return await _Run(graph, site, platform, hosts, approval, journal, listener, cancel, agreement).run(
        command
    )


@dataclass
class _Run:
    graph: Graph
    site: Site
    platform: Platform
    hosts: Mapping[str, HostWriter]
    approval: Approval
    journal: Recorder
    listener: Listener
    cancel: asyncio.Event
    agreement: Agreement | None

    def __post_init__(self) -> None:
        self.results = Results()
        self.ended: dict[str, NodeResult] = {}
        self.ends = {node.id: asyncio.Event() for node in self.graph.nodes}
        self.writers = {host: asyncio.Lock() for host in self.graph.hosts}
        self.drains = asyncio.Lock()
        self.running: set[str] = set()
        self.heights = self.graph.heights()
        self.left = Counter(self.heights.values())
        """Nodes that have not ended, by their heights."""
        self.told: dict[str, str] = {}
        self.deaf = False

    async def run(self, command: str) -> RunResult:
        begun = _now()
        nodes, hosts = len(self.graph.nodes), self.graph.hosts
        self._tell(RunStarted(self.journal.run, command, nodes, hosts, self._in_a_row()))
        try:
            self._tell_waits()
            async with asyncio.TaskGroup() as group:
                for node in self.graph.nodes:
                    group.create_task(self._follow(node), name=node.id)
        except asyncio.CancelledError:
            self._tell_end(self._result(_now() - begun, interrupted=True))
            raise
        result = self._result(_now() - begun, interrupted=self.cancel.is_set())
        self._tell_end(result)
        return result

    async def _follow(self, node: GraphNode) -> None:
        for need in self.graph.needs[node.id]:
            await self.ends[need].wait()
        result = self._not_begun(node)
        if result is None:
            async with self.writers[node.host.name]:
                stopped = self.cancel.is_set()
                result = _result(node, NodeStatus.WAITING) if stopped else await self._carry_out(node)
        self.ended[node.id] = result
        if result.status is not NodeStatus.WAITING:
            self.left -= Counter([self.heights[node.id]])
            self._tell(_event(result, self._in_a_row()))
        self.ends[node.id].set()
        self._tell_waits()

    def _not_begun(self, node: GraphNode) -> NodeResult | None:
        needs = [self.ended[need] for need in self.graph.needs[node.id]]
        causes = {need.cause or need.node for need in needs if _broken(need)}
        if causes:
            cause = next(other for other in self.graph.nodes if other.id in causes)
            return _result(node, NodeStatus.SKIPPED, reason=f"because {cause} failed", cause=cause.id)
        if self.cancel.is_set() or any(need.status is NodeStatus.WAITING for need in needs):
            return _result(node, NodeStatus.WAITING)
        return None

    async def _carry_out(self, node: GraphNode) -> NodeResult:
        host, begun = node.host.name, _now()
        work = NodeWork(
            node=node,
            host=self.hosts[host],
            plan=partial(make_node_plan, node, self.site, self.platform, self.hosts, self.results),
            approval=self.approval,
            drains=self.drains,
            cancel=self.cancel,
            report=partial(self._tell_progress, host),
            keep=partial(self.results.keep, node),
            agreement=self.agreement,
        )
        self.running.add(host)
        self._tell(_event(_result(node, NodeStatus.RUNNING), self._in_a_row()))
        try:
            await work.carry_out()
        except Interrupted:
            return _result(node, NodeStatus.WAITING)
        except Exception as error:
            failure = as_failure(error, str(node))
            self._note(node, failure)
            return _result(
                node, NodeStatus.FAILED, work.made, failure.message, seconds=_now() - begun, error=failure
            )
        finally:
            self.running.discard(host)
        status = NodeStatus.DONE if work.made else NodeStatus.UNCHANGED
        return _result(node, status, work.made, seconds=_now() - begun)

    def _result(self, seconds: float, *, interrupted: bool) -> RunResult:
        nodes = tuple(
            self.ended.get(node.id) or _result(node, NodeStatus.WAITING) for node in self.graph.nodes
        )
        return RunResult(self.journal.run, nodes, interrupted, seconds, str(self.journal.log))

    def _in_a_row(self) -> int:
        """Nodes of the longest way that is left through the graph."""
        return max(self.left, default=0)

    def _tell(self, event: Event) -> None:
        self.journal(event)
        if self.deaf:
            return
        try:
            self.listener(event)
        except Exception as error:
            # A closed terminal or pipe must not leave hosts half done.
            self.deaf = True
            self.journal.note(f"the listener stopped listening: {type(error).__name__}: {error}")

    def _tell_progress(self, host: str, text: str) -> None:
        if self.told.get(host) != text:
            self.told[host] = text
            self._tell(Progress(host, text))

    def _tell_end(self, result: RunResult) -> None:
        self._tell(
            RunEnded(result.run, result.ok, result.counts, result.changes, result.seconds, log=result.log)
        )

    def _tell_waits(self) -> None:
        """Tell for each idle host what its next node waits for."""
        for host in self.graph.hosts:
            if host in self.running:
                continue
            left = [node for node in self.graph.nodes if node.host.name == host and node.id not in self.ended]
            waits = [[need for need in self.graph.needs[node.id] if need not in self.ended] for node in left]
            if not left:
                self._tell_progress(host, "finished")
            elif all(waits):
                names = [str(self.graph.node(need)) for need in waits[0]]
                more = f" and {len(names) - 2} more" if len(names) > 2 else ""
                self._tell_progress(host, f"waiting for {', '.join(names[:2])}{more}")

    def _note(self, node: GraphNode, failure: DesksideError) -> None:
        chain: list[str] = [f"--- {node} failed: {failure.message}"]
        if failure.detail:
            chain.append(failure.detail)
        self.journal.note("\n".join(chain))


def _broken(result: NodeResult) -> bool:
    return result.status in (NodeStatus.FAILED, NodeStatus.SKIPPED)


def _result(
    node: GraphNode,
    status: NodeStatus,
    changes: int = 0,
    reason: str = "",
    *,
    seconds: float = 0.0,
    error: DesksideError | None = None,
    cause: str = "",
) -> NodeResult:
    return NodeResult(
        node=node.id,
        step=node.step.name,
        host=node.host.name,
        title=node.step.title,
        status=status,
        changes=changes,
        reason=reason,
        error=error,
        seconds=seconds,
        cause=cause,
    )


def _event(result: NodeResult, in_a_row: int) -> NodeChanged:
    return NodeChanged(
        node=result.node,
        step=result.step,
        host=result.host,
        title=result.title,
        status=result.status,
        changes=result.changes,
        reason=result.reason,
        hint=result.hint,
        seconds=result.seconds,
        in_a_row=in_a_row,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
