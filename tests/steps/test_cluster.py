"""The cluster's steps: their order, who joins where, and what they plan on bare hosts."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from deskside.distros.kubeadm import KUBEADM
from deskside.distros.kubeadm_run import Membership
from deskside.engine.graph import make_graph
from deskside.engine.planner import make_plan
from deskside.hosts.fake import FakeHost
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.platform import JoinTicket, Platform
from deskside.model.step import Step, resources_of
from deskside.resources.artifacts import Images
from deskside.resources.system import Unit
from deskside.site.schema import Role
from deskside.steps import baseline, cluster, container_runtime, network, services

from .sites import make_hosts, make_platform, make_site

SITE = make_site()
IMAGES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "etcd",
    "kube-proxy",
    "coredns",
    "pause",
)


def locked(name: str) -> Locked:
    kind = Kind.IMAGE if name in IMAGES else Kind.BINARY
    references = (f"registry.k8s.io/{name}:1",) if name in IMAGES else ()
    return Locked(
        Artifact(name, "1.36.3", kind), sha256(name.encode()).hexdigest(), 1, "recipe", name, references
    )


def platform(**facts: dict[str, object]) -> Platform:
    lock = {name: locked(name) for name in KUBEADM.artifacts}
    return replace(make_platform(make_hosts(SITE, **facts)), distro=KUBEADM, lock=lock)


def found(declared: Step, name: str, **facts: dict[str, object]) -> tuple[object, ...]:
    made = platform(**facts)
    return resources_of(declared, SITE, made, made.hosts[name], None)


def test_servers_join_one_at_a_time_and_workers_beside() -> None:
    assert cluster.join_servers.serial
    assert not cluster.join_workers.serial
    assert cluster.join_ticket.gives is JoinTicket
    assert {cluster.join_servers.takes, cluster.join_workers.takes} == {JoinTicket}


def test_the_cluster_is_settled_once_all_have_joined_and_pods_are_connected() -> None:
    assert set(cluster.cluster_settled.needs) == {"join_servers", "join_workers", "pod_network"}
    assert cluster.cluster_settled.once
    assert cluster.first_server.once


def test_each_host_joins_once() -> None:
    joins = {
        (step.name, name): len(found(step, name))
        for step in (cluster.join_servers, cluster.join_workers)
        for name, host in make_hosts(SITE).items()
        if step.on & set(host.spec.roles)
    }
    assert joins == {
        ("join_servers", "ws1"): 0,
        ("join_servers", "ws2"): 1,
        ("join_workers", "ws1"): 0,
        ("join_workers", "ws3"): 1,
    }
    assert isinstance(found(cluster.join_workers, "ws3")[0], Membership)


def test_workers_hold_neither_the_address_nor_the_images_of_servers() -> None:
    subjects = [item.subject for item in platform_software("ws3")]
    assert not any("failover" in subject or "keepalived" in subject for subject in subjects)
    assert not any("kube-apiserver" in subject for subject in subjects)
    assert any("deskside-failover.service" in item.subject for item in platform_software("ws1"))


def platform_software(name: str) -> list[Images | Unit]:
    return list(found(cluster.cluster_software, name))  # type: ignore[arg-type]


def test_before_the_join_the_kubelet_is_enabled_and_not_started() -> None:
    joined: dict[str, object] = {"kubernetes": {"joined": True}}
    for facts, running in ({}, False), (joined, True):
        units = [item for item in found(cluster.cluster_software, "ws3", ws3=facts) if isinstance(item, Unit)]
        assert [(unit.enabled, unit.running) for unit in units] == [(True, running)]


def test_every_node_has_network_and_images() -> None:
    nodes = {Role.SERVER, Role.WORKER}
    assert network.pod_network.on == services.images.on == cluster.cluster_software.on == nodes


STEPS = (
    *(baseline.baseline, container_runtime.container_runtime, network.pod_network),
    *(cluster.cluster_software, cluster.first_server, cluster.join_ticket),
    *(cluster.join_servers, cluster.join_workers, cluster.cluster_settled),
)


async def planned(host: str) -> str:
    made = platform()
    graph = make_graph(STEPS, made)
    fakes = {name: FakeHost(name) for name in made.hosts}
    plan = await make_plan(graph, SITE, made, fakes)
    assert not plan.failures
    assert not any(fake.writes or fake.sent for fake in fakes.values())
    lines = []
    for node in plan.nodes:
        if node.host == host and node.step != "baseline":
            lines += [f"{node.step}: {change.subject}: {change.summary}" for change in node.changes]
            lines += [f"{node.step}: {item.subject}: later, {item.reason}" for item in node.deferred]
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("host", ["ws1", "ws2", "ws3"])
async def test_plan_on_bare_hosts(host: str) -> None:
    """To write them anew: UPDATE_GOLDEN=1 pytest tests/steps/test_cluster.py."""
    path = Path(__file__).parent / "golden" / f"cluster-{host}.txt"
    text = await planned(host)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
