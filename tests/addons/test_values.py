"""What add-ons hand to charts: goldens, and what a site of bare machines always needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deskside.addons import desks, jupyterhub, local_path, metallb
from deskside.addons.values import final_values, image_named, merged, split_image
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.resources.release import ChartReference, ClusterSecret, Manifest, Release, _plain
from deskside.site.trains import load_train
from deskside.steps.baseline import DATA_FOLDERS
from deskside.steps.storage import HOMES

from .sites import ADDONS, CHART_OF, example_platform, example_site, facts_of, releases, resources

HERE = Path(__file__).parent


def manifests() -> dict[str, Manifest]:
    found = [item for addon in ADDONS for item in resources(addon) if isinstance(item, Manifest)]
    return {manifest.subject.replace(" ", "-"): manifest for manifest in found}


def golden_texts() -> Iterator[tuple[str, str]]:
    for name, release in releases().items():
        yield f"{name}.yaml", release.values_text
    for name, manifest in manifests().items():
        yield f"{name}.yaml", yaml.safe_dump_all(map(_plain, manifest.objects), sort_keys=True, width=110)


@pytest.mark.parametrize(
    ("name", "text"), list(golden_texts()), ids=lambda value: value if len(value) < 40 else ""
)
def test_golden(name: str, text: str) -> None:
    """To write them anew: UPDATE_GOLDEN=1 pytest tests/addons."""
    path = HERE / "golden" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_there_is_no_golden_without_an_owner() -> None:
    assert {path.name for path in (HERE / "golden").iterdir()} == {name for name, _ in golden_texts()}


def at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("scheduling.userScheduler.enabled", False),
        ("prePuller.hook.enabled", False),
        ("singleuser.cloudMetadata.blockWithIptables", False),
        ("singleuser.startTimeout", 1200),
        ("singleuser.networkPolicy.enabled", True),
        ("hub.networkPolicy.enabled", True),
        ("proxy.chp.networkPolicy.enabled", True),
        ("proxy.service.type", "LoadBalancer"),
        ("proxy.service.annotations", {"metallb.io/loadBalancerIPs": "10.20.0.200"}),
        ("hub.db.pvc.storageClassName", "local-path"),
        ("hub.existingSecret", "deskside-hub"),
        ("hub.nodeSelector", {"node-role.kubernetes.io/control-plane": ""}),
        ("singleuser.storage.static", {"pvcName": "homes", "subPath": "{unescaped_username}"}),
        ("singleuser.cmd", "jupyterhub-singleuser"),
    ],
)
def test_what_bare_machines_need(path: str, wanted: object) -> None:
    assert at(releases()["jupyterhub"].values, path) == wanted


def test_start_timeout_comes_from_the_site() -> None:
    values = releases(notebooks={"start_timeout": 3600})["jupyterhub"].values
    assert at(values, "singleuser.startTimeout") == 3600


def test_old_metallb_is_asked_by_its_old_prefix_and_never_by_the_spec_too() -> None:
    site, platform = example_site(), example_platform("2026-11-rack")
    service = at(jupyterhub.hub_values(site, platform), "proxy.service")
    assert service["annotations"] == {"metallb.universe.tf/loadBalancerIPs": "10.20.0.200"}
    assert "loadBalancerIP" not in service


def test_paths_agree_with_the_steps_that_make_them() -> None:
    assert desks.HOMES == HOMES
    assert DATA_FOLDERS["scratch"] == desks.SCRATCH
    assert DATA_FOLDERS["volumes"] == local_path.VOLUMES


@pytest.mark.parametrize("train", ["2026-11", "2026-11-rack"])
def test_trains_have_what_add_ons_ask_for(train: str) -> None:
    artifacts = load_train(train).artifacts
    for addon in ADDONS:
        assert {artifacts[name].kind for name in addon.images} == {"image"}
        assert {artifacts[name].kind for name in addon.charts} == {"chart"}


def test_secret_and_homes_come_before_the_hub() -> None:
    kinds = [type(item) for item in resources(jupyterhub.JUPYTERHUB)]
    assert kinds == [ClusterSecret, Manifest, Release]


def test_addresses_of_a_site_with_one_address() -> None:
    site = example_site({"network": {"load_balancer": "10.20.0.200"}})
    pool, advertisement = metallb.address_objects(site)
    assert at(pool, "spec.addresses") == ["10.20.0.200/32"]
    assert at(advertisement, "spec.ipAddressPools") == ["hub"]


def test_chart_of_the_site_is_fetched_by_reference() -> None:
    chart = {"reference": "oci://registry.example/jupyterhub", "version": "4.4.0"}
    found = releases(notebooks={"chart": chart})["jupyterhub"].chart
    assert found == ChartReference(chart["reference"], "4.4.0")


def test_values_of_the_site_come_last_and_are_merged_deeply() -> None:
    extra = {"values": {"cull": {"timeout": 5}, "singleuser": {"profileList": []}, "custom": {"x": 1}}}
    values = releases(notebooks=extra)["jupyterhub"].values
    assert at(values, "cull.timeout") == 5
    assert at(values, "cull.every") == 600
    assert at(values, "singleuser.profileList") == []
    assert at(values, "custom.x") == 1
    metal = releases(releases={"metallb": {"values": {"speaker": {"logLevel": "debug"}}}})["metallb"].values
    assert at(metal, "speaker.logLevel") == "debug"
    assert at(metal, "speaker.ignoreExcludeLB") is True


def test_merging_leaves_both_as_they_were() -> None:
    first, second = {"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}
    assert merged(first, second) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert (first, second) == ({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]})
    assert final_values(example_site(), "metallb", first) == first


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("quay.io/a/b:1", ("quay.io/a/b", "1")),
        ("registry:5000/a/b", ("registry:5000/a/b", "latest")),
        ("a/b", ("a/b", "latest")),
        ("quay.io/a/b@sha256:00ff", ("quay.io/a/b@sha256", "00ff")),
    ],
)
def test_image_references(reference: str, parts: tuple[str, str]) -> None:
    assert split_image(reference) == parts


def test_image_of_an_archive_with_several() -> None:
    references = ("quay.io/metallb/controller:v1", "quay.io/metallb/speaker:v1")
    locked = Locked(Artifact("x", "1", Kind.IMAGE), "0" * 64, 1, "recipe", "x", references)
    platform = example_platform(lock={"x": locked})
    assert image_named(platform, "x", "speaker") == references[1]
    assert image_named(platform, "x", "other") == references[0]


def test_profiles() -> None:
    cpu, big = desks.profile_list(example_site().notebooks.profiles)
    assert (cpu["slug"], cpu["default"], big["default"]) == ("cpu-desk", False, True)
    assert cpu["description"] == "2 cores, 4Gi"
    # JupyterHub's own units: G is 1024 to the third; it knows no Gi.
    assert cpu["kubespawner_override"] == {
        "cpu_guarantee": 2.0,
        "cpu_limit": 2.0,
        "mem_guarantee": "4G",
        "mem_limit": "4G",
    }
    assert at(big, "kubespawner_override.image") == "quay.io/jupyter/x:1"


def test_slugs_are_one_each() -> None:
    profiles = [{"name": name, "memory": "1Gi"} for name in ("A b", "a-b", "A  B", "***")]
    found = desks.profile_list(example_site({"notebooks": {"profiles": profiles}}).notebooks.profiles)
    assert [item["slug"] for item in found] == ["a-b", "a-b-2", "a-b-3", "desk"]
    assert [item["default"] for item in found] == [True, False, False, False]


def test_nothing_but_the_user_is_filled_in_by_kubespawner() -> None:
    """KubeSpawner formats every string of the init container: a stray brace would stop every desk."""
    assert "{" not in desks.OWN_FOLDERS
    assert "}" not in desks.OWN_FOLDERS
    assert desks.USER_FOLDER.format(unescaped_username="ann.b") == "ann.b"


FREE = ("hub.config", "hub.services", "hub.loadRoles")
"""Mappings of the chart whose keys are names that a site chooses."""


def leaves(values: Mapping[str, Any], facts: Mapping[str, list[str]], prefix: str = "") -> Iterator[str]:
    """Paths that the chart must know: down to where upstream takes a mapping of any keys."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        deeper = any(known.startswith(f"{path}.") for known in facts)
        if isinstance(value, Mapping) and deeper and path not in FREE:
            yield from leaves(value, facts, f"{path}.")
        else:
            yield path


@pytest.mark.parametrize("name", CHART_OF)
def test_every_key_is_one_of_upstream(name: str) -> None:
    facts = facts_of(CHART_OF[name])
    unknown = [path for path in leaves(releases()[name].values, facts) if path not in facts]
    assert unknown == []
