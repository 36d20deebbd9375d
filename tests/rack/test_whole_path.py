"""On the finished platform: a second apply changes nothing, a plan costs two rounds, a user can work."""

from __future__ import annotations

import json

import pytest

from deskside.app.runs import proposed
from deskside.app.workspace import Workspace
from deskside.cli.options import make_store
from deskside.hosts.layers import parts_of
from deskside.hosts.remote.artifacts import BLOBS
from deskside.lab.recipes import default_cache
from deskside.lab.source import RecipeSource
from deskside.model.artifact import Kind
from deskside.store.lock import LOCK_NAME, read_lock
from rack.conftest import DOCKER_HOST
from rack.digests import host_digest, object_digest
from rack.docker import CONTAINER, docker_before, docker_state
from rack.platforms import OnRack, finished, needs_root

pytestmark = [pytest.mark.rack, needs_root]

MANAGED = ("ws1", "ws2", "ws3")
CHECKS = [
    "names",
    "directory",
    "address",
    "wrong password",
    "outsider",
    "log in",
    "profiles",
    "desk",
    "cell",
    "firewall",
    "home",
    "firewall elsewhere",
]


def test_a_second_apply_changes_nothing(platform: OnRack) -> None:
    hosts, objects = {name: host_digest(platform, name) for name in MANAGED}, object_digest(platform)
    for digest in hosts.values():
        # Not vacuous: it sees what apply brought.
        assert any("/opt/deskside/bin/kubelet" in line for line in digest["files"])
        assert any(line.startswith("chrony ") for line in digest["packages"])
        assert not digest["failed units"]
    assert any(" Deployment jupyterhub/hub" in name for name in objects)
    assert "nothing to do" in platform.deskside("apply", "--yes").out
    for name in MANAGED:
        after = host_digest(platform, name)
        different = {kind: lines ^ after[kind] for kind, lines in hosts[name].items()}
        assert different == {kind: set() for kind in different}, name
    now = object_digest(platform)
    assert {name for name in objects.keys() | now.keys() if objects.get(name) != now.get(name)} == set()


async def test_a_plan_costs_two_rounds_a_host(platform: OnRack) -> None:
    workspace = Workspace.open(platform.site_file)
    async with proposed(workspace, make_store(workspace), lambda _host, _line: None) as proposal:
        sessions = proposal.prepared.sessions
        assert proposal.plan.empty
        assert {name: session.round_trips for name, session in sessions.items()} == dict.fromkeys(MANAGED, 2)
        assert {session.writes for session in sessions.values()} == {0}


def test_layers_of_archives_are_found_where_the_runtime_keeps_them(platform: OnRack) -> None:
    """By these digests hosts say what need not be sent again."""
    workspace = Workspace.open(platform.site_file)
    source = RecipeSource(workspace.train, default_cache())
    lock = read_lock(workspace.folder / LOCK_NAME)
    # One archive may hold several images.
    archives = {locked.sha256: locked for locked in lock.values() if locked.artifact.kind is Kind.IMAGE}
    parts = [part for one in archives.values() for part in parts_of(finished(source.fetch(one)))]
    there = set(platform.shell("ws2", f"ls {BLOBS}").split())
    assert {part.sha256 for part in parts} <= there
    again = sum(part.size for part in parts) - sum({part.sha256: part.size for part in parts}.values())
    print(f"{len(parts)} layers of {len(archives)} archives; {again >> 20} MiB of them would travel twice")
    assert again > 50 << 20


def test_a_docker_that_was_there_is_untouched(platform: OnRack) -> None:
    assert docker_state(platform, DOCKER_HOST) == docker_before(platform)
    crictl = ("/opt/deskside/bin/crictl", "ps", "--output=json")
    ours = {
        one["metadata"]["name"] for one in json.loads(platform.run(DOCKER_HOST, *crictl).out)["containers"]
    }
    assert "kube-proxy" in ours
    assert CONTAINER not in ours
    assert "-P FORWARD DROP" in platform.run(DOCKER_HOST, "iptables", "-S", "FORWARD").out


def test_verify_passes_as_a_user(platform: OnRack) -> None:
    # One of the two hosts that desks then run on has a Docker, which drops what is forwarded.
    platform.kubectl("cordon", "ws1")
    try:
        found = platform.deskside("verify", "--json").lines
    finally:
        platform.kubectl("uncordon", "ws1")
    assert [(one["check"], one["outcome"]) for one in found] == [(name, "ok") for name in CHECKS]
    first, second = (
        next(one["message"] for one in found if one["check"] == "home")
        .removeprefix("written on ")
        .split(", read on ")
    )
    assert {first, second} == {"ws2", "ws3"}
    said = {one["check"]: one["message"] for one in found}
    assert f"a desk on {first} reaches no shell" in said["firewall"]
    assert f"a desk on {second} reaches no shell" in said["firewall elsewhere"]
    assert all(one["seconds"] > 0 for one in found)
    assert "SchedulingDisabled" not in platform.kubectl("get", "nodes")
    assert "jupyter-ann" not in platform.kubectl("get", "pods", "-n", "jupyterhub", "-o", "name")


def test_status_shows_hosts_nodes_releases_and_certificates(platform: OnRack) -> None:
    found = platform.deskside("status", "--json").document
    assert [(host["name"], host["answers"], host["node"]) for host in found["hosts"]] == [
        (name, True, "Ready") for name in MANAGED
    ]
    assert {release["name"]: release["status"] for release in found["releases"]} == dict.fromkeys(
        ("metallb", "local-path", "jupyterhub"), "deployed"
    )
    assert found["drift"] == {"changes": 0, "deferred": 0, "failures": 0}
    assert found["last_run"]["ok"]
    network = json.loads(platform.kubectl("get", "service", "proxy-public", "-n", "jupyterhub", "-o", "json"))
    assert found["address"] == f"http://{network['status']['loadBalancer']['ingress'][0]['ip']}"
    days = {cert["name"]: cert["days_left"] for cert in found["certificates"] if cert["host"] == "ws1"}
    assert len(days) > 5
    assert min(days.values()) > 300
    text = platform.deskside("status").out
    assert all(name in text for name in MANAGED)
