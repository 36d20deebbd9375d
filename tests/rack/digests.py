"""What a host and the cluster hold, as comparable values: files, packages, units, kernel settings, objects.

Left out is what moves by itself: logs, run-time state, counters, and what the cluster writes about itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rack.platforms import OnRack

FILES = """
set -- /etc /opt /usr/local /var/lib/deskside /var/lib/kubelet/config.yaml -xdev
for moving in containerd volumes homes scratch; do
    set -- "$@" -path "/var/lib/deskside/$moving" -prune -o
done
find "$@" -printf '%y %m %U:%G %p %l\\n'
find "$@" -type f -print0 | xargs -0 -r sha256sum
"""
HOST = {
    "files": FILES,
    "packages": "dpkg-query --show --showformat='${Package} ${Version} ${Status}\\n'",
    "units": "systemctl list-unit-files --no-legend --no-pager",
    "failed units": "systemctl list-units --failed --no-legend --no-pager",
    "settings": "sysctl --all 2>/dev/null",
}
COUNTERS = re.compile(
    r"(fs\.(aio-nr|dentry-state|file-nr|inode-nr|inode-state|quota\..*)|kernel\.random\..*|"
    r"kernel\.(ns_last_pid|pty\.nr|sched_domain\..*|spl\..*)|net\.netfilter\.nf_conntrack_count|"
    r"net\.ipv[46]\.(conf|neigh)\.(veth|vb-|ve-).*|fs\.binfmt_misc\..*|user\..*|vm\.nr_.*) ="
)
"""Settings that are none: numbers that the kernel counts."""
MOVING = (
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "pods",
    "componentstatuses",
    "nodes",
)
"""Kinds of objects that change while nothing happens. Nodes carry heartbeats; pods come and go."""


def host_digest(rack: OnRack, host: str) -> dict[str, set[str]]:
    """Lines of what a host holds, by kind."""
    found = {kind: set(rack.shell(host, script).splitlines()) for kind, script in HOST.items()}
    found["settings"] = {line for line in found["settings"] if not COUNTERS.match(line)}
    return found


def object_digest(rack: OnRack) -> dict[str, str]:
    """Every object of the API, without what the cluster itself notes on it."""
    kinds = rack.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    asked = ",".join(kind for kind in kinds if kind not in MOVING)
    items: list[dict[str, Any]] = json.loads(rack.kubectl("get", asked, "-A", "-o", "json"))["items"]
    return {_name(item): json.dumps(_still(item), sort_keys=True) for item in items}


def _name(item: Mapping[str, Any]) -> str:
    place = item["metadata"]
    return f"{item['apiVersion']} {item['kind']} {place.get('namespace', '')}/{place['name']}"


def _still(item: Mapping[str, Any]) -> dict[str, Any]:
    place = {
        key: value
        for key, value in item["metadata"].items()
        if key not in ("resourceVersion", "managedFields")
    }
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": place}
