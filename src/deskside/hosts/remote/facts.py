"""The facts probe: what `model/facts.py` names, in one go. Part of the remote program; reads only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from time import time

from deskside.hosts.remote.core import SINGLE, Raw, at, contents, program_output, texts_of
from deskside.hosts.remote.hardware import (
    booted_at,
    capabilities,
    clock_synchronised,
    disks,
    graphics,
    host_keys,
    memory_bytes,
    modules,
    volume_group_free,
)
from deskside.hosts.remote.sockets import default_route, host_name, interfaces, listening_sockets, nameservers
from deskside.hosts.remote.system import os_release

MARKER = "/etc/kubernetes/deskside-joined"
FOREIGN = {
    "k3s": ("/etc/rancher/k3s", "/usr/local/bin/k3s", "/var/lib/rancher/k3s"),
    "rke2": ("/etc/rancher/rke2", "/usr/local/bin/rke2", "/var/lib/rancher/rke2"),
    "microk8s": ("/var/snap/microk8s", "/snap/microk8s"),
    "k0s": ("/usr/local/bin/k0s", "/var/lib/k0s"),
}
UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
WATCHED = (
    *("systemd-networkd.service", "systemd-resolved.service", "NetworkManager.service"),
    *("firewalld.service", "nftables.service", "deskside-run-*"),
)


def present(path: str) -> bool:
    """Whether anything lies at a path."""
    return os.path.lexists(at(path))


def not_ours(unit: str) -> bool:
    """Whether a kubelet's unit is there that is no second name of Deskside's (kubeadm knows one)."""
    path = at(unit)
    if os.path.islink(path) and os.path.basename(os.readlink(path)) == "deskside-kubelet.service":
        return False
    return os.path.lexists(path)


def foreign_kubernetes() -> str:
    """Whose Kubernetes is on the host, when it is not ours."""
    for name, paths in FOREIGN.items():
        if any(present(path) for path in paths):
            return name
    ours = present("/etc/systemd/system/deskside-kubelet.service") or present(MARKER)
    if any(not_ours(f"{place}/kubelet.service") for place in UNIT_FOLDERS):
        return "kubelet"
    return "kubeadm" if present("/etc/kubernetes/kubelet.conf") and not ours else ""


def kubernetes_facts() -> Raw:
    """Traces of Kubernetes on the disk."""
    kubelet = present("/etc/kubernetes/kubelet.conf")
    return {
        "joined": kubelet and present(MARKER),
        "kubelet_conf": kubelet,
        "admin_conf": present("/etc/kubernetes/admin.conf"),
        "foreign": foreign_kubernetes(),
    }


def active_units() -> list[str]:
    """Those of the watched units that are active."""
    argv = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", *WATCHED]
    lines = program_output(argv, timeout=10).stdout.splitlines()
    return [line.split()[0] for line in lines if line.split()]


def desktop() -> bool:
    """Ubuntu's servers have the graphical target too; only a display manager makes it a desktop."""
    target = ""
    for place in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"):
        path = at(f"{place}/default.target")
        if os.path.islink(path):
            target = os.path.basename(os.readlink(path))
            break
    return target == "graphical.target" and present("/etc/systemd/system/display-manager.service")


def receipt() -> dict[str, str]:
    """What the last run left here; empty when there is none that can be read."""
    try:
        found = json.loads(contents("/var/lib/deskside/receipt.json") or "{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}


def container() -> str:
    """What holds this system; empty on a machine of its own."""
    return contents("/run/systemd/container").strip()


def swap() -> list[str]:
    """Active swap devices and files."""
    return [line.split()[0] for line in contents("/proc/swaps").splitlines()[1:] if line.split()]


def unit_facts() -> Raw:
    """What the active units say."""
    units = active_units()
    runs = [name[len("deskside-run-") :].rpartition(".")[0] for name in units if name.startswith("deskside-")]
    return {
        "networkd": "systemd-networkd.service" in units,
        "network_manager": "NetworkManager.service" in units,
        "resolved": "systemd-resolved.service" in units,
        "firewalls": other_firewalls(units),
        "runs": runs,
    }


def other_firewalls(units: list[str]) -> list[str]:
    """Firewalls beside ours. The unit of ufw is active also where ufw is not."""
    found = []
    if "ENABLED=yes" in lines_of("/etc/ufw/ufw.conf"):
        found.append("ufw")
    if "firewalld.service" in units:
        found.append("firewalld")
    if "nftables.service" in units and "flush ruleset" in lines_of("/etc/nftables.conf"):
        found.append("nftables")
    return found


def lines_of(path: str) -> list[str]:
    """Lines of a small text file without blanks at their ends; none where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file]
    except OSError:
        return []


def system_facts() -> Raw:
    """Operating system, kernel and identity."""
    release, kernel, held = os_release(), os.uname().release, container()
    return {
        "hostname": host_name(),
        "os_id": release.get("ID", ""),
        "os_version": release.get("VERSION_ID", ""),
        "os_codename": release.get("VERSION_CODENAME", ""),
        "os_name": release.get("PRETTY_NAME", ""),
        "architecture": os.uname().machine,
        "kernel": kernel,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "machine_id": contents("/etc/machine-id").strip(),
        # A container sees the identity of the machine below it, which is not its own.
        "product_uuid": "" if held else contents("/sys/class/dmi/id/product_uuid").strip(),
        "boot_id": contents("/proc/sys/kernel/random/boot_id").strip(),
        "booted_at": booted_at(),
        "clock": time(),
        "clock_synchronised": clock_synchronised(),
        "cgroup": 2 if present("/sys/fs/cgroup/cgroup.controllers") else 1,
        "container": held,
        "capabilities": capabilities(),
        "writable_sysctls": os.access(at("/proc/sys/kernel/panic"), os.W_OK) and not read_only("/proc/sys"),
        "host_keys": host_keys(),
        "modules": modules(kernel),
    }


def read_only(path: str) -> bool:
    """Whether the file system there is mounted read-only (root's access check does not see it)."""
    try:
        return bool(os.statvfs(at(path)).f_flag & os.ST_RDONLY)
    except OSError:
        return True


def answer_facts(query: Mapping[str, object]) -> Raw:
    """Op `facts`."""
    answer = system_facts()
    answer.update(unit_facts())
    answer.update(
        {
            "cpus": len(os.sched_getaffinity(0)),
            "memory": memory_bytes(),
            "interfaces": interfaces(),
            "route_interface": default_route(),
            "nameservers": nameservers(),
            "disks": disks(texts_of(query, "paths")),
            "volume_group_free": volume_group_free(),
            "swap": swap(),
            "listeners": listening_sockets() if query.get("ports", True) else [],
            "gpus": graphics(),
            "cloud_init": present("/etc/cloud/cloud.cfg"),
            "desktop": desktop(),
            "kubernetes": kubernetes_facts(),
            "receipt": receipt(),
        }
    )
    return answer


SINGLE["facts"] = answer_facts
