"""The graph of a run: which step runs on which host, and after what. Data only; nothing here asks a host.

Edges come from names alone (`Step.needs`), and are read from the node that needs:

- A host step after a host step waits for the same host only. Where the needed step has no node on that
  host, the needed step's own needs stand in for it, so that an order is kept across a step that does not
  apply here; a needed step that runs on other hosts only gives no edge by itself.
- A once-step after a host step waits for all of its hosts; anything after a once-step waits for its one
  node.
- A serial step is a chain, host after host in site order: where one fails, the rest of the chain is
  skipped.

An edge goes from an earlier step to a later one, or along a chain, so that "steps in order, then hosts in
site order" is always an order of the nodes; it is the plan's order, the same on every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from deskside.errors import DesksideError, Unreachable
from deskside.model.platform import Host, Platform
from deskside.model.step import Step


@dataclass(frozen=True)
class GraphNode:
    """One step on one host."""

    step: Step
    host: Host

    @property
    def id(self) -> str:
        """`step@host`."""
        return f"{self.step.name}@{self.host.name}"

    def __str__(self) -> str:
        return f"{self.step.name} on {self.host.name}"


@dataclass(frozen=True)
class Graph:
    """Nodes in plan order, with the ids of what each waits for."""

    steps: tuple[Step, ...]
    """In order; a step that has no node is among them."""
    nodes: tuple[GraphNode, ...]
    needs: Mapping[str, tuple[str, ...]]
    """Node id -> ids of the nodes that it waits for, in plan order."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that have a node, in the order of their first one."""
        return tuple(dict.fromkeys(node.host.name for node in self.nodes))

    def node(self, node_id: str) -> GraphNode:
        """The node of that id. Raises KeyError when there is none."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)

    def nodes_of(self, step: str) -> tuple[GraphNode, ...]:
        """Nodes of a step, in site order."""
        return tuple(node for node in self.nodes if node.step.name == step)

    def ancestors(self, node_id: str) -> frozenset[str]:
        """Ids of all nodes that this one waits for, directly or not."""
        found: set[str] = set()
        left = [*self.needs[node_id]]
        while left:
            need = left.pop()
            if need not in found:
                found.add(need)
                left += self.needs[need]
        return frozenset(found)

    def descendants(self, node_id: str) -> frozenset[str]:
        """Ids of all nodes that wait for this one, directly or not."""
        found = {node_id}
        for node in self.nodes:
            if found & set(self.needs[node.id]):
                found.add(node.id)
        return frozenset(found - {node_id})

    def heights(self) -> dict[str, int]:
        """Node id -> how many nodes must follow one another from it to the end, itself among them."""
        found = {node.id: 1 for node in self.nodes}
        for node in reversed(self.nodes):
            for need in self.needs[node.id]:
                found[need] = max(found[need], found[node.id] + 1)
        return found

    def text(self) -> str:
        """The workflow on one page: one line per step with where, what, and after what."""
        names = max((len(step.name) for step in self.steps), default=0)
        places = {step.name: self._place(step) for step in self.steps}
        widths = max((len(place) for place in places.values()), default=0)
        lines = []
        for step in self.steps:
            after = f" (after {', '.join(step.needs)})" if step.needs else ""
            lines.append(f"{step.name:<{names}}  {places[step.name]:<{widths}}  {step.title}{after}")
        return "\n".join(lines) + "\n"

    def dot(self) -> str:
        """The nodes and edges for Graphviz."""
        lines = ["digraph deskside {", "  rankdir=LR;", "  node [shape=box];"]
        lines += [f"  {_quoted(node.id)} [tooltip={_quoted(node.step.title)}];" for node in self.nodes]
        for node in self.nodes:
            lines += [f"  {_quoted(need)} -> {_quoted(node.id)};" for need in self.needs[node.id]]
        return "\n".join([*lines, "}"]) + "\n"

    def _place(self, step: Step) -> str:
        hosts = ", ".join(node.host.name for node in self.nodes_of(step.name)) or "nowhere"
        if step.once:
            return f"once, on {hosts}"
        return f"on {hosts}" + (", one at a time" if step.serial else "")


def make_graph(steps: Sequence[Step], platform: Platform) -> Graph:
    """The graph of these steps on the platform's hosts.

    Raises DesksideError for two steps of one name, a need that no step is called, and a cycle, each by name;
    Unreachable when a step runs once for the site and no server answered.
    """
    ordered = _in_order(steps)
    if not platform.servers and (once := next((step for step in ordered if step.once), None)):
        raise Unreachable(
            f"no server of the site answered, and {once.name} runs on one",
            hint="see which hosts answer: deskside check",
        )
    by_name = {step.name: step for step in ordered}
    on: dict[str, tuple[GraphNode, ...]] = {
        step.name: tuple(
            GraphNode(step, host) for host in platform.hosts.values() if step.applies_to(host, platform)
        )
        for step in ordered
    }
    nodes = tuple(node for step in ordered for node in on[step.name])
    rank = {node.id: position for position, node in enumerate(nodes)}
    needs: dict[str, tuple[str, ...]] = {}
    for step in ordered:
        for position, node in enumerate(on[step.name]):
            found = {need for name in step.needs for need in _standing_for(name, node, by_name, on)}
            if step.serial and position:
                found.add(on[step.name][position - 1].id)
            needs[node.id] = tuple(sorted(found, key=rank.__getitem__))
    return Graph(ordered, nodes, needs)


def _standing_for(
    name: str, node: GraphNode, by_name: Mapping[str, Step], on: Mapping[str, tuple[GraphNode, ...]]
) -> set[str]:
    needed = by_name[name]
    if needed.once or node.step.once:
        found = {other.id for other in on[name]}
    else:
        found = {other.id for other in on[name] if other.host.name == node.host.name}
    if found:
        return found
    return {stand_in for deeper in needed.needs for stand_in in _standing_for(deeper, node, by_name, on)}


def _in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    by_name: dict[str, Step] = {}
    for step in steps:
        if step.name in by_name:
            raise DesksideError(f"two steps are called {step.name}")
        by_name[step.name] = step
    ordered: dict[str, Step] = {}

    def visit(step: Step, path: tuple[str, ...]) -> None:
        if step.name in path:
            cycle = [*path[path.index(step.name) :], step.name]
            raise DesksideError(f"steps wait for each other in a circle: {' needs '.join(cycle)}")
        if step.name in ordered:
            return
        for name in step.needs:
            if name not in by_name:
                raise DesksideError(
                    f"step {step.name} needs {name}, but no step is called that", hint=_nearest(name, by_name)
                )
            visit(by_name[name], (*path, step.name))
        ordered[step.name] = step

    for step in steps:
        visit(step, ())
    return tuple(ordered.values())


def _nearest(name: str, names: Mapping[str, Step]) -> str:
    close = get_close_matches(name, names, 1)
    return f"the nearest name is {close[0]}" if close else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
