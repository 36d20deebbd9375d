"""Somebody's Docker on a host, with a container that nothing of Deskside's may touch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rack.platforms import OnRack

CONTAINER = "of-somebody"
UNITS = ("docker.service", "containerd.service")
_FILES = "find /etc/containerd /etc/docker /etc/cni -type f -exec sha256sum {} + 2>/dev/null || true"
_PUT = f"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends docker.io >/dev/null
# An image of one program and what it is linked to: there is no registry here.
libraries=$(ldd /usr/bin/sleep | grep -o '/[^ ]*')
tar -cC / --dereference usr/bin/sleep $libraries | docker import - sleep
docker run --detach --name {CONTAINER} sleep /usr/bin/sleep infinity
# As a Docker does that found forwarding switched off when it started.
iptables -P FORWARD DROP
"""


def put_docker(rack: OnRack, host: str) -> None:
    """Install Debian's Docker, with its containerd, and start a container; what it is like is kept."""
    if not _kept(rack).exists():
        rack.shell(host, _PUT)
        _kept(rack).write_text(json.dumps(docker_state(rack, host)))


def docker_before(rack: OnRack) -> dict[str, Any]:
    """What `docker_state` was before Deskside came."""
    found: dict[str, Any] = json.loads(_kept(rack).read_text())
    return found


def docker_state(rack: OnRack, host: str) -> dict[str, Any]:
    """What tells that somebody touched it: container, its start, images, starts of the units, files."""
    found = json.loads(rack.run(host, "docker", "inspect", CONTAINER).out)[0]
    state = found["State"]
    asked = ("systemctl", "show", "--property=Id,ActiveState,ActiveEnterTimestampMonotonic", *UNITS)
    return {
        "container": [found["Id"], state["Running"], state["StartedAt"], found["RestartCount"]],
        "containers": rack.run(host, "docker", "ps", "--all", "--format={{.Names}}").out.split(),
        "images": rack.run(host, "docker", "images", "--quiet").out.split(),
        "units": rack.run(host, *asked).out.split(),
        "files": rack.shell(host, _FILES),
    }


def _kept(rack: OnRack) -> Path:
    return rack.rack.folder / "docker.json"
