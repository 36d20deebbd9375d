"""What add-ons have in common: where a release's chart comes from, and how its values come together.

Pure functions over the site and the platform; no add-on is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from deskside.model.artifact import Locked
from deskside.model.platform import Platform
from deskside.resources.release import ChartReference
from deskside.site.schema import Site

ReleaseName = Literal["jupyterhub", "metallb", "local-path"]
SERVER = "node-role.kubernetes.io/control-plane"
ON_SERVERS: Mapping[str, object] = {
    "nodeSelector": {SERVER: ""},
    "tolerations": [{"key": SERVER, "operator": "Exists", "effect": "NoSchedule"}],
}
"""For the pods of a service that belongs on a server, also on one that runs no desks."""


def merged(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, object]:
    """Both, deeply: mappings are merged, everything else (lists too) is taken from `second`."""
    result: dict[str, object] = dict(first)
    for key, value in second.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def chart_for(site: Site, platform: Platform, release: ReleaseName, artifact: str) -> Locked | ChartReference:
    """The chart that the site names for a release, or the train's.

    A chart of the site's own on this machine is locked under the artifact's name like any other.
    """
    chosen = site.release(release).chart
    if chosen is not None and chosen.reference is not None:
        return ChartReference(chosen.reference, str(chosen.version))
    return platform.artifact(artifact)


def final_values(site: Site, release: ReleaseName, values: Mapping[str, object]) -> Mapping[str, object]:
    """Deskside's values, and over them those of the site file: the escape hatch is never looked into."""
    return merged(values, site.release(release).values)


def split_image(reference: str) -> tuple[str, str]:
    """Name and tag, such that `name:tag` is the reference; `name@sha256` and the digits for a digest."""
    name, _, tag = reference.rpartition(":")
    return (name, tag) if name and "/" not in tag else (reference, "latest")


def image_named(platform: Platform, artifact: str, image: str) -> str:
    """Reference of an image artifact: of several in one archive, that whose last part is `image`."""
    found = platform.artifact(artifact).references
    named = [item for item in found if split_image(item)[0].partition("@")[0].rpartition("/")[2] == image]
    return (named or list(found))[0]


def image_values(reference: str, name: str) -> dict[str, object]:
    """An image as charts take it, with its name under the key `name`; never pulled again once it is there."""
    repository, tag = split_image(reference)
    return {name: repository, "tag": tag, "pullPolicy": "IfNotPresent"}
