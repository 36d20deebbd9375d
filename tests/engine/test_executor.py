from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from deskside.engine.acting import BACK_OFF, GRACE
from deskside.engine.approval import Approval
from deskside.errors import Busy, Interrupted, StepFailed, Unreachable
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.event import Event, NodeChanged, NodeStatus, Progress, RunEnded, RunStarted
from deskside.model.resource import Change, Disruption, HostReader, Resource
from deskside.site.schema import Role

from .test_planner import yields
from .world import FakeHost, Key, ReadKey, Recording, SetKey, World, declare, make_platform, run, status_of

ONCE: frozenset[Role] = frozenset()


def test_a_run_makes_it_so_and_a_second_one_finds_nothing() -> None:
    world = World([declare("a"), declare("b", "a", on=ONCE), declare("c", "b")], make_platform("ws1", "ws2"))
    first = run(world.apply())
    assert first.ok
    assert first.error is None
    assert (first.changes, first.counts) == (5, {"done": 5})
    assert world.keys == {"ws1": {"a": "1", "b": "1", "c": "1"}, "ws2": {"a": "1", "c": "1"}}
    second = run(world.apply())
    assert (second.changes, second.counts, second.ok) == (0, {"unchanged": 5}, True)


def test_a_node_costs_three_round_trips_and_an_unchanged_one_costs_one() -> None:
    world = World([declare("a", resources=yields(Key("x"), Key("y")))], make_platform("ws1"))
    run(world.apply())
    assert (world.hosts["ws1"].rounds, len(world.log)) == (2, 2)
    run(world.apply())
    assert (world.hosts["ws1"].rounds, len(world.log)) == (3, 2)


def test_a_change_is_confirmed_over_a_new_connection() -> None:
    world = World([declare("a", resources=yields(Key("x", confirm="kept"), Key("y")))], make_platform("ws1"))
    assert run(world.apply()).ok
    assert world.keys == {"ws1": {"x": "1", "y": "1", "kept": "1"}}
    assert world.log == ["begin a@ws1", "end a@ws1", "new connection@ws1", "begin a@ws1", "end a@ws1"]
    run(world.apply())
    assert len(world.log) == 5, "nothing to do, nothing to confirm"


def test_a_change_that_locks_us_out_is_a_failure_and_is_not_tried_again() -> None:
    world = World([declare("a", resources=yields(Key("x", confirm="kept")))], make_platform("ws1"))
    world.hosts["ws1"].shut = True
    result = run(world.apply())
    assert isinstance(result.error, StepFailed)
    assert "the host takes the change back by itself" in result.error.message
    assert "network.firewall.allow_from" in result.error.hint
    assert world.keys == {"ws1": {"x": "1"}}
    assert world.log.count("new connection@ws1") == 1


def test_hosts_work_side_by_side() -> None:
    world = World([declare("a")], make_platform("ws1", "ws2", "ws3"))
    assert run(world.apply()).seconds == pytest.approx(1.0)
    serial = World([declare("a", serial=True)], make_platform("ws1", "ws2", "ws3"))
    assert run(serial.apply()).seconds == pytest.approx(3.0)


def test_a_failure_skips_its_descendants_and_all_else_goes_on() -> None:
    steps = [declare("a"), declare("gpu", "a"), declare("b", "gpu"), declare("other", "a"), declare("c", "b")]
    world = World(steps, make_platform("ws1", "ws2"))
    world.hosts["ws2"].trouble = [StepFailed("installing the driver on ws2 failed: no space", hint="df -h")]
    steps[0] = declare("a", resources=yields())
    world = World(steps, world.platform, world.hosts, world.log)
    journal = Recording()
    result = run(world.apply(journal=journal))
    assert status_of(result) == {
        "a@ws1": "unchanged",
        "a@ws2": "unchanged",
        "gpu@ws1": "done",
        "gpu@ws2": "failed",
        "b@ws1": "done",
        "b@ws2": "skipped",
        "other@ws1": "done",
        "other@ws2": "done",
        "c@ws1": "done",
        "c@ws2": "skipped",
    }
    skipped = {node.node: node for node in result.nodes}["c@ws2"]
    assert (skipped.reason, skipped.cause) == ("because gpu on ws2 failed", "gpu@ws2")
    assert result.error is not None
    assert result.error.exit_code == 6
    assert result.error.hint == "df -h"
    assert any("no space" in note for note in journal.notes)


def test_the_error_is_that_of_the_first_failed_node_in_plan_order() -> None:
    steps = [declare("a", resources=yields(Key("k", fails=Unreachable("ws1 is away")))), declare("b")]
    world = World(steps, make_platform("ws1"))
    world.hosts["ws1"].trouble = [StepFailed("b failed")]
    result = run(world.apply())
    assert [node.node for node in result.failures] == ["a@ws1", "b@ws1"]
    assert isinstance(result.error, Unreachable)


def test_what_was_not_approved_stops_that_node_before_it_acts() -> None:
    steps = [
        declare("a", resources=yields(Key("x"), Key("y", disruption=Disruption.REBOOT))),
        declare("b", resources=yields(Key("z", disruption=Disruption.RESTART))),
    ]
    world = World(steps, make_platform("ws1"))
    result = run(world.apply())
    assert status_of(result) == {"a@ws1": "failed", "b@ws1": "done"}
    assert world.keys["ws1"] == {"z": "1"}
    assert isinstance(result.error, StepFailed)
    assert "key y (set to 1) costs a reboot, which was not approved" in result.error.message
    assert result.error.hint == "approve it: deskside apply --allow reboot"
    assert run(world.apply(approval=Approval.of(Disruption.REBOOT))).ok


def test_approval_says_what_it_covers() -> None:
    def change(cost: Disruption) -> Change:
        return Change("s", "", (), disruption=cost)

    assert Approval().refused([change(cost) for cost in Disruption]) == (
        change(Disruption.DRAIN),
        change(Disruption.REBOOT),
    )
    assert Approval.up_to(Disruption.DRAIN).covers(change(Disruption.DRAIN))
    assert not Approval.up_to(Disruption.DRAIN).covers(change(Disruption.REBOOT))
    assert Approval.up_to(Disruption.NONE).covers(change(Disruption.RESTART))
    assert Approval(frozenset()).covers(change(Disruption.NONE))
    assert Approval.of(Disruption.DRAIN).flag_for([change(Disruption.REBOOT)]) == "--allow drain,reboot"


def test_what_did_not_take_is_named() -> None:
    world = World([declare("a", resources=yields(Key("x"), Key("y", takes=False)))], make_platform("ws1"))
    result = run(world.apply())
    assert result.error is not None
    assert result.error.message == "a on ws1 was carried out, but did not take: key y"
    assert result.changes == 2


@dataclass(frozen=True)
class Follows:
    """Wants its key to equal another's: a consequence that shows only after the other was written."""

    key: str
    other: str

    @property
    def subject(self) -> str:
        return f"key {self.key}"

    async def plan(self, host: HostReader) -> Change | None:
        mine, wanted = await host.read(ReadKey(self.key), ReadKey(self.other))
        return None if mine == wanted else Change(self.subject, "follow", (SetKey(self.key, wanted),))


def test_a_consequence_gets_a_round_of_its_own() -> None:
    world = World([declare("a", resources=yields(Key("x"), Follows("y", "x")))], make_platform("ws1"))
    result = run(world.apply())
    assert (result.ok, result.changes) == (True, 2)
    assert world.keys["ws1"] == {"x": "1", "y": "1"}


def test_a_chain_of_consequences_ends() -> None:
    chain: list[Resource] = [Key("k0"), *(Follows(f"k{n + 1}", f"k{n}") for n in range(9))]
    result = run(World([declare("a", resources=yields(*chain))], make_platform("ws1")).apply())
    assert result.error is not None
    assert "still finds something else to change" in result.error.message


def test_what_stays_deferred_when_its_turn_has_come_is_a_failure() -> None:
    waits = declare("b", "a", resources=yields(Key("y", after="x"), Key("z", after="nothing")))
    world = World([declare("a", resources=yields(Key("x"))), waits], make_platform("ws1"))
    result = run(world.apply())
    assert result.error is not None
    assert result.error.message == (
        "b on ws1: key z cannot be done, although its turn has come: known after nothing"
    )
    assert world.keys["ws1"] == {"x": "1", "y": "1"}


def test_deferred_is_planned_again_once_it_is_known() -> None:
    world = World([declare("a", resources=yields(Key("y", after="x"), Key("x")))], make_platform("ws1"))
    assert run(world.apply()).ok
    assert world.keys["ws1"] == {"x": "1", "y": "1"}


def test_results_go_to_the_steps_that_take_them() -> None:
    @dataclass(frozen=True)
    class Ticket:
        token: str

    def make(results: Any) -> Ticket:
        return Ticket(results[0].stdout)

    def join(site: Any, platform: Any, host: Any, given: Ticket | None) -> Iterator[Resource]:
        yield Key("joined", f"{host.name} with {given.token if given else 'nothing'}")

    giver = declare(
        "ticket",
        on=ONCE,
        gives=Ticket,
        resources=yields(Key("plain"), Key("t", "secret", result=make)),
    )
    world = World([giver, declare("join", "ticket", takes=Ticket, resources=join)], make_platform("w1", "w2"))
    result = run(world.apply())
    assert result.ok, result.error
    assert {name: keys["joined"] for name, keys in world.keys.items()} == {
        "w1": "w1 with secret!",
        "w2": "w2 with secret!",
    }


def test_a_result_of_another_type_is_a_failure_without_a_traceback_for_the_person() -> None:
    step = declare("t", on=ONCE, gives=int, resources=yields(Key("t", result=lambda results: "text")))
    journal = Recording()
    result = run(World([step], make_platform("ws1")).apply(journal=journal))
    assert result.error is not None
    assert "gave str, not int" in result.error.message
    assert "Traceback" not in result.error.message
    assert any("Traceback" in note for note in journal.notes)


def test_artifacts_are_sent_once_before_the_node_acts() -> None:
    runc = Locked(Artifact("runc", "1.3", Kind.BINARY), "ab", 1, "recipe", "")
    world = World(
        [declare("a", resources=yields(Key("x", sends=(runc,)), Key("y", sends=(runc,))))],
        make_platform("ws1"),
    )
    journal = Recording()
    run(world.apply(journal=journal))
    assert world.hosts["ws1"].sent == ["runc"]
    texts = [event.text for event in journal.events if isinstance(event, Progress)]
    assert texts == ["sending runc 1.3", "key x, key y", "finished"]


@pytest.mark.parametrize("error", [Busy("apt is held by unattended-upgrades"), Unreachable("cut")])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    world = World([declare("a")], make_platform("ws1"))
    world.hosts["ws1"].trouble = [error, error]
    journal = Recording()
    result = run(world.apply(journal=journal))
    assert result.ok
    assert result.seconds == pytest.approx(3 + BACK_OFF[0] + BACK_OFF[1])
    assert f"trying again in 2 s: {error}" in [e.text for e in journal.events if isinstance(e, Progress)]


def test_tries_end_and_other_errors_are_not_tried_again() -> None:
    world = World([declare("a")], make_platform("ws1"))
    world.hosts["ws1"].trouble = [Busy("held")] * 10
    assert isinstance(run(world.apply()).error, Busy)
    assert len(world.hosts["ws1"].trouble) == 10 - len(BACK_OFF) - 1
    world.hosts["ws1"].trouble = [StepFailed("no"), StepFailed("no")]
    assert not run(world.apply()).ok
    assert len(world.hosts["ws1"].trouble) == 1


def test_reads_that_fail_for_a_moment_are_tried_again() -> None:
    world = World([declare("a")], make_platform("ws1"))
    world.hosts["ws1"].deaf_reads = [Unreachable("cut")]
    assert run(world.apply()).ok


def test_a_step_has_a_deadline() -> None:
    world = World([declare("a", deadline=20.0), declare("b")], make_platform("ws1"))
    world.hosts["ws1"].seconds = 1e6
    result = run(world.apply())
    assert result.nodes[0].reason == "a on ws1 did not end within 20 seconds"
    assert result.nodes[0].seconds == pytest.approx(20.0 + GRACE)
    assert world.hosts["ws1"].deadlines[0] == pytest.approx(20.0)


def test_an_error_of_ours_named_timeout_is_not_taken_for_the_deadline() -> None:
    world = World([declare("a")], make_platform("ws1"))
    world.hosts["ws1"].trouble = [TimeoutError("of a socket")]
    result = run(world.apply())
    assert result.error is not None
    assert "TimeoutError: of a socket" in result.error.message


def test_one_drain_at_a_time_and_waiting_for_it_costs_no_deadline() -> None:
    step = declare("d", deadline=10.0, resources=yields(Key("x", disruption=Disruption.DRAIN)))
    world = World([step], make_platform("ws1", "ws2", "ws3", "ws4", "ws5", "ws6"))
    for host in world.hosts.values():
        host.seconds = 9.0
    result = run(world.apply(approval=Approval.of(Disruption.DRAIN)))
    assert result.ok, result.error
    assert result.seconds == pytest.approx(54.0)
    begun = [line.split()[0] for line in world.log]
    assert begun == ["begin", "end"] * 6
    assert all(host.deadlines == [pytest.approx(10.0)] for host in world.hosts.values())


def test_stopping_finishes_what_runs_and_begins_nothing() -> None:
    world = World([declare("a"), declare("b", "a")], make_platform("ws1", "ws2"))
    world.hosts["ws2"].seconds = 5.0

    async def work() -> Any:
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, cancel.set)
        return await world.apply(cancel=cancel)

    result = run(work())
    assert status_of(result) == {"a@ws1": "done", "a@ws2": "done", "b@ws1": "waiting", "b@ws2": "waiting"}
    assert result.interrupted
    assert not result.ok
    assert isinstance(result.error, Interrupted)
    assert run(world.apply()).ok


def test_stopping_ends_the_waits_between_tries_and_for_a_drain() -> None:
    drain = declare("d", resources=yields(Key("x", disruption=Disruption.DRAIN)))
    world = World([drain], make_platform("ws1", "ws2"))
    busy = World([declare("a")], make_platform("ws1"))
    busy.hosts["ws1"].trouble = [Busy("held")] * 9

    async def work(world: World) -> Any:
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, cancel.set)
        return await world.apply(cancel=cancel, approval=Approval.of(Disruption.DRAIN))

    assert sorted(status_of(run(work(world))).values()) == ["done", "waiting"]
    assert status_of(run(work(busy))) == {"a@ws1": "failed"}
    assert len(busy.hosts["ws1"].trouble) == 8


def test_leaving_at_once_still_tells_the_end() -> None:
    world = World([declare("a")], make_platform("ws1"))
    journal = Recording()

    async def work() -> None:
        task = asyncio.create_task(world.apply(journal=journal))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())
    assert isinstance(journal.events[-1], RunEnded)
    assert not journal.events[-1].ok


def test_events_tell_the_run_and_what_hosts_wait_for() -> None:
    world = World(
        [declare("a", on={Role.SERVER}), declare("b", "a", on=ONCE), declare("c", "b")],
        make_platform("w1", "w2"),
    )
    journal = Recording()
    run(world.apply(journal=journal))
    first, last = journal.events[0], journal.events[-1]
    assert isinstance(first, RunStarted)
    assert (first.nodes, first.hosts) == (4, ("w1", "w2"))
    assert isinstance(last, RunEnded)
    assert last.ok
    assert last.changes == 4
    assert last.log == "/nowhere/log"
    texts = [event.text for event in journal.events if isinstance(event, Progress) and event.host == "w2"]
    assert texts == ["waiting for b on w1", "key c", "finished"]
    assert journal.nodes(NodeStatus.RUNNING) == ["a@w1", "b@w1", "c@w1", "c@w2"]


def test_a_listener_that_breaks_does_not_break_the_run() -> None:
    world = World([declare("a"), declare("b", "a")], make_platform("ws1"))
    heard: list[Event] = []
    journal = Recording()

    def listener(event: Event) -> None:
        heard.append(event)
        if isinstance(event, NodeChanged):
            raise BrokenPipeError

    assert run(world.apply(journal=journal, listener=listener)).ok
    assert len([event for event in heard if isinstance(event, NodeChanged)]) == 1
    assert any("BrokenPipeError" in note for note in journal.notes)


def test_two_ready_steps_on_a_host_take_turns() -> None:
    world = World([declare(name) for name in "abc"], make_platform("ws1"))
    assert run(world.apply()).ok
    host: FakeHost = world.hosts["ws1"]
    assert host.most_writers == 1
