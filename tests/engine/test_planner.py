from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from deskside.engine.planner import Plan, make_plan
from deskside.errors import StepFailed, Unreachable
from deskside.model.action import WriteFile
from deskside.model.resource import Change, Deferred, Disruption, HostReader, Resource
from deskside.site.secrets import Secret

from .world import SITE, FakeHost, Key, World, declare, make_platform, run


def plan_of(world: World) -> Plan:
    return run(make_plan(world.graph, SITE, world.platform, world.hosts))


def yields(*found: Resource) -> Any:
    def resources(site: object, platform: object, host: object) -> Iterator[Resource]:
        yield from found

    return resources


def test_all_nodes_of_a_host_are_planned_in_one_round_trip() -> None:
    steps = [declare(f"s{n}", resources=yields(Key(f"a{n}"), Key(f"b{n}"))) for n in range(5)]
    world = World(steps, make_platform("ws1", "ws2"))
    plan = plan_of(world)
    assert (plan.changes, [host.rounds for host in world.hosts.values()]) == (20, [1, 1])


def test_counts_disruption_and_changes_of_a_host() -> None:
    steps = [
        declare("a", resources=yields(Key("x", disruption=Disruption.RESTART), Key("y"))),
        declare(
            "b", "a", on=set(), resources=yields(Key("z", disruption=Disruption.REBOOT), Key("w", after="v"))
        ),
    ]
    world = World(steps, make_platform("ws1", "ws2"))
    world.hosts["ws2"].keys["y"] = "1"
    plan = plan_of(world)
    assert (plan.changes, plan.deferred, plan.disruption, plan.empty) == (4, 1, Disruption.REBOOT, False)
    assert plan.by_disruption() == {Disruption.NONE: 1, Disruption.RESTART: 2, Disruption.REBOOT: 1}
    assert [change.subject for change in plan.changes_of("ws1")] == ["key x", "key y", "key z"]
    assert [change.subject for change in plan.changes_of("ws2")] == ["key x"]
    assert plan.hosts == ("ws1", "ws2")


def test_an_error_in_one_node_loses_no_other() -> None:
    steps = [
        declare("good"),
        declare("half", resources=yields(Key("k"), Key("bad", fails=StepFailed("the probe of ws1 broke")))),
        declare("odd", resources=yields(Key("o", fails=KeyError("x")))),
    ]
    plan = plan_of(World(steps, make_platform("ws1")))
    good, half, odd = plan.nodes
    assert len(good.changes) == 1
    assert good.failure is None
    assert len(half.changes) == 1
    assert half.failure is not None
    assert half.failure.message == "the probe of ws1 broke"
    assert odd.failure is not None
    assert "planning key o for odd on ws1" in odd.failure.message
    assert "Traceback" in odd.failure.detail
    assert [node.node for node in plan.failures] == ["half@ws1", "odd@ws1"]


def test_a_step_that_cannot_be_declared_and_a_host_without_connection_are_failures_of_their_nodes() -> None:
    def broken(site: object, platform: object, host: object) -> Iterator[Resource]:
        yield Key("a")
        raise LookupError("no such artifact")

    steps = [
        declare("broken", resources=broken),
        declare("twice", resources=yields(Key("a"), Key("a"))),
        declare("good"),
    ]
    world = World(steps, make_platform("ws1", "ws2"))
    del world.hosts["ws2"]
    plan = plan_of(world)
    failures = {node.node: node.failure for node in plan.failures}
    assert set(failures) == {"broken@ws1", "twice@ws1", "broken@ws2", "twice@ws2", "good@ws2"}
    assert "no such artifact" in str(failures["broken@ws1"])
    assert "two resources called key a" in str(failures["twice@ws1"])
    assert isinstance(failures["good@ws2"], Unreachable)


@dataclass(frozen=True)
class SecretFile:
    subject: str = "file /etc/token"

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        return Change(self.subject, "write", (WriteFile("/etc/token", Secret("hunter2"), mode=0o600),))


def test_json_shows_no_content_of_actions() -> None:
    steps = [declare("a", resources=yields(SecretFile(), Key("k", diff="- 0\n+ 1\n"), Key("w", after="v")))]
    plan = plan_of(World(steps, make_platform("ws1")))
    text = json.dumps(plan.to_json())
    assert "hunter2" not in text
    assert "hunter2" not in repr(plan)
    assert json.loads(text) == {
        "digest": plan.digest,
        "changes": 2,
        "deferred": 1,
        "failures": 0,
        "disruption": {"none": 2},
        "nodes": [
            {
                "node": "a@ws1",
                "step": "a",
                "host": "ws1",
                "title": "a",
                "changes": [
                    {"subject": "file /etc/token", "summary": "write", "disruption": "none", "diff": ""},
                    {"subject": "key k", "summary": "set to 1", "disruption": "none", "diff": "- 0\n+ 1\n"},
                ],
                "deferred": [{"subject": "key w", "reason": "known after v"}],
                "failure": None,
            }
        ],
    }


def test_the_digest_is_that_of_what_is_shown() -> None:
    world = World([declare("a")], make_platform("ws1", "ws2"))
    plan = plan_of(world)
    assert plan.digest == plan_of(world).digest
    world.hosts["ws2"].keys["a"] = "1"
    assert plan.digest != plan_of(world).digest
    cheaper = replace(plan, nodes=plan.nodes[:1])
    assert cheaper.digest == replace(plan_of(world), nodes=plan_of(world).nodes[:1]).digest


def test_nothing_to_do_is_empty() -> None:
    world = World([declare("a")], make_platform("ws1"))
    world.hosts["ws1"].keys["a"] = "1"
    assert plan_of(world).empty


def test_a_cancelled_plan_raises() -> None:
    class Stuck(FakeHost):
        async def read_all(self, queries: Any, /) -> tuple[Any, ...]:
            await asyncio.sleep(3600)
            raise AssertionError

    world = World([declare("a")], make_platform("ws1"), {"ws1": Stuck("ws1")})

    async def work() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(make_plan(world.graph, SITE, world.platform, world.hosts), 5)

    run(work())
