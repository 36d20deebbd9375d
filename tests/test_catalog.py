"""What holds for every plug-in of the catalog, those that are added later included; and for every example."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from addons.sites import CA, locked_artifacts
from deskside.app.outline import outline
from deskside.app.workspace import Workspace
from deskside.catalog import (
    all_addons,
    all_oses,
    all_steps,
    distro_named,
    make_platform,
    steps_for,
    wanted_artifacts,
)
from deskside.engine.graph import Graph, make_graph
from deskside.engine.planner import NodePlan, make_node_plan, make_plan
from deskside.engine.results import Results
from deskside.errors import CheckFailed, SiteError
from deskside.hosts.fake import FakeHost, bare_facts
from deskside.model.artifact import Kind
from deskside.model.facts import Facts
from deskside.model.platform import AddOn, Given, Platform
from deskside.model.query import ReadFacts
from deskside.model.step import Step
from deskside.site.load import load
from deskside.site.trains import load_train
from teaching import teach_cluster, teach_host_steps, teach_mount_points

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.yaml"))
EXAMPLE = ROOT / "docs/examples/site.yaml"
TRAINS = sorted(path.stem for path in (ROOT / "src/deskside/site/trains").glob("*.yaml"))
GOLDEN = Path(__file__).parent / "golden"
CLUSTER = {"first_server", "join_ticket", "join_servers", "join_workers", "cluster_settled"}
"""Steps that need a real kubeadm: `tests/distros` and the rack have them."""
ELSEWHERE = {"records", "host_login", "directory"}
"""Steps that the example has no use for: their own tests have them."""


class Site:
    """The example on bare modelled hosts."""

    def __init__(self) -> None:
        self.workspace = Workspace.open(EXAMPLE)
        self.site = self.workspace.site
        self.hosts = {
            spec.name: FakeHost(spec.name, facts=bare_facts(spec.name, str(spec.address)))
            for spec in self.site.managed_hosts
        }
        self.lock = locked_artifacts(self.workspace.train)

    async def platform(self) -> Platform:
        question = ReadFacts(("/",))
        facts = {name: Facts.from_raw(await host.read(question)) for name, host in self.hosts.items()}
        return make_platform(self.site, self.workspace.train, self.lock, facts, Given(CA))

    async def graph(self) -> Graph:
        platform = await self.platform()
        return make_graph(steps_for(platform), platform)


@pytest.mark.parametrize("train", TRAINS)
def test_every_train_has_what_distribution_and_add_ons_install(train: str) -> None:
    site, found = load(EXAMPLE).site, load_train(train)
    wanted = {item.name: item for item in wanted_artifacts(site, found)}
    charts = {name for addon in all_addons() for name in addon.charts}
    images = {name for addon in all_addons() for name in addon.images}
    assert {name for name, item in wanted.items() if item.kind is Kind.CHART} == charts
    assert images <= {name for name, item in wanted.items() if item.kind is Kind.IMAGE}
    assert set(distro_named(site.kubernetes.distro).artifacts) <= set(wanted)
    assert set(found.artifacts) == set(wanted), "a train lists what is used, and nothing else"


def test_every_need_names_a_step_or_an_add_on() -> None:
    names = [step.name for step in all_steps()] + [addon.name for addon in all_addons()]
    assert len(names) == len(set(names))
    declared: list[Step | AddOn] = [*all_steps(), *all_addons()]
    for found in declared:
        assert set(found.needs) <= set(names) - {found.name}, found.name
        assert found.title, found.name
        assert found.deadline > 0, found.name


def test_every_system_has_packages_for_the_same_capabilities_and_says_what_has_run() -> None:
    capabilities = {system.id: set(system.packages) for system in all_oses()}
    assert len(set(map(frozenset, capabilities.values()))) == 1, capabilities
    assert all(system.verified and system.versions for system in all_oses())
    assert len({system.id for system in all_oses()}) == len(all_oses())


def test_an_unknown_system_is_refused_with_the_known_ones() -> None:
    found = Site()
    facts = {"ws1": Facts(hostname="ws1", os_id="plan9", os_version="4", os_name="Plan 9")}
    with pytest.raises(CheckFailed, match="ws1 runs Plan 9 4") as refused:
        make_platform(found.site, found.workspace.train, found.lock, facts, Given(CA))
    assert all(system.id in refused.value.hint for system in all_oses())


def test_what_no_plug_in_offers_is_a_site_error() -> None:
    with pytest.raises(SiteError, match="frobnetes is not available"):
        distro_named("frobnetes")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_good_and_has_a_graph_with_every_step(path: Path) -> None:
    workspace = Workspace.open(path)
    assert workspace.warnings == ()
    graph = outline(workspace)
    names = {step.name for step in all_steps()} | {addon.name for addon in all_addons()}
    assert {step.name for step in graph.steps} == names
    places = {node.id: position for position, node in enumerate(graph.nodes)}
    for node, needs in graph.needs.items():
        assert all(places[need] < places[node] for need in needs)


def shown(plan: NodePlan) -> str:
    lines = [f"{change.subject}: {change.summary} [{change.disruption.word}]" for change in plan.changes]
    lines += [f"{item.subject}: later, {item.reason}" for item in plan.deferred]
    return "".join(f"  {line}\n" for line in lines)


async def test_every_step_plans_on_bare_hosts_and_writes_nothing() -> None:
    """To write it anew: UPDATE_GOLDEN=1 pytest tests/test_catalog.py."""
    found = Site()
    for host in found.hosts.values():
        teach_mount_points(host)
    plan = await make_plan(await found.graph(), found.site, await found.platform(), found.hosts)
    assert not plan.failures
    assert not any(host.writes or host.sent for host in found.hosts.values())
    # The second question of each host is the plan itself; the first were the facts, asked twice here.
    assert {host.round_trips for host in found.hosts.values()} == {3}
    planned = {node.step for node in plan.nodes}
    assert planned == {step.name for step in all_steps()} | {addon.name for addon in all_addons()}
    text = "".join(f"{node.node}\n{shown(node)}" for node in plan.nodes)
    path = GOLDEN / "bare-site.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


async def carried_out(found: Site, name: str) -> dict[str, NodePlan]:
    """Make every change of a step on every host, in plan order; returns what a second plan says."""
    graph, platform = await found.graph(), await found.platform()
    again, idle = {}, []
    for node in graph.nodes_of(name):
        host = found.hosts[node.host.name]
        plan = await make_node_plan(node, found.site, platform, found.hosts, Results())
        assert plan.failure is None, plan.failure
        if not plan.changes:
            idle.append(node.id)
        for sent in {sent.sha256: sent for change in plan.changes for sent in change.sends}.values():
            await host.send(sent)
        actions = [action for change in plan.changes for action in change.actions]
        await host.perform(actions, title=plan.title, deadline=60)
        confirmed = [action for change in plan.changes for action in change.confirm]
        await host.perform(confirmed, title=plan.title, deadline=60)
        again[node.id] = await make_node_plan(node, found.site, platform, found.hosts, Results())
    assert set(idle) < set(again), f"{name} has nothing to do on any bare host"
    return again


@pytest.mark.parametrize("name", [step.name for step in all_steps() if step.name not in CLUSTER | ELSEWHERE])
async def test_a_second_plan_of_every_host_step_is_empty(name: str) -> None:
    found = Site()
    for host in found.hosts.values():
        teach_host_steps(host, found.lock)
        if name != "container_runtime":
            host.files.put("/etc/systemd/system/deskside-containerd.service", "")
            host.units.systemctl(("start", "deskside-containerd.service"))
    again = await carried_out(found, name)
    assert {node: shown(plan) for node, plan in again.items()} == dict.fromkeys(again, "")
    assert all(plan.failure is None for plan in again.values())


@pytest.mark.parametrize("name", [addon.name for addon in all_addons()])
async def test_a_second_plan_of_every_add_on_is_empty(name: str) -> None:
    found = Site()
    teach_cluster(found.hosts["ws1"])
    again = await carried_out(found, name)
    assert {node: shown(plan) for node, plan in again.items()} == dict.fromkeys(again, "")
    assert all(plan.failure is None for plan in again.values())
    assert found.hosts["ws1"].cluster.releases
