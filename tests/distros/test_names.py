"""Names inside the cluster: a change of them makes new pods of CoreDNS, which are waited for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from deskside.distros.names import DIGEST, TAKEN_UP, Names, cluster_names
from deskside.model.action import RunCommand
from deskside.model.query import ObjectsFound
from deskside.model.resource import Change, Deferred, HostReader

from .test_kubeadm_config import RACK, cluster


class Cluster:
    """Answers with the objects that it has; None: it does not answer."""

    def __init__(self, objects: list[Mapping[str, object]] | None) -> None:
        self.found = ObjectsFound(objects is not None, tuple(objects or ()))

    async def read(self, *_: object) -> ObjectsFound:
        return self.found


def reader(objects: list[Mapping[str, object]] | None) -> HostReader:
    return cast("HostReader", Cluster(objects))


def names_of_a_site() -> Names:
    site, platform, _ = cluster(RACK)
    return cluster_names(site, platform, "cluster.local")


async def test_new_names_are_on_the_pods_and_waited_for() -> None:
    names = names_of_a_site()
    change = await names.plan(reader([]))
    assert isinstance(change, Change)
    assert change.actions[-1] == TAKEN_UP
    applied = cast("RunCommand", change.actions[0])
    config, deployment = json.loads(cast("str", applied.stdin))["items"]
    assert " nas.lab.example nas" in config["data"]["Corefile"]
    assert DIGEST in deployment["spec"]["template"]["metadata"]["annotations"]
    assert await names.plan(reader([config, deployment])) is None
    del deployment["spec"]["template"]["metadata"]["annotations"][DIGEST]
    assert isinstance(await names.plan(reader([config, deployment])), Change)


async def test_they_are_known_once_the_cluster_is_up() -> None:
    assert isinstance(await names_of_a_site().plan(reader(None)), Deferred)
