from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deskside.engine.approval import Approval
from deskside.errors import StepFailed
from deskside.model.event import Event, NodeChanged, NodeStatus
from deskside.model.resource import Disruption
from deskside.model.step import Step
from deskside.site.schema import Role

from .test_graph import PLATFORM, workflows
from .world import Key, Killed, Recording, World, declare, run, status_of

SECONDS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=3, max_size=3)


def world_of(steps: list[Step], seconds: list[float]) -> World:
    world = World(steps, PLATFORM)
    for host, took in zip(world.hosts.values(), seconds, strict=True):
        host.seconds = took
    return world


@settings(max_examples=60, deadline=None)
@given(workflows(), SECONDS)
def test_no_node_begins_before_its_needs_and_no_host_has_two_writers(
    steps: list[Step], seconds: list[float]
) -> None:
    world, journal = world_of(steps, seconds), Recording()
    result = run(world.apply(journal=journal))
    assert result.ok
    ended: set[str] = set()
    heights = world.graph.heights()
    for event in journal.events:
        if isinstance(event, NodeChanged):
            left = (
                heights.keys() - ended - ({event.node} if event.status is not NodeStatus.RUNNING else set())
            )
            assert event.in_a_row == max((heights[node] for node in left), default=0)
            if event.status is NodeStatus.RUNNING:
                assert set(world.graph.needs[event.node]) <= ended
            else:
                ended.add(event.node)
    assert ended == {node.id for node in world.graph.nodes}
    assert all(host.most_writers <= 1 for host in world.hosts.values())


@settings(max_examples=60, deadline=None)
@given(workflows(), SECONDS)
def test_serial_steps_are_never_on_two_hosts_at_once(steps: list[Step], seconds: list[float]) -> None:
    world = world_of(steps, seconds)
    run(world.apply())
    for step in (step for step in steps if step.serial):
        mine = [line.split()[0] for line in world.log if line.split()[1].startswith(f"{step.name}@")]
        assert mine == ["begin", "end"] * (len(mine) // 2)


@settings(max_examples=60, deadline=None)
@given(workflows(), SECONDS, st.data())
def test_at_most_one_host_is_drained_or_rebooted_at_a_time(
    steps: list[Step], seconds: list[float], data: st.DataObject
) -> None:
    nodes = [node.id for node in world_of(steps, seconds).graph.nodes]
    costs = {node: data.draw(st.sampled_from(list(Disruption))) for node in nodes}

    def costly(name: str) -> Any:
        def resources(site: Any, platform: Any, host: Any) -> Iterator[Key]:
            yield Key(name, disruption=costs[f"{name}@{host.name}"])

        return resources

    world = world_of([replace(step, resources=costly(step.name)) for step in steps], seconds)
    result = run(world.apply(approval=Approval.up_to(Disruption.REBOOT)))
    assert result.ok
    drains = [line.split() for line in world.log if costs[line.split()[1]] >= Disruption.DRAIN]
    assert [word for word, _ in drains] == ["begin", "end"] * (len(drains) // 2)
    assert len(drains) == 2 * sum(cost >= Disruption.DRAIN for cost in costs.values())


@settings(max_examples=60, deadline=None)
@given(workflows(), SECONDS, st.data())
def test_a_failure_skips_exactly_its_descendants(
    steps: list[Step], seconds: list[float], data: st.DataObject
) -> None:
    world = world_of(steps, seconds)
    ids = [node.id for node in world.graph.nodes]
    broken = set(data.draw(st.lists(st.sampled_from(ids), max_size=2))) if ids else set()
    for node in world.graph.nodes:
        if node.id in broken:
            breaks(world.hosts[node.host.name], node.step.title)
    result = run(world.apply())
    skipped: set[str] = set().union(*(world.graph.descendants(node) for node in broken))
    expected = {node: "done" for node in ids}
    expected |= {node: "failed" for node in broken} | {node: "skipped" for node in skipped}
    assert status_of(result) == expected
    assert (result.error is None) == (not broken)


def breaks(host: Any, title: str) -> None:
    """Make one step fail on a host."""
    perform = host.perform

    async def failing(actions: Any, *, title: str, deadline: float, _bad: str = title) -> Any:
        if title == _bad:
            await asyncio.sleep(host.seconds)
            raise StepFailed(f"{title} broke")
        return await perform(actions, title=title, deadline=deadline)

    host.perform = failing


def realistic() -> list[Step]:
    """The shape of a bring-up: per host, once, one at a time, fan-out."""
    return [
        declare("baseline"),
        declare("cluster", "baseline", on=frozenset()),
        declare("join", "cluster", serial=True),
        declare("homes", "baseline", on={Role.WORKER}),
        declare("hub", "join", "homes", on=frozenset()),
    ]


def heals(steps: list[Step], seconds: list[float], boundary: int) -> None:
    """Kill a run at an event, run again, and compare with a run that nobody killed."""
    world, whole = world_of(steps, seconds), world_of(steps, seconds)
    run(whole.apply())
    assert not finishes(world, boundary)
    assert run(world.apply()).ok
    assert world.keys == whole.keys
    assert set(status_of(run(world.apply())).values()) <= {"unchanged"}


def events_of(steps: list[Step], seconds: list[float]) -> int:
    recording = Recording()
    run(world_of(steps, seconds).apply(journal=recording))
    return len(recording.events)


def test_f1_a_run_killed_at_every_event_is_healed_by_the_next() -> None:
    seconds = [1.0, 0.5, 7.0]
    count = events_of(realistic(), seconds)
    assert count > 40
    for boundary in range(count):
        heals(realistic(), seconds, boundary)


@settings(max_examples=40, deadline=None)
@given(workflows(), SECONDS, st.data())
def test_f1_any_run_killed_at_any_event_is_healed_by_the_next(
    steps: list[Step], seconds: list[float], data: st.DataObject
) -> None:
    heals(steps, seconds, data.draw(st.integers(0, events_of(steps, seconds) - 1)))


def finishes(world: World, boundary: int) -> bool:
    """Run, killed when the event of that number is told. Nothing is done for the world afterwards."""
    journal = Recording()

    def kill(event: Event) -> None:
        if len(journal.events) > boundary:
            raise Killed

    journal.on_event = kill
    return survives(world, journal)


def survives(world: World, journal: Recording) -> bool:
    try:
        run(world.apply(journal=journal))
    except (Killed, BaseExceptionGroup) as error:
        if isinstance(error, BaseExceptionGroup) and (others := error.split(Killed)[1]) is not None:
            raise others from None
        return False
    return True


@settings(max_examples=25, deadline=None)
@given(workflows(), st.integers(0, 12))
def test_f1_a_run_killed_while_a_host_acts_is_healed_by_the_next(steps: list[Step], number: int) -> None:
    world = World(steps, PLATFORM)
    count = 0
    for host in world.hosts.values():
        perform = host.perform

        async def killing(actions: Any, *, _perform: Any = perform, **fields: Any) -> Any:
            nonlocal count
            count += 1
            mine = count
            answers = await _perform(actions, **fields)
            if mine == number:
                raise Killed
            return answers

        host.perform = killing  # type: ignore[method-assign]
    assert survives(world, Recording()) == (number == 0 or count < number)
    whole = World(steps, PLATFORM)
    run(whole.apply())
    assert run(world.apply()).ok
    assert world.keys == whole.keys
