"""Three servers: they join one at a time, and the address of the API moves when its holder goes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deskside.lab.spec import RackSpec, workstations
from rack.conftest import FAILED
from rack.platforms import KUBECTL, RACKS, OnRack, needs_root, rack_up

# As long as the whole path once more: three control planes on two processors.
pytestmark = [pytest.mark.rack, pytest.mark.long, needs_root]

SERVERS = ("ws1", "ws2", "ws3")


@pytest.fixture(scope="module")
def three(request: pytest.FixtureRequest) -> Iterator[OnRack]:
    failed = request.config.stash.setdefault(FAILED, [])
    with rack_up(RackSpec(f"{RACKS}-three", workstations(3, 0)), failed) as rack:
        rack.deskside("apply", "--yes")
        yield rack


def test_all_are_ready_servers_and_nothing_is_left_to_do(three: OnRack) -> None:
    nodes = json.loads(three.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = {
        node["metadata"]["name"]: next(
            one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"
        )
        for node in nodes
    }
    assert ready == dict.fromkeys(SERVERS, "True")
    assert all("node-role.kubernetes.io/control-plane" in node["metadata"]["labels"] for node in nodes)
    assert not any(node["spec"].get("taints") for node in nodes), "they also work"
    pods = json.loads(three.kubectl("get", "pods", "-n", "kube-system", "-l", "component=etcd", "-o", "json"))
    assert {pod["spec"]["nodeName"] for pod in pods["items"]} == set(SERVERS)
    three.deskside("plan", "--exit-code")
    three.deskside("verify")


def test_the_address_of_the_api_moves_when_its_holder_loses_power(three: OnRack) -> None:
    api = three.rack.layout.api
    looks = f"ip -4 -o address show | grep -c ' {api}/' || true"
    (holder,) = [name for name in SERVERS if three.shell(name, looks).strip() == "1"]
    left = [name for name in SERVERS if name != holder]
    with three.broken("power", holder):
        asked = " ".join((*KUBECTL, "get", "--raw", "/readyz"))
        three.shell(left[0], f"for n in $(seq 120); do {asked} && exit; sleep 1; done; exit 1")
        assert [three.shell(name, looks).strip() for name in left].count("1") == 1
