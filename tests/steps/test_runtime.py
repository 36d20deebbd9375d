"""Deskside's own containerd: what it is told on two kinds of machine, and that it is its own."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from deskside.errors import SiteError
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.facts import Facts
from deskside.model.resource import Resource
from deskside.resources.files import Directory, File, Link
from deskside.resources.system import Unit
from deskside.steps.container_runtime import (
    container_runtime,
    containerd_config,
    containerd_unit,
    pause_image,
)

from .sites import make_facts, make_hosts, make_platform, make_site

HERE = Path(__file__).parent
SITE = make_site()
PAUSE = "registry.k8s.io/pause:3.10.2"
RACK = make_facts(SITE, "ws1", cgroup=1, container="systemd-nspawn")
METAL = make_facts(SITE, "ws1", capabilities=("cap_sys_resource", "cap_sys_module", "cap_sys_time"))


def locked(name: str, kind: Kind = Kind.BINARY, *references: str) -> Locked:
    return Locked(Artifact(name, "1", kind), name[0] * 64, 1, "recipe", name, references)


LOCK = {
    "containerd": locked("containerd", Kind.ARCHIVE),
    "runc": locked("runc"),
    "crictl": locked("crictl"),
    "cni-plugins": locked("cni-plugins", Kind.ARCHIVE),
    "pause": locked("pause", Kind.IMAGE, PAUSE),
}


def resources() -> list[Resource]:
    hosts = make_hosts(SITE)
    platform = replace(make_platform(hosts), lock=LOCK)
    return list(container_runtime.resources(SITE, platform, hosts["ws3"]))


@pytest.mark.parametrize(("name", "facts"), [("rack", RACK), ("metal", METAL)])
def test_golden(name: str, facts: Facts) -> None:
    """To write them anew: UPDATE_GOLDEN=1 pytest tests/steps/test_runtime.py."""
    texts = {
        f"containerd-{name}.toml": containerd_config(facts, PAUSE),
        f"containerd-{name}.service": containerd_unit(facts),
    }
    for file, text in texts.items():
        path = HERE / "golden" / file
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        assert text == path.read_text()


def test_cgroups_and_limits_follow_from_facts() -> None:
    runtime = "io.containerd.cri.v1.runtime"
    for facts, systemd, restricted in ((RACK, False, True), (METAL, True, False)):
        plugin = tomllib.loads(containerd_config(facts, PAUSE))["plugins"][runtime]
        assert plugin["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is systemd
        assert plugin["restrict_oom_score_adj"] is restricted
        assert ("OOMScoreAdjust" in containerd_unit(facts)) is not restricted


def test_nothing_of_another_runtime_is_touched() -> None:
    own = ("/opt/deskside/", "/etc/deskside/", "/etc/systemd/system/deskside-", "/etc/crictl.yaml")
    for item in resources():
        if isinstance(item, File | Directory | Link):
            assert item.path.startswith(own)
        if isinstance(item, Unit):
            assert item.name.startswith("deskside-")
    config = containerd_config(METAL, PAUSE)
    for foreign in (
        "/run/containerd",
        "/var/lib/containerd",
        "/opt/cni",
        "/etc/cni",
        "/etc/containerd",
        "/run/nri",
    ):
        assert f"'{foreign}" not in config


def test_a_new_containerd_restarts_it() -> None:
    unit = next(item for item in resources() if isinstance(item, Unit))
    assert unit.after[0].subject.startswith("containerd at ")


def test_a_lock_without_a_pause_image_is_said_by_name() -> None:
    with pytest.raises(SiteError, match="no pause image"):
        pause_image(make_platform(make_hosts(SITE)))
