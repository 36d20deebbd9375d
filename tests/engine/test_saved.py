from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskside.engine.agreement import Agreement, Moved
from deskside.engine.approval import Approval
from deskside.engine.outcome import RunResult
from deskside.engine.planner import Plan, make_plan
from deskside.engine.saved import About, SavedPlan, believe, read_plan, saved_plan, text_of, write_plan
from deskside.errors import FileError
from deskside.model.resource import Change, Disruption, Resource
from deskside.model.step import Step
from deskside.site.secrets import Secret

from .test_graph import PLATFORM, workflows
from .test_planner import SecretFile, yields
from .world import SITE, Key, Killed, Recording, World, declare, make_platform, run, status_of

KEY = Secret("k" * 43)
ABOUT = About(site="lab.example", site_digest="a" * 64, train="2026-11", lock_digest="b" * 64, deskside="1")
RESTART, REBOOT = Disruption.RESTART, Disruption.REBOOT


def plan_of(world: World) -> Plan:
    return run(make_plan(world.graph, SITE, world.platform, world.hosts))


def approved(world: World) -> SavedPlan:
    return saved_plan(plan_of(world), ABOUT, KEY)


def agreed(world: World, saved: SavedPlan) -> Agreement:
    return Agreement(saved, KEY, world.graph, plan_of(world), "deskside plan --out lab.plan")


def apply(world: World, saved: SavedPlan, **fields: Any) -> RunResult:
    return run(world.apply(agreement=agreed(world, saved), **fields))


def moved(world: World, saved: SavedPlan) -> list[tuple[str, str]]:
    return [(item.node, item.subject) for item in agreed(world, saved).moved]


def keyed(*subjects: str, **fields: Any) -> Any:
    return yields(*(Key(subject, **fields) for subject in subjects))


def chain() -> World:
    steps = [
        declare("base"),
        declare("runtime", "base", resources=keyed("a", "b", diff="- 0\n+ 1\n")),
        declare("cluster", "runtime", on=set()),
    ]
    return World(steps, make_platform("ws1", "ws2"))


class Drifting(Key):
    """A key whose diff shows what is there, as a file's does."""

    async def plan(self, host: Any) -> Any:
        change = await super().plan(host)
        there = host.keys.get(self.key, "")
        return replace(change, diff=f"- {there}\n+ {self.value}\n") if isinstance(change, Change) else change


def drifting(*subjects: str) -> Any:
    return yields(*(Drifting(subject) for subject in subjects))


def test_a_plan_that_holds_is_carried_out_and_is_then_empty() -> None:
    world = chain()
    saved = approved(world)
    assert (saved.changes, moved(world, saved)) == (7, [])
    result = apply(world, saved)
    assert result.ok
    assert result.changes == 7
    assert plan_of(world).empty
    again = apply(world, saved)
    assert (again.ok, again.changes) == (True, 0)


def test_a_host_whose_facts_moved_is_refused_its_descendants_are_skipped_and_the_rest_goes_on() -> None:
    steps = [
        declare("base"),
        declare("files", "base", resources=drifting("etc")),
        declare("unit", "files"),
    ]
    world = World(steps, make_platform("ws1", "ws2"))
    saved = approved(world)
    world.hosts["ws2"].keys["etc"] = "edited by hand"
    assert moved(world, saved) == [("files@ws2", "key etc")]
    result = apply(world, saved)
    assert status_of(result) == {
        "base@ws1": "done",
        "base@ws2": "done",
        "files@ws1": "done",
        "files@ws2": "failed",
        "unit@ws1": "done",
        "unit@ws2": "skipped",
    }
    assert world.hosts["ws2"].keys["etc"] == "edited by hand"
    (failure,) = result.failures
    assert failure.reason == (
        'files on ws2 was not begun: key etc: "set to 1" was approved, '
        "and the differences that were shown moved since"
    )
    assert failure.hint == "see what moved, and approve it: deskside plan --out lab.plan"
    assert result.error is not None
    assert result.error.exit_code == 6


def test_a_change_that_is_new_is_refused_also_after_the_run_has_changed_that_host() -> None:
    steps = [declare("base"), declare("files", "base", resources=keyed("etc", "new"))]
    world = World(steps, make_platform("ws1"))
    world.hosts["ws1"].keys["new"] = "1"
    saved = approved(world)
    del world.hosts["ws1"].keys["new"]
    result = apply(world, saved)
    assert status_of(result) == {"base@ws1": "done", "files@ws1": "failed"}
    assert result.failures[0].reason.endswith('key new: "set to 1" is not in the plan')
    assert "etc" not in world.hosts["ws1"].keys


class Awaited(Key):
    """Waits for what has not come yet, which stands in another key."""

    async def plan(self, host: Any) -> Any:
        change = await super().plan(host)
        late = host.keys.get("late", "ws2, ws3")
        return (
            replace(change, summary=f"wait for {late}", waits=True) if isinstance(change, Change) else change
        )


@pytest.mark.parametrize("late", ["ws3", "ws2, ws3, ws4"])
def test_who_is_waited_for_may_have_come_meanwhile_or_gone(late: str) -> None:
    world = World([declare("nodes", resources=yields(Awaited("nodes")))], make_platform("ws1"))
    saved = approved(world)
    world.hosts["ws1"].keys["late"] = late
    assert moved(world, saved) == []
    assert apply(world, saved).changes == 1


def test_a_wait_that_no_plan_knew_of_is_no_change_that_somebody_must_approve() -> None:
    world = World([declare("nodes", resources=yields(Awaited("nodes")))], make_platform("ws1"))
    world.hosts["ws1"].keys["nodes"] = "1"
    saved = approved(world)
    assert saved.changes == 0
    del world.hosts["ws1"].keys["nodes"]
    assert moved(world, saved) == []
    assert apply(world, saved).changes == 1


class Costly(Key):
    """A key that costs what stands in another one."""

    async def plan(self, host: Any) -> Any:
        change = await super().plan(host)
        cost = Disruption(int(host.keys.get("cost") or 0))
        return replace(change, disruption=cost) if isinstance(change, Change) else change


@pytest.mark.parametrize(
    ("approved_cost", "cost", "ok"),
    [(0, 1, False), (0, 3, False), (1, 3, False), (1, 0, True), (1, 1, True), (3, 0, True)],
)
def test_a_change_that_costs_more_is_refused_whatever_is_allowed(
    approved_cost: int, cost: int, ok: bool
) -> None:
    world = World([declare("a", resources=yields(Costly("k")))], make_platform("ws1"))
    world.hosts["ws1"].keys["cost"] = str(approved_cost)
    saved = approved(world)
    world.hosts["ws1"].keys["cost"] = str(cost)
    result = apply(world, saved, approval=Approval.of(*Disruption))
    assert result.ok == ok
    if not ok:
        most = "at most a restart" if approved_cost else "nothing"
        now = Disruption(cost).word
        assert result.failures[0].reason.endswith(f'"set to 1" costs a {now}, and {most} was approved for it')


def test_a_reboot_in_the_plan_still_needs_allow() -> None:
    world = World([declare("a", resources=keyed("k", disruption=REBOOT))], make_platform("ws1"))
    saved = approved(world)
    assert saved.disruption is REBOOT
    command = "deskside apply lab.plan"
    result = apply(world, saved, approval=replace(Approval(), command=command))
    assert result.failures[0].hint == "approve it: deskside apply lab.plan --allow reboot"
    assert apply(world, saved, approval=Approval.of(REBOOT)).ok


def test_what_was_done_by_somebody_else_is_fine() -> None:
    world = chain()
    saved = approved(world)
    world.hosts["ws2"].keys["a"] = "1"
    assert moved(world, saved) == []
    assert apply(world, saved).changes == 6


@pytest.mark.parametrize(("cost", "ok"), [(0, True), (1, True), (2, False), (3, False)])
def test_what_was_known_only_later_may_be_done_for_a_restart(cost: int, ok: bool) -> None:
    world = World(
        [
            declare("cluster", resources=keyed("up")),
            declare("hub", "cluster", resources=keyed("release", after="up", disruption=Disruption(cost))),
        ],
        make_platform("ws1"),
    )
    saved = approved(world)
    assert (saved.changes, saved.disruption) == (1, RESTART)
    result = apply(world, saved, approval=Approval.of(*Disruption))
    assert result.ok == ok
    if not ok:
        assert "and at most a restart was approved for it" in result.failures[0].reason


class Following(Key):
    """A key that is due once another one is set: the unit whose file was just written."""

    async def plan(self, host: Any) -> Any:
        return await super().plan(host) if host.keys.get(self.value) else None


@pytest.mark.parametrize(("cost", "ok"), [(Disruption.NONE, True), (RESTART, False)])
def test_what_follows_in_a_round_of_its_own_may_cost_what_was_approved_for_the_step(
    cost: Disruption, ok: bool
) -> None:
    resources = yields(Key("file"), Following("unit", "file", disruption=cost))
    world = World([declare("a", resources=resources)], make_platform("ws1"))
    saved = approved(world)
    result = apply(world, saved)
    assert result.ok == ok
    if not ok:
        assert "a on ws1 went no further: key unit:" in result.failures[0].reason
    resources = yields(Key("file", disruption=RESTART), Following("unit", "file", disruption=cost))
    world = World([declare("a", resources=resources)], make_platform("ws1"))
    assert apply(world, approved(world)).ok


class Worded(Key):
    """A key whose summary tells what else there is: `import it after the runtime is up`."""

    async def plan(self, host: Any) -> Any:
        change = await super().plan(host)
        later = "" if host.keys.get("base") else " after base"
        return replace(change, summary=f"set{later}") if isinstance(change, Change) else change


def worded() -> World:
    steps = [declare("base"), declare("images", "base", resources=yields(Worded("i")))]
    return World(steps, make_platform("ws1", "ws2"))


def test_other_words_after_what_the_plan_itself_did_are_the_same_change() -> None:
    world = worded()
    saved = approved(world)
    assert [node.changes[0].summary for node in saved.nodes if node.step == "images"] == [
        "set after base"
    ] * 2
    assert apply(world, saved).ok


def test_f1_a_run_of_a_plan_that_was_killed_goes_on_with_it() -> None:
    for boundary in range(1, 12):
        world = worded()
        saved = approved(world)
        recording = Recording()

        def kill(_: object, recording: Recording = recording, boundary: int = boundary) -> None:
            if len(recording.events) > boundary:
                raise Killed

        recording.on_event = kill
        with pytest.raises((Killed, BaseExceptionGroup)):
            apply(world, saved, journal=recording)
        result = apply(world, saved)
        assert result.ok, [(boundary, failure.reason) for failure in result.failures]
        assert plan_of(world).empty


def test_other_words_without_anything_of_the_plan_done_are_another_change() -> None:
    world = worded()
    world.hosts["ws1"].keys["base"] = "1"
    saved = approved(world)
    del world.hosts["ws1"].keys["base"]
    assert agreed(world, saved).moved == (
        Moved("base@ws1", "key base", '"set to 1" is not in the plan'),
        Moved("images@ws1", "key i", '"set" was approved, now it is "set after base"'),
    )


def test_what_had_moved_before_the_run_is_refused_whatever_the_run_did_before_it() -> None:
    steps = [declare("other"), declare("images", "other", resources=yields(Worded("i")))]
    world = World(steps, make_platform("ws1"))
    saved = approved(world)
    world.hosts["ws1"].keys["base"] = "1"
    result = apply(world, saved)
    assert status_of(result) == {"other@ws1": "done", "images@ws1": "failed"}


def test_an_edit_on_a_host_after_the_plan_was_carried_out_is_not_overwritten() -> None:
    steps = [declare("base"), declare("files", resources=drifting("etc"))]
    world = World(steps, make_platform("ws1"))
    saved = approved(world)
    assert apply(world, saved).ok
    world.hosts["ws1"].keys["etc"] = "edited by hand"
    assert [failure.node for failure in apply(world, saved).failures] == ["files@ws1"]
    assert world.hosts["ws1"].keys["etc"] == "edited by hand"


Drift = list[tuple[str, str, str]]


def some_drift(world: World, data: st.DataObject) -> Drift:
    """Keys of hosts that somebody sets or removes."""
    keys = sorted({step.name for step in world.steps} | {"cost"})
    pick = st.tuples(
        st.sampled_from(sorted(world.hosts)), st.sampled_from(keys), st.sampled_from(["", "0", "1", "2"])
    )
    return data.draw(st.lists(pick, max_size=4))


def put(world: World, drift: Drift) -> None:
    for host, key, value in drift:
        world.hosts[host].keys[key] = value


class Everything(Drifting, Costly):
    """Shows what is there, and costs what stands in another key."""


def with_costs(steps: list[Step]) -> list[Step]:
    def declaring(name: str) -> Any:
        def resources(*_: object) -> Iterator[Resource]:
            yield Everything(name)
            yield Following(f"after {name}", name)

        return resources

    return [replace(step, resources=declaring(step.name)) for step in steps]


@settings(max_examples=120, deadline=None)
@given(workflows(), st.data())
def test_every_change_was_approved_or_costs_nothing_new_and_nodes_without_drift_end_as_ever(
    steps: list[Step], data: st.DataObject
) -> None:
    world, plain = World(with_costs(steps), PLATFORM), World(with_costs(steps), PLATFORM)
    before = some_drift(world, data)
    for each in (world, plain):
        put(each, before)
    saved = approved(world)
    drift = some_drift(world, data)
    put(world, drift)
    kept = {host: dict(fake.keys) for host, fake in world.hosts.items()}
    begun = agreed(world, saved)
    made = watch(world)
    result = run(world.apply(agreement=begun, approval=Approval.of(*Disruption)))
    run(plain.apply(approval=Approval.of(*Disruption)))

    costs = {(node.node, change.subject): change for node in saved.nodes for change in node.changes}
    bad = {item.node for item in begun.moved}
    for node, change in made:
        was = costs.get((node, change.subject))
        assert change.disruption <= (was.cost if was else Disruption.NONE)
        assert was is None or was.diff == change.diff
        assert node not in bad
    skipped = set[str]().union(*(world.graph.descendants(node) for node in bad))
    hosts_of_drift = {host for host, *_ in drift}
    for node_result in result.nodes:
        node = node_result.node
        if node in skipped:
            assert node_result.status == "skipped"
        elif node in bad:
            assert node_result.status == "failed"
            assert world.hosts[node_result.host].keys.get(node_result.step) == kept[node_result.host].get(
                node_result.step
            )
        else:
            assert node_result.status in ("done", "unchanged")
            if node_result.host not in hosts_of_drift:
                key = node_result.step
                ends = [each.hosts[node_result.host].keys.get(key) for each in (world, plain)]
                assert ends[0] == ends[1]


def watch(world: World) -> list[tuple[str, Change]]:
    """Every change that is made from now on, with its node: planned last before its host acts."""
    made: list[tuple[str, Change]] = []
    nodes = {(node.step.title, node.host.name): node for node in world.graph.nodes}
    for name, host in world.hosts.items():
        perform = host.perform

        async def watched(
            actions: Any, *, title: str, deadline: float, _perform: Any = perform, _name: str = name
        ) -> Any:
            node = nodes[title, _name]
            resources = list(node.step.resources(SITE, world.platform, node.host))
            found = [await resource.plan(world.hosts[_name]) for resource in resources]
            made.extend((node.id, change) for change in found if isinstance(change, Change))
            return await _perform(actions, title=title, deadline=deadline)

        # Looks at what is planned just before it is done, then does it.
        setattr(host, "perform", watched)  # noqa: B010  (a method cannot be assigned by its type)
    return made


def kept(path: Path, world: World | None = None, key: Secret = KEY) -> SavedPlan:
    saved = saved_plan(plan_of(world or chain()), ABOUT, key)
    write_plan(path, text_of(saved, key))
    return saved


def believed(path: Path, about: About = ABOUT, key: Secret | None = KEY) -> SavedPlan:
    saved, seal = read_plan(path)
    believe(saved, seal, key, about, path)
    return saved


def test_a_plan_is_read_as_it_was_written_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "lab.plan"
    os.umask(os.umask(0o000))
    saved = kept(path)
    assert believed(path) == saved
    assert path.stat().st_mode & 0o777 == 0o600
    kept(path)
    assert [found.name for found in tmp_path.iterdir()] == ["lab.plan"]


def test_no_secret_stands_in_the_file_and_none_can_be_guessed_without_the_key(tmp_path: Path) -> None:
    world = World([declare("a", resources=yields(SecretFile()))], make_platform("ws1"))
    for number, key in enumerate((KEY, Secret("other" * 9))):
        kept(tmp_path / f"{number}.plan", world, key)
    texts = [(tmp_path / f"{number}.plan").read_text() for number in range(2)]
    assert not any("hunter2" in text or KEY.reveal() in text for text in texts)
    first, second = (json.loads(text)["nodes"][0]["changes"][0] for text in texts)
    assert first.pop("digest") != second.pop("digest")
    assert (
        first
        == second
        == {
            "subject": "file /etc/token",
            "summary": "write",
            "disruption": "none",
            "diff": "",
        }
    )


def test_another_secret_is_another_change() -> None:
    def world(text: str) -> World:
        resource = SecretFile()
        found = World([declare("a", resources=yields(resource))], make_platform("ws1"))
        object.__setattr__(resource, "plan", lambda host: change(text))
        return found

    async def change(text: str) -> Change:
        from deskside.model.action import WriteFile

        return Change("file /etc/token", "write", (WriteFile("/etc/token", Secret(text)),))

    saved = approved(world("hunter2"))
    assert moved(world("hunter2"), saved) == []
    assert agreed(world("hunter3"), saved).moved == (
        Moved("a@ws1", "file /etc/token", '"write" was approved, and what would be done moved since'),
    )


def test_a_plan_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.plan"
    kept(path)
    others: Mapping[str, dict[str, str]] = {
        "is one of lab.example, and this site is other.example": {"site": "other.example"},
        "of another content of the site file": {"site_digest": "c" * 64},
        "with the train 2026-11, and the site names 2027-05": {"train": "2027-05"},
        "with another deskside.lock": {"lock_digest": "c" * 64},
        "by Deskside 1, and this is 2": {"deskside": "2"},
    }
    for said, fields in others.items():
        with pytest.raises(FileError, match=said) as refused:
            believed(path, ABOUT.model_copy(update=fields))
        assert refused.value.hint
    for key in (None, Secret("another key")):
        with pytest.raises(FileError, match="a key that does not lie beside this site file"):
            believed(path, key=key)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:200], "only a part"),
        (lambda text: text[:-2], "only a part"),
        (lambda text: "", "only a part"),
        (lambda text: "site: lab.example\n", "only a part"),
        (lambda text: "[" * 100_000, "only a part"),
        (lambda text: "\ud800", "only a part"),
        (lambda text: "[]", "is no plan file"),
        (lambda text: "{}", "is no plan file"),
        (lambda text: text.replace('"deskside_plan": 1', '"deskside_plan": 2'), "a newer version"),
        (lambda text: text.replace('"deskside_plan": 1', '"deskside_plan": 0'), "an older version"),
        (lambda text: text.replace('"deskside_plan": 1', '"deskside_plan": true'), "is no plan file"),
        (lambda text: text.replace('"none"', '"free"', 1), "not as Deskside wrote it"),
        (lambda text: text.replace('"made":', '"more": 1, "made":'), "not as Deskside wrote it"),
        (lambda text: text.replace('"none"', '"reboot"', 1), "was changed after"),
        (lambda text: text.replace("set to 1", "set to 2", 1), "was changed after"),
        (lambda text: text.replace('"seal"', '"zeal"'), "not as Deskside wrote it"),
    ],
)
def test_a_file_that_is_cut_edited_or_of_another_version_is_refused(
    tmp_path: Path, change: Any, said: str
) -> None:
    path = tmp_path / "lab.plan"
    kept(path)
    path.write_bytes(change(path.read_text()).encode("utf-8", "surrogatepass"))
    with pytest.raises(FileError, match=said) as refused:
        believed(path)
    another = said in ("only a part", "is no plan file")  # which a site file's path may say too
    assert refused.value.hint == (
        f"make one: deskside plan --out FILE; another site file is named as: deskside -f {path} apply"
        if another
        else f"make a plan anew: deskside plan --out {path}"
    )
    assert "\n" not in refused.value.message


def test_no_byte_of_a_plan_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "lab.plan"
    saved = kept(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(FileError):
            assert believed(path) == saved


def test_what_is_no_plan_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("site: lab.example\n")
    with pytest.raises(FileError, match="exists and is no plan file"):
        kept(path)
    assert path.read_text() == "site: lab.example\n"
    with pytest.raises(FileError, match="exists and is no plan file"):
        kept(tmp_path)
    with pytest.raises(FileError, match="cannot be written to"):
        kept(tmp_path / "nowhere" / "lab.plan")
    with pytest.raises(FileError, match="cannot be read: No such file"):
        believed(tmp_path / "lab.plan")
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        believed(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["site.yaml"]
