"""The administrator's access to the cluster, for the admin's machine. Never touches another's entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from deskside.app.prepare import Report, prepared
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, StepFailed
from deskside.model.query import ReadPath
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.site.whole import write_whole
from deskside.store.store import Store


def user_file() -> Path:
    """The file that kubectl would change: the first of $KUBECONFIG, else ~/.kube/config."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named).expanduser() if named else Path.home() / ".kube/config"


async def fetch(workspace: Workspace, store: Store, report: Report) -> Secret:
    """The kubeconfig as YAML text, under the site's own name. Raises StepFailed while there is no cluster."""
    async with prepared(workspace, store, report) as found:
        leader = found.platform.leader
        path = found.platform.distro.kubeconfig
        answer = await found.sessions[leader.name].read(ReadPath(path, content=True))
    if answer.content is None:
        raise StepFailed(
            f"{leader.name} has no {path}: there is no cluster yet", hint="bring it up: deskside apply"
        )
    return renamed(answer.content, workspace.site)


def renamed(admin: bytes, site: Site) -> Secret:
    """Kubeadm's file with the API's address, the name in its certificate, and names of Deskside's own."""
    found = yaml.safe_load(admin)
    name = f"deskside-{site.name}"
    cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
    cluster |= {"server": f"https://{site.network.api}:6443", "tls-server-name": site.api_name}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return Secret(yaml.safe_dump(document, sort_keys=False))


def merge_into(path: Path, ours: Secret) -> str:
    """Add or renew our entries in `path` (0600, in one piece); returns the context's name.

    `current-context` is set only where there was none. Raises DesksideError for another kind of file.
    """
    fresh = yaml.safe_load(ours.reveal())
    theirs = _read(path)
    for section in ("clusters", "users", "contexts"):
        entry = fresh[section][0]
        kept = [item for item in theirs.get(section) or [] if item.get("name") != entry["name"]]
        theirs[section] = [*kept, entry]
    theirs.setdefault("apiVersion", "v1")
    theirs.setdefault("kind", "Config")
    theirs["current-context"] = theirs.get("current-context") or fresh["current-context"]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path.resolve(), yaml.safe_dump(theirs, sort_keys=False))
    return str(fresh["current-context"])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise DesksideError(
            f"{path} is not a kubeconfig; nothing was changed",
            hint="write to a file: deskside kubeconfig > FILE",
        )
    return found
