"""JupyterHub: the hub, its proxy, and the desks, through the values of the Zero to JupyterHub chart.

The values are those that a site of bare machines always needs; what desks look like is in `desks.py`, who may
log in comes from the directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deskside.addons.desks import homes_objects, singleuser_values
from deskside.addons.local_path import HELPER, STORAGE_CLASS, helper_image
from deskside.addons.metallb import address_request, hub_address
from deskside.addons.values import ON_SERVERS, chart_for, final_values, image_named, image_values
from deskside.model.door import Door, Source, nowhere
from deskside.model.platform import AddOn, Host, HubLogin, Platform
from deskside.model.resource import Resource
from deskside.resources.objects import MARK
from deskside.resources.release import ClusterSecret, KnownSecret, Manifest, Release
from deskside.site.schema import Site

NAMESPACE = "jupyterhub"
HUB, PROXY, NOTEBOOK, CHART = "k8s-hub", "configurable-http-proxy", "notebook", "jupyterhub-chart"
SECRET = "deskside-hub"  # noqa: S105  # the name of one
GIVEN = "deskside-given"
"""Secret of what the directory contributes: the hub's environment."""
SERVICE = "deskside"
"""What Deskside is to the hub when it puts people out: a service with a token."""
PUT_OUT_SCOPES = ("read:users:name", "read:servers", "delete:servers", "delete:users")
"""Stop desks, delete people: with them go their tokens and cookies. Nothing else."""
SECRET_KEYS = {
    "hub.config.JupyterHub.cookie_secret": 32,
    "hub.config.CryptKeeper.keys": 32,
    f"hub.services.{SERVICE}.apiToken": 32,
}
"""What `hub.existingSecret` can hold. The token between hub and proxy is not among them: the chart reads it
from its own Secret alone, where it keeps what it once made."""
WEB = Door("JupyterHub", "tcp", "80", (Source.PEOPLE, Source.NODES, Source.PODS), nowhere, hub_address)
CULL_SECONDS = 24 * 3600


def hub_values(site: Site, platform: Platform) -> dict[str, object]:
    """Values of the chart, without those that the site file adds."""
    login = _login(site, platform)
    return {
        "hub": {
            "image": image_values(image_named(platform, HUB, HUB), "name"),
            "existingSecret": SECRET,
            "db": {"type": "sqlite-pvc", "pvc": {"storageClassName": STORAGE_CLASS}},
            "config": login.config,
            "extraFiles": _files(login),
            "extraConfig": dict(login.code),
            "services": {SERVICE: {}},
            "loadRoles": {
                SERVICE: {
                    "scopes": [*PUT_OUT_SCOPES, *login.scopes],
                    "services": [SERVICE],
                }
            },
            **_environment(login),
            "networkPolicy": {"enabled": True},
            **ON_SERVERS,
        },
        "proxy": {
            "service": {
                "type": "LoadBalancer",
                "annotations": address_request(platform, hub_address(site)),
            },
            "chp": {
                "image": image_values(image_named(platform, PROXY, PROXY), "name"),
                "networkPolicy": {"enabled": True},
                **ON_SERVERS,
            },
        },
        "singleuser": singleuser_values(
            site, image_named(platform, NOTEBOOK, NOTEBOOK), helper_image(platform)
        ),
        # One more scheduler, which packs desks onto few machines, is of no use to a handful of workstations.
        "scheduling": {"userScheduler": {"enabled": False}},
        "prePuller": {
            # The hook holds up every apply until each host has pulled each image of ten gigabytes.
            "hook": {"enabled": False},
            # Deskside itself brings the train's images to every host; others are pulled at their first start.
            "continuous": {"enabled": False},
        },
        # An hour, the chart's default, ends trainings that run without an open notebook.
        "cull": {"enabled": True, "timeout": CULL_SECONDS, "every": 600, "maxAge": 0},
    }


def _login(site: Site, platform: Platform) -> HubLogin:
    return platform.directory.hub_login(site, platform.given)


def _given(login: HubLogin) -> KnownSecret:
    return KnownSecret(NAMESPACE, GIVEN, login.secrets)


def _environment(login: HubLogin) -> Mapping[str, object]:
    """Variables from the Secret; its digest starts the hub anew when they change."""
    if not login.secrets:
        return {}
    sources = {name: {"valueFrom": {"secretKeyRef": {"name": GIVEN, "key": name}}} for name in login.secrets}
    return {"extraEnv": sources, "annotations": {MARK: _given(login).digest}}


def _files(login: HubLogin) -> Mapping[str, object]:
    return {
        path.rpartition("/")[2]: {"mountPath": path, "stringData": content}
        for path, content in login.files.items()
    }


def _resources(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    del host
    yield ClusterSecret(NAMESPACE, SECRET, SECRET_KEYS)
    if (login := _login(site, platform)).secrets:
        yield _given(login)
    yield Manifest("homes of the desks", homes_objects(NAMESPACE))
    chart = chart_for(site, platform, "jupyterhub", CHART)
    values = final_values(site, "jupyterhub", hub_values(site, platform))
    yield Release(NAMESPACE, "jupyterhub", chart, values)


JUPYTERHUB = AddOn(
    name="jupyterhub",
    title="Open the hub (JupyterHub)",
    resources=_resources,
    images=(HUB, PROXY, NOTEBOOK, HELPER),
    charts=(CHART,),
    needs=("metallb", "local_path", "homes"),
)
