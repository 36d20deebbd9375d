"""An example site and its platform, as add-ons and directories are handed them, and what they make of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deskside.addons import jupyterhub, local_path, metallb
from deskside.addons.values import merged
from deskside.distros.kubeadm import KUBEADM
from deskside.identity.ldap import LDAP
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.platform import AddOn, Given, Platform
from deskside.resources.release import Release
from deskside.site.schema import LdapDirectory, Site
from deskside.site.trains import Train, load_train

ADDONS = (metallb.METALLB, local_path.LOCAL_PATH, jupyterhub.JUPYTERHUB)
CHART_OF = {"metallb": "metallb", "local-path": "local-path-provisioner", "jupyterhub": "jupyterhub"}


SITE: dict[str, object] = {
    "site": "lab.example",
    "admin": {"user": "ops"},
    "network": {
        "subnet": "10.20.0.0/24",
        "gateway": "10.20.0.1",
        "api": "10.20.0.10",
        "load_balancer": "10.20.0.200-10.20.0.220",
    },
    "hosts": [
        {"name": "ws1", "address": "10.20.0.11", "roles": ["server", "worker"]},
        {"name": "ws2", "address": "10.20.0.12", "roles": ["worker"]},
        {"name": "nas", "address": "10.20.0.20", "roles": ["storage"], "managed": False},
    ],
    "identity": {
        "server": "ldaps://nas.lab.example",
        "ca": {"file": "nas-ca.pem"},
        "base": "dc=lab,dc=example",
        "allow": {"group": "cn=ai,cn=groups,dc=lab,dc=example"},
        "admins": ["ann"],
    },
    "storage": {"homes": {"source": "nas:/volume1/homes"}},
    "notebooks": {
        "hostname": "notebooks.lab.example",
        "profiles": [
            {"name": "CPU desk", "cpu": 2, "memory": "4Gi"},
            {
                "name": "Big desk",
                "cpu": 0.5,
                "memory": "512Mi",
                "image": "quay.io/jupyter/x:1",
                "default": True,
            },
        ],
    },
}
CA = "-----BEGIN CERTIFICATE-----\nof the directory\n-----END CERTIFICATE-----\n"


def example_site(changes: Mapping[str, object] | None = None) -> Site:
    """The example, with changes merged into it."""
    return Site.model_validate(merged(SITE, changes or {}))


def example_ldap(changes: Mapping[str, object] | None = None) -> LdapDirectory:
    """The example's directory, with changes to its section `identity`."""
    found = example_site({"identity": changes or {}}).ldap
    assert found is not None
    return found


def locked_artifacts(train: Train) -> dict[str, Locked]:
    """A lock for a whole train; digests are made up."""
    return {
        name: Locked(
            Artifact(name, found.version, Kind(found.kind)),
            f"{number:064x}",
            1000,
            "upstream",
            name,
            (found.reference,) if found.reference else (),
        )
        for number, (name, found) in enumerate(train.artifacts.items())
    }


def example_platform(train_name: str = "2026-11", **changes: Any) -> Platform:
    """A platform without hosts, with everything of a train locked."""
    train = load_train(train_name)
    fields: dict[str, Any] = {
        "lock": locked_artifacts(train),
        "addons": (),
        "hosts": {},
        "given": Given(CA),
        "directory": LDAP,
        "distro": KUBEADM,
    }
    return Platform(train=train, **(fields | changes))


def resources(addon: AddOn, **changes: Any) -> list[Any]:
    site, platform = example_site(changes), example_platform()
    return list(addon.resources(site, platform, None))  # type: ignore[arg-type]


def releases(**changes: Any) -> dict[str, Release]:
    found = [item for addon in ADDONS for item in resources(addon, **changes) if isinstance(item, Release)]
    return {release.name: release for release in found}


def facts_of(chart: str) -> dict[str, list[str]]:
    with (Path(__file__).parent / "data" / f"{chart}.tsv").open() as file:
        return {row[0]: row[1:] for row in csv.reader(file, delimiter="\t") if not row[0].startswith("#")}
