from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskside.engine.graph import Graph, make_graph
from deskside.errors import DesksideError, Unreachable
from deskside.model.step import Step
from deskside.site.schema import Role

from .world import declare, make_platform

ALL = frozenset({Role.SERVER, Role.WORKER})
SERVERS = frozenset({Role.SERVER})
WORKERS = frozenset({Role.WORKER})
ONCE: frozenset[Role] = frozenset()
ROLES = {"ws1": (Role.SERVER,), "ws2": (Role.SERVER, Role.WORKER), "ws3": (Role.WORKER,)}
PLATFORM = make_platform("ws1", "ws2", "ws3", roles=ROLES)


def needs(graph: Graph, node: str) -> set[str]:
    return set(graph.needs[node])


def test_a_host_step_waits_for_its_own_host_only() -> None:
    graph = make_graph([declare("a", on=ALL), declare("b", "a", on=ALL)], PLATFORM)
    assert needs(graph, "b@ws2") == {"a@ws2"}
    assert [node.id for node in graph.nodes] == ["a@ws1", "a@ws2", "a@ws3", "b@ws1", "b@ws2", "b@ws3"]


def test_a_once_step_waits_for_all_hosts_and_fans_out() -> None:
    steps = [declare("a", on=ALL), declare("once", "a", on=ONCE), declare("b", "once", on=WORKERS)]
    graph = make_graph(steps, PLATFORM)
    assert needs(graph, "once@ws1") == {"a@ws1", "a@ws2", "a@ws3"}
    assert needs(graph, "b@ws2") == {"once@ws1"} == needs(graph, "b@ws3")


def test_where_a_needed_step_has_no_node_its_own_needs_stand_in() -> None:
    steps = [
        declare("a", on=ALL),
        declare("once", "a", on=ONCE),
        declare("servers", "once", "a", on=SERVERS),
        declare("b", "servers", on=WORKERS),
    ]
    graph = make_graph(steps, PLATFORM)
    assert needs(graph, "b@ws2") == {"servers@ws2"}
    assert needs(graph, "b@ws3") == {"once@ws1", "a@ws3"}


def test_a_needed_step_on_other_hosts_only_gives_no_edge() -> None:
    graph = make_graph([declare("servers", on=SERVERS), declare("b", "servers", on=WORKERS)], PLATFORM)
    assert needs(graph, "b@ws3") == set()


def test_a_serial_step_is_a_chain_in_site_order() -> None:
    graph = make_graph([declare("join", on=ALL, serial=True)], PLATFORM)
    assert [needs(graph, f"join@{host}") for host in ("ws1", "ws2", "ws3")] == [
        set(),
        {"join@ws1"},
        {"join@ws2"},
    ]


def test_unknown_needs_and_circles_are_refused_by_name() -> None:
    with pytest.raises(DesksideError, match="step gpu needs drvers, but no step is called that") as refused:
        make_graph([declare("gpu", "drvers"), declare("drivers")], PLATFORM)
    assert refused.value.hint == "the nearest name is drivers"
    with pytest.raises(DesksideError, match="a needs b needs c needs a"):
        make_graph([declare("a", "b"), declare("b", "c"), declare("c", "a")], PLATFORM)
    with pytest.raises(DesksideError, match="a needs a"):
        make_graph([declare("a", "a")], PLATFORM)
    with pytest.raises(DesksideError, match="two steps are called a"):
        make_graph([declare("a"), declare("a")], PLATFORM)


def test_a_once_step_without_a_server_is_refused() -> None:
    workers = make_platform("ws3", roles=ROLES)
    with pytest.raises(Unreachable, match="no server of the site answered, and once runs on one"):
        make_graph([declare("a"), declare("once", on=ONCE)], workers)
    assert len(make_graph([declare("a")], workers).nodes) == 1


def test_the_workflow_as_text_and_for_graphviz() -> None:
    steps = [
        declare("base_packages", title='Install "it"', on=ALL),
        declare("cluster", "base_packages", on=ONCE),
        declare("join", "cluster", on=ALL, serial=True),
    ]
    graph = make_graph(steps, PLATFORM)
    assert graph.text() == (
        'base_packages  on ws1, ws2, ws3                 Install "it"\n'
        "cluster        once, on ws1                     cluster (after base_packages)\n"
        "join           on ws1, ws2, ws3, one at a time  join (after cluster)\n"
    )
    dot = graph.dot()
    assert dot.startswith("digraph deskside {\n")
    assert dot.endswith("}\n")
    assert '"base_packages@ws1" [tooltip="Install \\"it\\""];' in dot
    assert '"cluster@ws1" -> "join@ws1";' in dot


@st.composite
def workflows(draw: st.DrawFn) -> list[Step]:
    """Steps whose needs point backwards, shuffled: any declaration order of any graph without circles."""
    count = draw(st.integers(1, 7))
    steps = []
    for number in range(count):
        earlier = [f"s{other}" for other in range(number)]
        chosen = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        roles = draw(st.sampled_from([ALL, SERVERS, WORKERS, ONCE, frozenset({Role.STORAGE})]))
        steps.append(declare(f"s{number}", *chosen, on=roles, serial=draw(st.booleans()) and bool(roles)))
    return draw(st.permutations(steps))


@settings(deadline=None)
@given(workflows())
def test_nodes_are_in_an_order_that_keeps_every_need(steps: list[Step]) -> None:
    graph = make_graph(steps, PLATFORM)
    seen: set[str] = set()
    for node in graph.nodes:
        assert needs(graph, node.id) <= seen
        seen.add(node.id)
    assert graph == make_graph(steps, PLATFORM)


@settings(deadline=None)
@given(workflows())
def test_descendants_are_the_closure_of_needs(steps: list[Step]) -> None:
    graph = make_graph(steps, PLATFORM)

    def waits_for(node: str, other: str) -> bool:
        return any(need == other or waits_for(need, other) for need in graph.needs[node])

    for node in graph.nodes:
        assert graph.descendants(node.id) == {n.id for n in graph.nodes if waits_for(n.id, node.id)}


@settings(deadline=None)
@given(workflows())
def test_heights_are_the_longest_ways_to_the_end(steps: list[Step]) -> None:
    graph = make_graph(steps, PLATFORM)
    heights = graph.heights()

    def longest(node: str) -> int:
        return 1 + max(
            (longest(other.id) for other in graph.nodes if node in graph.needs[other.id]), default=0
        )

    assert heights == {node.id: longest(node.id) for node in graph.nodes}
