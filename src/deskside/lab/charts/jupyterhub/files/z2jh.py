"""From the chart's values to traits of JupyterHub and KubeSpawner.

Part of Deskside's stand-in for the JupyterHub chart; runs in the hub, and imports nothing but PyYAML. It has
the name under which snippets of `hub.extraConfig` import `get_config` in the real chart.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path("/usr/local/etc/jupyterhub")
FOLDERS = ("existing-secret", "secret")
"""The Secret that the values name wins over the chart's own."""
HUB_URL, PROXY_API = "http://hub:8081", "http://proxy-api:8001"

HUB_TRAITS = {
    "active_server_limit": "activeServerLimit",
    "allow_named_servers": "allowNamedServers",
    "base_url": "baseUrl",
    "concurrent_spawn_limit": "concurrentSpawnLimit",
    "named_server_limit_per_user": "namedServerLimitPerUser",
    "redirect_to_server": "redirectToServer",
    "shutdown_on_logout": "shutdownOnLogout",
    "template_vars": "templateVars",
}
"""Trait of JupyterHub: key below `hub`."""
SPAWNER_TRAITS = {
    "allow_privilege_escalation": "allowPrivilegeEscalation",
    "cmd": "cmd",
    "cpu_guarantee": "cpu.guarantee",
    "cpu_limit": "cpu.limit",
    "default_url": "defaultUrl",
    "environment": "extraEnv",
    "events_enabled": "events",
    "extra_annotations": "extraAnnotations",
    "extra_containers": "extraContainers",
    "extra_labels": "extraLabels",
    "extra_pod_config": "extraPodConfig",
    "extra_resource_guarantees": "extraResource.guarantees",
    "extra_resource_limits": "extraResource.limits",
    "fs_gid": "fsGid",
    "image_pull_policy": "image.pullPolicy",
    "lifecycle_hooks": "lifecycleHooks",
    "mem_guarantee": "memory.guarantee",
    "mem_limit": "memory.limit",
    "node_affinity_preferred": "extraNodeAffinity.preferred",
    "node_affinity_required": "extraNodeAffinity.required",
    "node_selector": "nodeSelector",
    "profile_list": "profileList",
    "service_account": "serviceAccountName",
    "start_timeout": "startTimeout",
    "storage_extra_labels": "storage.extraLabels",
    "uid": "uid",
}
"""Trait of KubeSpawner: key below `singleuser`."""
SEEDED = {"JupyterHub": ("cookie_secret", "proxy_auth_token"), "CryptKeeper": ("keys",)}
"""Secrets that come from a Secret and never from `hub.config`."""


@cache
def values() -> dict[str, Any]:
    """All values of the release; what `hub.existingSecret` has in `values.yaml` wins."""
    merged: dict[str, Any] = {}
    for folder in reversed(FOLDERS):
        path = ROOT / folder / "values.yaml"
        if path.exists():
            merged = merge(merged, yaml.safe_load(path.read_text()) or {})
    return merged


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both, deeply; `second` wins where the two are no mappings."""
    merged = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def get_config(key: str, default: Any = None) -> Any:
    """The value at a dotted path, or `default` when some part of the path is not there."""
    found: Any = values()
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return default
        found = found[part]
    return found


def get_secret_value(key: str, default: str | None = None) -> str | None:
    """A key of the mounted Secrets, or `default`."""
    for folder in FOLDERS:
        path = ROOT / folder / key
        if path.exists():
            return path.read_text()
    return default


def configure(c: Any) -> None:
    """Set everything; `c` is a traitlets Config."""
    _configure_hub(c)
    _configure_desks(c)
    _configure_volumes(c)
    _configure_cloud_metadata(c)
    _configure_services(c)
    _configure_secrets(c)
    for name, traits in get_config("hub.config", {}).items():
        c[name].update({key: value for key, value in traits.items() if key not in SEEDED.get(name, ())})


def _set(target: Any, traits: dict[str, str], prefix: str) -> None:
    for trait, key in traits.items():
        value = get_config(f"{prefix}.{key}")
        if value is not None:
            setattr(target, trait, value)


def _configure_hub(c: Any) -> None:
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.ConfigurableHTTPProxy.api_url = PROXY_API
    c.ConfigurableHTTPProxy.should_start = False
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.last_activity_interval = 60
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.JupyterHub.hub_bind_url = "http://:8081"
    c.JupyterHub.hub_connect_url = HUB_URL
    in_memory = get_config("hub.db.type") == "sqlite-memory"
    c.JupyterHub.db_url = "sqlite://" if in_memory else "sqlite:///jupyterhub.sqlite"
    _set(c.JupyterHub, HUB_TRAITS, "hub")
    _set(c.Spawner, {"consecutive_failure_limit": "consecutiveFailureLimit"}, "hub")
    if get_config("debug.enabled", False):
        c.JupyterHub.log_level = "DEBUG"
        c.Spawner.debug = True


def _configure_desks(c: Any) -> None:
    spawner = c.KubeSpawner
    spawner.namespace = os.environ.get("POD_NAMESPACE", "default")
    release = get_config("Release.Name", "jupyterhub")
    chart = f"{get_config('Chart.Name', 'jupyterhub')}-{get_config('Chart.Version', '0')}"
    spawner.common_labels = {"app": "jupyterhub", "chart": chart.replace("+", "_"), "release": release}
    _set(spawner, SPAWNER_TRAITS, "singleuser")
    image, tag = get_config("singleuser.image.name"), get_config("singleuser.image.tag")
    if image:
        spawner.image = f"{image}:{tag}" if tag else image
    spawner.tolerations = [
        {"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user", "effect": "NoSchedule"},
        *get_config("singleuser.extraTolerations", []),
    ]


def _configure_volumes(c: Any) -> None:
    volumes, mounts = _home(c)
    storage = get_config("singleuser.storage", {})
    volumes += _listed(storage.get("extraVolumes"))
    mounts += _listed(storage.get("extraVolumeMounts"))
    files = get_config("singleuser.extraFiles", {})
    if files:
        items = [{"key": key, "path": key} | _mode(file) for key, file in files.items()]
        volumes.append({"name": "files", "secret": {"secretName": "singleuser", "items": items}})
        mounts += [
            {"name": "files", "mountPath": file["mountPath"], "subPath": key} for key, file in files.items()
        ]
    c.KubeSpawner.volumes = volumes
    c.KubeSpawner.volume_mounts = mounts
    c.KubeSpawner.init_containers = list(get_config("singleuser.initContainers", []))


def _home(c: Any) -> tuple[list[Any], list[Any]]:
    storage = get_config("singleuser.storage", {})
    kind = storage.get("type")
    if kind == "static":
        name, claim, sub_path = "home", storage["static"]["pvcName"], storage["static"].get("subPath")
    elif kind == "dynamic":
        dynamic = storage["dynamic"]
        name, claim, sub_path = (
            dynamic["volumeNameTemplate"],
            dynamic["pvcNameTemplate"],
            dynamic.get("subPath"),
        )
        c.KubeSpawner.pvc_name_template = claim
        c.KubeSpawner.storage_pvc_ensure = True
        traits = {"storage_class": "dynamic.storageClass", "storage_capacity": "capacity"}
        traits["storage_access_modes"] = "dynamic.storageAccessModes"
        _set(c.KubeSpawner, traits, "singleuser.storage")
    else:
        return [], []
    mount = {"name": name, "mountPath": storage["homeMountPath"]} | (
        {"subPath": sub_path} if sub_path else {}
    )
    return [{"name": name, "persistentVolumeClaim": {"claimName": claim}}], [mount]


def _listed(found: Any) -> list[Any]:
    """A list as it is; of a mapping its values, by name."""
    return [found[key] for key in sorted(found)] if isinstance(found, dict) else list(found or [])


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    return {"mode": file["mode"]} if "mode" in file else {}


def _configure_cloud_metadata(c: Any) -> None:
    metadata = get_config("singleuser.cloudMetadata", {})
    if not metadata.get("blockWithIptables"):
        return
    image = get_config("singleuser.networkTools.image")
    to = f"--protocol tcp --destination {metadata['ip']} --destination-port 80"
    c.KubeSpawner.init_containers.append(
        {
            "name": "block-cloud-metadata",
            "image": f"{image['name']}:{image['tag']}",
            "command": f"iptables --append OUTPUT {to} --jump DROP".split(),
            "securityContext": {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
        }
    )


def _configure_services(c: Any) -> None:
    services, roles = [], []
    if get_config("cull.enabled", False):
        service, role = _culler()
        services.append(service)
        roles.append(role)
    for name, found in get_config("hub.services", {}).items():
        # The token comes from a Secret, where the values' own lies too when they have one.
        service = {"name": name, **{key: value for key, value in found.items() if key != "apiToken"}}
        services.append(service | {"api_token": get_secret_value(f"hub.services.{name}.apiToken")})
    roles += [{"name": name, **found} for name, found in get_config("hub.loadRoles", {}).items()]
    c.JupyterHub.services = services
    c.JupyterHub.load_roles = roles


def _culler() -> tuple[dict[str, Any], dict[str, Any]]:
    name, cull = "jupyterhub-idle-culler", get_config("cull")
    command = ["python3", "-m", "jupyterhub_idle_culler"]
    command.append(f"--url={HUB_URL.replace('//hub', '//localhost')}{get_config('hub.baseUrl', '/')}hub/api")
    flags = {"timeout": "timeout", "every": "cull-every", "concurrency": "concurrency", "maxAge": "max-age"}
    command += [f"--{flag}={cull[key]}" for key, flag in flags.items() if cull.get(key)]
    command += ["--cull-users"] * bool(cull.get("users"))
    command += ["--cull-admin-users=false"] * (cull.get("adminUsers") is False)
    command += ["--remove-named-servers"] * bool(cull.get("removeNamedServers"))
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    scopes += ["admin:users"] * bool(cull.get("users"))
    scopes += ["admin:servers"] * bool(cull.get("removeNamedServers"))
    return {"name": name, "command": command}, {"name": name, "scopes": scopes, "services": [name]}


def _configure_secrets(c: Any) -> None:
    cookie = get_secret_value("hub.config.JupyterHub.cookie_secret")
    if cookie:
        c.JupyterHub.cookie_secret = cookie.strip()
    keys = get_secret_value("hub.config.CryptKeeper.keys")
    if keys:
        c.CryptKeeper.keys = keys.strip().split(";")
