"""local-path-provisioner: volumes as folders on the disk of one host, for the hub's database and its like.

Not for homes: a volume here ties its owner to one host.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.addons.values import ON_SERVERS, chart_for, final_values, image_named, image_values
from deskside.model.platform import AddOn, Host, Platform
from deskside.model.resource import Resource
from deskside.resources.release import Release
from deskside.site.schema import Site

NAMESPACE = "local-path-storage"
STORAGE_CLASS = "local-path"
VOLUMES = "/var/lib/deskside/volumes"
PROVISIONER, HELPER, CHART = "local-path-provisioner", "local-path-helper", "local-path-provisioner-chart"


def helper_image(platform: Platform) -> str:
    """A small image with a shell and coreutils."""
    return image_named(platform, HELPER, "busybox")


def local_path_values(platform: Platform) -> dict[str, object]:
    """Values of the chart."""
    helper = image_values(helper_image(platform), "repository")
    return {
        "image": image_values(image_named(platform, PROVISIONER, PROVISIONER), "repository"),
        "helperImage": {key: helper[key] for key in ("repository", "tag")},
        "storageClass": {
            "name": STORAGE_CLASS,
            # The one class that there is: what names none gets it.
            "defaultClass": True,
            # A claim that is deleted by mistake must not take the hub's database with it.
            "reclaimPolicy": "Retain",
        },
        "nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [VOLUMES]}],
        **ON_SERVERS,
    }


def _resources(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    del host
    chart = chart_for(site, platform, "local-path", CHART)
    yield Release(
        NAMESPACE, "local-path", chart, final_values(site, "local-path", local_path_values(platform))
    )


LOCAL_PATH = AddOn(
    name="local_path",
    title="Offer volumes on local disks (local-path-provisioner)",
    resources=_resources,
    images=(PROVISIONER, HELPER),
    charts=(CHART,),
    needs=("cluster_settled", "images"),
)
