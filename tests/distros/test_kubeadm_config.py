"""What kubeadm, kubelet and keepalived are told: goldens for the rack's machine and for a workstation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deskside.distros import kubeadm_config as config
from deskside.distros.failover import keepalived_config, router_id
from deskside.distros.kubeadm import KUBEADM
from deskside.distros.names import corefile
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.platform import Host, JoinTicket, Platform
from deskside.site.schema import Site
from steps.sites import make_hosts, make_platform, make_site

HERE = Path(__file__).parent
RACK = {
    "cgroup": 1,
    "container": "systemd-nspawn",
    "cpus": 2,
    "memory": 25274793984,
    "nameservers": ("10.1.1.1",),
}
METAL = {
    "cgroup": 2,
    "capabilities": ("cap_sys_resource", "cap_sys_module", "cap_sys_time"),
    "nameservers": ("127.0.0.53",),
    "desktop": True,
    "cpus": 16,
    "memory": 64 << 30,
}
TICKET = JoinTicket("abcdef.0123456789abcdef", "sha256:" + "0" * 64, "ff" * 32)


def cluster(facts: dict[str, object]) -> tuple[Site, Platform, dict[str, Host]]:
    site = make_site()
    hosts = make_hosts(site, **{spec.name: facts for spec in site.managed_hosts})
    locked = Locked(Artifact("kubeadm", "1.36.3", Kind.BINARY), "0" * 64, 1, "recipe", "kube")
    return site, replace(make_platform(hosts), lock={"kubeadm": locked}), hosts


def golden_texts() -> Iterator[tuple[str, str]]:
    for kind, facts in (("rack", RACK), ("metal", METAL)):
        site, platform, hosts = cluster(facts)
        yield f"init-{kind}.yaml", config.init_config(site, platform, hosts["ws1"])
        yield f"kubelet-{kind}.yaml", config.kubelet_drop_in(hosts["ws1"].facts)
    yield "join-server.yaml", config.join_config(site, hosts["ws2"], TICKET).reveal()
    yield "join-worker.yaml", config.join_config(site, hosts["ws3"], TICKET).reveal()
    yield "keepalived.conf", keepalived_config(site, hosts["ws1"])
    yield "Corefile", corefile(site, hosts.values(), config.CLUSTER_DOMAIN)


@pytest.mark.parametrize(("name", "text"), list(golden_texts()), ids=lambda value: value[:20])
def test_golden(name: str, text: str) -> None:
    """To write them anew: UPDATE_GOLDEN=1 pytest tests/distros."""
    path = HERE / "golden" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_a_server_that_works_has_no_taint_and_one_that_does_not_keeps_kubeadms() -> None:
    site, platform, hosts = cluster(METAL)
    works = next(yaml.safe_load_all(config.init_config(site, platform, hosts["ws1"])))
    idle = next(yaml.safe_load_all(config.init_config(site, platform, hosts["ws2"])))
    assert works["nodeRegistration"]["taints"] == []
    assert "taints" not in idle["nodeRegistration"]


def test_no_token_of_the_first_server_outlives_a_minute() -> None:
    site, platform, hosts = cluster(METAL)
    first = next(yaml.safe_load_all(config.init_config(site, platform, hosts["ws1"])))
    assert [token["ttl"] for token in first["bootstrapTokens"]] == ["1m0s"]
    assert "token" not in first["bootstrapTokens"][0]


def test_kernel_checks_are_ignored_by_facts_alone() -> None:
    for facts, wanted in ((RACK, ("SystemVerification",)), (METAL, ())):
        assert config.ignored_checks(cluster(facts)[2]["ws1"].facts) == wanted


def test_the_person_at_the_desk_keeps_more_than_a_machine_without_screen() -> None:
    desk = cluster(METAL)[2]["ws1"].facts
    assert config.reserved(desk) == {"cpu": "1000m", "memory": "4096Mi"}
    assert config.reserved(desk.model_copy(update={"desktop": False})) == {"cpu": "100m", "memory": "1024Mi"}
    small = desk.model_copy(update={"memory": 0, "cpus": 1})
    assert config.reserved(small) == {"cpu": "125m", "memory": "256Mi"}


def test_without_a_name_server_coredns_forwards_nothing() -> None:
    site, _, hosts = cluster({**RACK, "nameservers": ()})
    assert "forward" not in corefile(site, hosts.values(), "cluster.local")


def test_a_single_server_names_no_peers() -> None:
    site = make_site(
        hosts=[
            {"name": "ws1", "address": "10.20.0.11", "roles": ["server", "worker"]},
            {"name": "nas", "address": "10.20.0.20", "roles": ["storage"], "managed": False},
        ]
    )
    text = keepalived_config(site, make_hosts(site)["ws1"])
    assert "unicast" not in text
    assert 1 <= router_id(site) <= 255


def test_the_distribution_asks_for_every_image_of_kubeadm() -> None:
    images = {
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "coredns",
        "etcd",
        "pause",
    }
    assert images < set(KUBEADM.artifacts)
