"""Plans: what would change, per node. Hands a `HostReader` to resources, so nothing here can write.

Resources of all nodes are planned in the same turn of the event loop, so that a host's session can answer
what they ask in one round trip. An error while one node is planned is kept with that node and loses no
other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from deskside.engine.graph import Graph, GraphNode
from deskside.engine.results import Results
from deskside.errors import DesksideError, Unreachable
from deskside.model.platform import Platform
from deskside.model.query import Json
from deskside.model.resource import Change, Deferred, Disruption, HostReader, Resource
from deskside.model.step import resources_of
from deskside.site.schema import Site

PlanItem: TypeAlias = Change | Deferred


@dataclass(frozen=True)
class NodePlan:
    """What one step would change on one host, in the order of its resources."""

    node: str
    """`step@host`."""
    step: str
    host: str
    title: str
    items: tuple[PlanItem, ...] = ()
    failure: DesksideError | None = None
    """Why (a part of) the node could not be planned."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """In the order in which they would be made."""
        return tuple(item for item in self.items if isinstance(item, Change))

    @property
    def deferred(self) -> tuple[Deferred, ...]:
        """What cannot be planned yet."""
        return tuple(item for item in self.items if isinstance(item, Deferred))

    @property
    def disruption(self) -> Disruption:
        """The most that any of its changes costs."""
        return max((change.disruption for change in self.changes), default=Disruption.NONE)

    def to_json(self) -> dict[str, Json]:
        """For people and scripts: never the content of an action."""
        return {
            "node": self.node,
            "step": self.step,
            "host": self.host,
            "title": self.title,
            "changes": [
                {
                    "subject": change.subject,
                    "summary": change.summary,
                    "disruption": change.disruption.word,
                    "diff": change.diff,
                }
                for change in self.changes
            ],
            "deferred": [{"subject": item.subject, "reason": item.reason} for item in self.deferred],
            "failure": None
            if self.failure is None
            else {
                "message": self.failure.message,
                "hint": self.failure.hint,
                "exit_code": self.failure.exit_code,
            },
        }


@dataclass(frozen=True)
class Plan:
    """What a run would change, per node in plan order."""

    nodes: tuple[NodePlan, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of all hosts that were planned, also of those with nothing to do."""
        return tuple(dict.fromkeys(node.host for node in self.nodes))

    @property
    def changes(self) -> int:
        """Number of changes."""
        return sum(len(node.changes) for node in self.nodes)

    @property
    def deferred(self) -> int:
        """Number of resources that cannot be planned yet."""
        return sum(len(node.deferred) for node in self.nodes)

    @property
    def empty(self) -> bool:
        """True when everything is in step: nothing to change, nothing deferred, nothing failed."""
        return not (self.changes or self.deferred or self.failures)

    @property
    def failures(self) -> tuple[NodePlan, ...]:
        """Nodes that could not be planned, in plan order."""
        return tuple(node for node in self.nodes if node.failure is not None)

    @property
    def disruption(self) -> Disruption:
        """The most that any change costs."""
        return max((node.disruption for node in self.nodes), default=Disruption.NONE)

    def by_disruption(self) -> dict[Disruption, int]:
        """Number of changes for each cost that occurs, cheapest first."""
        costs = [change.disruption for node in self.nodes for change in node.changes]
        return {cost: costs.count(cost) for cost in Disruption if cost in costs}

    def changes_of(self, host: str) -> tuple[Change, ...]:
        """Changes on one host, in plan order."""
        return tuple(change for node in self.nodes if node.host == host for change in node.changes)

    @property
    def digest(self) -> str:
        """SHA-256 of what the plan shows; two plans that show the same have the same."""
        shown = json.dumps([node.to_json() for node in self.nodes], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(shown.encode()).hexdigest()

    def to_json(self) -> dict[str, Json]:
        """The whole plan without any secret: what is shown, the counts and the digest."""
        return {
            "digest": self.digest,
            "changes": self.changes,
            "deferred": self.deferred,
            "failures": len(self.failures),
            "disruption": {cost.word: number for cost, number in self.by_disruption().items()},
            "nodes": [node.to_json() for node in self.nodes],
        }


async def make_plan(
    graph: Graph,
    site: Site,
    platform: Platform,
    hosts: Mapping[str, HostReader],
    results: Results | None = None,
) -> Plan:
    """What would change now. Raises nothing but cancellation: errors are in the plan, with their node."""
    return Plan(await _planned(graph.nodes, site, platform, hosts, results or Results()))


async def make_node_plan(
    node: GraphNode, site: Site, platform: Platform, hosts: Mapping[str, HostReader], results: Results
) -> NodePlan:
    """What one node would change now; errors are in the plan."""
    return (await _planned((node,), site, platform, hosts, results))[0]


async def _planned(
    nodes: Sequence[GraphNode],
    site: Site,
    platform: Platform,
    hosts: Mapping[str, HostReader],
    results: Results,
) -> tuple[NodePlan, ...]:
    declared = [_declared(node, site, platform, hosts, results) for node in nodes]
    # One flat gather: every resource asks in the same turn of the event loop, whatever its node.
    answers = iter(
        await asyncio.gather(
            *(
                resource.plan(hosts[node.host.name])
                for node, found in zip(nodes, declared, strict=True)
                if not isinstance(found, DesksideError)
                for resource in found
            ),
            return_exceptions=True,
        )
    )
    plans = []
    for node, found in zip(nodes, declared, strict=True):
        if isinstance(found, DesksideError):
            plans.append(_node_plan(node, (), found))
            continue
        plans.append(_collected(node, [(resource, next(answers)) for resource in found]))
    return tuple(plans)


def _declared(
    node: GraphNode,
    site: Site,
    platform: Platform,
    hosts: Mapping[str, HostReader],
    results: Results,
) -> tuple[Resource, ...] | DesksideError:
    if node.host.name not in hosts:
        return Unreachable(f"{node} cannot be planned: there is no connection to {node.host.name}")
    try:
        given = results.given(node.step, node.host.name)
        found = resources_of(node.step, site, platform, node.host, given)
        subjects = [resource.subject for resource in found]
    except Exception as error:
        return as_failure(error, f"declaring {node}")
    twice = sorted({subject for subject in subjects if subjects.count(subject) > 1})
    if twice:
        return DesksideError(f"{node} has two resources called {', '.join(twice)}")
    return found


def _collected(
    node: GraphNode, answers: Sequence[tuple[Resource, PlanItem | BaseException | None]]
) -> NodePlan:
    items: list[PlanItem] = []
    failure: DesksideError | None = None
    for resource, answer in answers:
        if isinstance(answer, Exception):
            failure = failure or as_failure(answer, f"planning {resource.subject} for {node}")
        elif isinstance(answer, BaseException):
            raise answer
        elif answer is not None:
            items.append(answer)
    return _node_plan(node, tuple(items), failure)


def _node_plan(node: GraphNode, items: tuple[PlanItem, ...], failure: DesksideError | None) -> NodePlan:
    return NodePlan(node.id, node.step.name, node.host.name, node.step.title, items, failure)


def as_failure(error: Exception, doing: str) -> DesksideError:
    """The error itself when it is one of ours; else a sentence, with the traceback in `detail`."""
    if isinstance(error, DesksideError):
        return error
    return DesksideError(
        f"{doing} failed in a way that nobody foresaw ({type(error).__name__}: {error})",
        hint="this is a fault of Deskside; please report it with the log of the run",
        detail="".join(traceback.format_exception(error)),
    )
