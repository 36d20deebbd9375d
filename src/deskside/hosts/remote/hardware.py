"""Facts about processor, memory, disks, GPUs, kernel and clock. Part of the remote program; reads only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os

from deskside.hosts.remote.core import Raw, at, contents, folder, program_output

ASKED_MODULES = [
    "overlay",
    "br_netfilter",
    "nf_conntrack",
    "nf_tables",
    "ip_tables",
    "ip_vs",
    "vxlan",
    "veth",
    "bridge",
    "tun",
    "fuse",
    "loop",
    "wireguard",
    "cifs",
    "nfs",
    "nfsv4",
    "iscsi_tcp",
    "dm_crypt",
    "dm_mod",
    "nvidia",
    "nvidia_uvm",
    "nouveau",
    "nova_core",
    "amdgpu",
]
# A module that is built in without parameters is in no list; what it brings along is.
EVIDENCE = {
    "br_netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
    "tun": "/dev/net/tun",
    "fuse": "/dev/fuse",
    "loop": "/dev/loop-control",
}
CAPABILITIES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]


def capabilities() -> list[str]:
    """The bounding set of process 1, as `cap_sys_time`."""
    for line in contents("/proc/1/status").splitlines():
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return [f"cap_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1]
    return []


def memory_bytes() -> int:
    """Memory of the machine in bytes."""
    for line in contents("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def booted_at() -> float:
    """When process 1 started: a container boots later than the kernel that it shares."""
    kernel = 0.0
    for line in contents("/proc/stat").splitlines():
        if line.startswith("btime "):
            kernel = float(line.split()[1])
    after_name = contents("/proc/1/stat").rpartition(")")[2].split()
    ticks = int(after_name[19]) if len(after_name) > 19 else 0
    return kernel + ticks / os.sysconf("SC_CLK_TCK")


def kernel_synchronised() -> bool:
    """What the kernel itself says about its clock (adjtimex with nothing to set)."""
    import ctypes

    try:
        # Status 5 is TIME_ERROR: not synchronised. The structure has 208 bytes; modes 0 changes nothing.
        return ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)) not in (-1, 5)
    except (OSError, AttributeError):
        return False


def clock_synchronised() -> bool:
    """By timesyncd's own mark, the kernel, or chrony (which in a container does not tell the kernel)."""
    if os.path.exists(at("/run/systemd/timesync/synchronized")) or kernel_synchronised():
        return True
    if not os.path.exists(at("/run/chrony/chronyd.pid")):
        return False
    ended = program_output(["chronyc", "-n", "-c", "tracking"], timeout=5)
    fields = ended.stdout.strip().split(",")
    return ended.status == 0 and len(fields) > 13 and fields[13] == "Normal"


def filesystem_at(path: str, mounts: dict[str, str]) -> str:
    """Type of the file system that a path lies on."""
    while path not in mounts and path != "/":
        path = os.path.dirname(path)
    return mounts.get(path, "")


def existing(path: str) -> str:
    """The nearest part of a path that is there, links followed."""
    near = os.path.normpath(path)
    while not os.path.exists(at(near)) and near != "/":
        near = os.path.dirname(near)
    return os.path.realpath(at(near))[len(at("")) :] or "/"


def disks(paths: list[str]) -> list[Raw]:
    """Free space where each path lies, or would lie."""
    mounts: dict[str, str] = {}
    for line in contents("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        mounts[fields.split()[4]] = rest.split()[0]
    found: list[Raw] = []
    for path in paths:
        near = existing(path)
        space = os.statvfs(at(near))
        found.append(
            {
                "path": path,
                "filesystem": filesystem_at(near, mounts),
                "size": space.f_blocks * space.f_frsize,
                "free": space.f_bavail * space.f_frsize,
                "inodes_free": space.f_favail,
            }
        )
    return found


def volume_group_free() -> dict[str, int]:
    """Unallocated bytes by LVM volume group; nothing where there is no LVM."""
    if not any(os.path.exists(at(f"{place}/vgs")) for place in ("/sbin", "/usr/sbin")):
        return {}
    argv = ["vgs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", "vg_name,vg_free"]
    ended = program_output(argv, timeout=10)
    try:
        rows = json.loads(ended.stdout)["report"][0]["vg"]
        return {str(row["vg_name"]): int(row["vg_free"]) for row in rows}
    except (ValueError, KeyError, IndexError, TypeError):
        return {}


def graphics() -> list[Raw]:
    """Display controllers (class 03) of the PCI bus with the driver that is bound."""
    found: list[Raw] = []
    for slot in folder("/sys/bus/pci/devices"):
        place = f"/sys/bus/pci/devices/{slot}"
        if not contents(f"{place}/class").startswith("0x03"):
            continue
        try:
            driver = os.path.basename(os.readlink(at(f"{place}/driver")))
        except OSError:
            driver = ""
        vendor, device = (contents(f"{place}/{name}").strip() for name in ("vendor", "device"))
        found.append({"slot": slot, "vendor": vendor, "device": device, "driver": driver})
    return found


def modules(kernel: str) -> list[str]:
    """Those of the asked modules that are loaded or built in."""
    present = {line.split()[0] for line in contents("/proc/modules").splitlines() if line}
    present.update(folder("/sys/module"))
    present.update(line.split()[-1] for line in contents("/proc/filesystems").splitlines() if line)
    for line in contents(f"/lib/modules/{kernel}/modules.builtin").splitlines():
        present.add(os.path.basename(line).split(".ko")[0].replace("-", "_"))
    present.update(name for name, path in EVIDENCE.items() if os.path.exists(at(path)))
    return [name for name in ASKED_MODULES if name in present]


def host_keys() -> list[str]:
    """SHA256 fingerprints of the SSH host keys, as ssh-keygen prints them."""
    found = []
    for name in folder("/etc/ssh"):
        words = contents(f"/etc/ssh/{name}").split() if name.endswith("_key.pub") else []
        try:
            digest = hashlib.sha256(base64.b64decode(words[1], validate=True)).digest()
        except (IndexError, binascii.Error):
            continue
        found.append("SHA256:" + base64.b64encode(digest).decode().rstrip("="))
    return found
