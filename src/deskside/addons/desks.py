"""Desks: what a user gets when the hub starts a notebook server. Part of `jupyterhub.py`, which see.

A desk may start on any worker: its home comes from the storage host, and only what is fast or cannot live on
a network file system stays on the worker's own disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from deskside.addons.values import image_values
from deskside.site.schema import Profile, Site

HOMES = "/var/lib/deskside/homes"
"""Where every worker has the homes mounted."""
SCRATCH = "/var/lib/deskside/scratch"
"""Where a worker has its scratch folder, unless the site file says another place."""
USER_ID, GROUP_ID = 1000, 100
USER_FOLDER = "{unescaped_username}"
"""The plain user name. KubeSpawner's `{username}` is a slug, which is another text for `ann.b` or `ann_b`.
User names begin with a letter and have no slash, so that none leads out of the folder."""
LOCAL = "/scratch/.jupyter"
OWN_FOLDERS = f"""\
set -eu
mkdir -p {LOCAL}
for folder in /home/jovyan /scratch {LOCAL}; do
  if [ "$(stat -c %u "$folder")" != {USER_ID} ]; then
    chown {USER_ID}:{GROUP_ID} "$folder"
    chmod 0700 "$folder"
  fi
done
"""
"""The kubelet makes the folders of `subPath` as root; one that is the user's already is left as it is."""
SQLITE_FILES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "ipython": (
        "/etc/ipython/ipython_config.json",
        {"HistoryManager": {"hist_file": f"{LOCAL}/history.sqlite"}},
    ),
    "jupyter": (
        "/etc/jupyter/jupyter_server_config.json",
        {
            "NotebookNotary": {"db_file": f"{LOCAL}/nbsignatures.db"},
            "BaseFileIdManager": {"db_path": f"{LOCAL}/file_id_manager.db"},
            "SQLiteYStore": {"db_path": f"{LOCAL}/ystore.db"},
        },
    ),
}
"""SQLite locks its files in ways that network file systems get wrong: Jupyter's live on the local disk."""


def singleuser_values(site: Site, image: str, helper: str) -> dict[str, object]:
    """The chart's `singleuser`; `image` is the train's for desks, `helper` one with a shell."""
    return {
        "image": image_values(site.notebooks.image or image, "name"),
        "cmd": "jupyterhub-singleuser",
        "startTimeout": site.notebooks.start_timeout,
        # There is no cloud here, and the container that would do it is a privileged one.
        "cloudMetadata": {"blockWithIptables": False},
        # Desks reach the internet, the hub and names; not the NAS, the router or the API of the cluster.
        # Homes are mounted by the host, so they need no rule.
        "networkPolicy": {"enabled": True, "egressAllowRules": {"privateIPs": False}},
        "uid": USER_ID,
        "fsGid": GROUP_ID,
        "storage": _storage(str(site.notebooks.scratch or SCRATCH)),
        "initContainers": [_own_folders(helper)],
        "extraFiles": {
            name: {"mountPath": path, "stringData": _json(content)}
            for name, (path, content) in SQLITE_FILES.items()
        },
        # Connection files and sockets of kernels belong to one desk on one host.
        "extraEnv": {"JUPYTER_RUNTIME_DIR": "/tmp/jupyter-runtime"},  # noqa: S108  # inside the desk
        "profileList": profile_list(site.notebooks.profiles),
    }


def profile_list(profiles: Sequence[Profile]) -> list[dict[str, object]]:
    """The desks that a user picks from, each under a slug of its own."""
    chosen = next((number for number, profile in enumerate(profiles) if profile.default), 0)
    slugs = _slugs([profile.name for profile in profiles])
    return [
        {
            "display_name": profile.name,
            "slug": slug,
            "description": f"{profile.cpu:g} {'core' if profile.cpu == 1 else 'cores'}, {profile.memory}",
            "default": number == chosen,
            "kubespawner_override": _override(profile),
        }
        for number, (slug, profile) in enumerate(zip(slugs, profiles, strict=True))
    ]


def homes_objects(namespace: str) -> tuple[Mapping[str, object], ...]:
    """One volume for all homes: the folder that every worker has mounted.

    A `hostPath` and not a `local` volume: that would be tied to one host, and the kubelet would hand every
    file of every home to the group of whoever starts a desk.
    """
    storage, modes = "1Ti", ["ReadWriteMany"]  # asked for by the API, looked at by nobody
    volume = {
        "capacity": {"storage": storage},
        "accessModes": modes,
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "hostPath": {"path": HOMES, "type": "Directory"},
        "claimRef": {"namespace": namespace, "name": "homes"},
    }
    claim = {
        "accessModes": modes,
        "storageClassName": "",
        "volumeName": "homes",
        "resources": {"requests": {"storage": storage}},
    }
    place = {"name": "homes", "namespace": namespace}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "homes"}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": place, "spec": claim},
    )


def _storage(scratch: str) -> dict[str, object]:
    return {
        "type": "static",
        "static": {"pvcName": "homes", "subPath": USER_FOLDER},
        "homeMountPath": "/home/jovyan",
        "extraVolumes": [{"name": "scratch", "hostPath": {"path": scratch, "type": "DirectoryOrCreate"}}],
        "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch", "subPath": USER_FOLDER}],
    }


def _own_folders(helper: str) -> dict[str, object]:
    return {
        "name": "own-folders",
        "image": helper,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", OWN_FOLDERS],
        "securityContext": {"runAsUser": 0, "runAsNonRoot": False},
        "volumeMounts": [
            {"name": "home", "mountPath": "/home/jovyan", "subPath": USER_FOLDER},
            {"name": "scratch", "mountPath": "/scratch", "subPath": USER_FOLDER},
        ],
    }


def _override(profile: Profile) -> dict[str, object]:
    # JupyterHub writes 4Gi as 4G, and means the same.
    memory = str(profile.memory).removesuffix("i")
    override: dict[str, object] = {
        "cpu_guarantee": profile.cpu,
        "cpu_limit": profile.cpu,
        "mem_guarantee": memory,
        "mem_limit": memory,
    }
    return override | ({"image": profile.image} if profile.image else {})


def _slugs(names: Sequence[str]) -> list[str]:
    slugs: list[str] = []
    for name in names:
        slug = wanted = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "desk"
        number = 2
        while slug in slugs:
            slug, number = f"{wanted}-{number}", number + 1
        slugs.append(slug)
    return slugs


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
