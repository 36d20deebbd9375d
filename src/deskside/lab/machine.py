"""What this machine is, and the one place that copes with each kind: cgroup v1 or v2, systemd as process 1 or
not.

All processes of a rack sit in cgroups below `deskside/RACK`, so that they are found again whoever started
them. Nothing here knows what a host is for.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deskside.errors import DesksideError
from deskside.lab.process import run_now

CGROUPS = Path("/sys/fs/cgroup")
TOP = "deskside"
SUPERVISORS = ".supervisors"
"""Sibling of the hosts' cgroups; no host can have that name."""
V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")

PACKAGE_OF_TOOL = {
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
}
SYSTEM_PACKAGES = tuple(sorted(set(PACKAGE_OF_TOOL.values())))
"""Debian packages that a rack needs on the machine."""


def missing_packages() -> tuple[str, ...]:
    """Debian packages to install before a rack can run here; empty when nothing is missing."""
    return tuple(sorted({package for tool, package in PACKAGE_OF_TOOL.items() if shutil.which(tool) is None}))


def require_machine() -> None:
    """Raise DesksideError when this machine cannot carry a rack as it stands."""
    if sys.platform != "linux":
        raise DesksideError("a rack needs Linux", hint="run the rack on a Debian or Ubuntu machine")
    if os.geteuid() != 0:
        raise DesksideError("a rack needs root", hint="run the same command with sudo")
    missing = missing_packages()
    if missing:
        raise DesksideError(
            f"a rack needs {', '.join(missing)} on this machine", hint=f"apt-get install {' '.join(missing)}"
        )


@dataclass(frozen=True)
class Machine:
    """The two facts that decide how hosts are started."""

    cgroup_version: int
    systemd: bool
    """Whether systemd is process 1."""

    def unit(self, rack: str, host: str) -> str:
        """Name of the transient unit of a host, where systemd is process 1."""
        return f"deskside-rack-{rack}-{host}.service"

    def cgroups(self, rack: str, host: str) -> tuple[Path, ...]:
        """The host's cgroup in each hierarchy: one on v2, one per controller on v1."""
        if self.cgroup_version == 1:
            return tuple(top / TOP / rack / host for top in v1_hierarchies())
        if self.systemd:
            # systemd owns the tree: only what it delegates to a unit may be divided further.
            return (CGROUPS / "system.slice" / self.unit(rack, host) / "host",)
        return (CGROUPS / TOP / rack / host,)

    def supervisor_command(self, rack: str, host: str, argv: Sequence[str]) -> list[str]:
        """How a supervisor is started so that it outlives whoever started it."""
        if not (self.systemd and self.cgroup_version == 2):
            return ["setsid", "--fork", *argv]
        return [
            *("systemd-run", "--quiet", "--collect", f"--unit={self.unit(rack, host)}"),
            *("--property=Delegate=yes", "--property=KillMode=mixed", "--property=TasksMax=infinity", "--"),
            *argv,
        ]

    def enter_supervisors(self, rack: str, host: str) -> None:
        """Move the calling supervisor out of the way of its host's cgroup, and out of its caller's."""
        if self.cgroup_version == 2 and self.systemd:
            _enter((self.cgroups(rack, host)[0].parent / "supervisor",))
        else:
            _enter(self.cgroups(rack, SUPERVISORS))

    def enter_host(self, rack: str, host: str) -> None:
        """Move the calling process into the host's cgroup; called between fork and exec."""
        _enter(self.cgroups(rack, host))

    def processes(self, rack: str, host: str) -> set[int]:
        """Every process of a host (or of SUPERVISORS)."""
        return {pid for top in self.cgroups(rack, host) for pid in _processes_below(top)}

    def all_hosts(self, rack: str) -> set[str]:
        """Names of all cgroups of a rack, whoever made them."""
        if self.cgroup_version == 2 and self.systemd:
            prefix = f"deskside-rack-{rack}-"
            found = (CGROUPS / "system.slice").glob(f"{prefix}*.service")
            return {one.name.removeprefix(prefix).removesuffix(".service") for one in found}
        tops = v1_hierarchies() if self.cgroup_version == 1 else (CGROUPS,)
        return {one.name for top in tops for one in (top / TOP / rack).glob("*") if one.is_dir()}

    def stop_supervisors(self, rack: str) -> None:
        """End all supervisors of a rack, so that nothing is booted again."""
        if self.cgroup_version == 2 and self.systemd:
            for host in self.all_hosts(rack):
                run_now(["systemctl", "kill", "--signal=KILL", self.unit(rack, host)])
            return
        kill_tree(self, rack, SUPERVISORS)

    def remove_cgroups(self, rack: str, host: str) -> None:
        """Remove a host's empty cgroups, and those of the rack and of all racks when they were the last."""
        if self.cgroup_version == 2 and self.systemd:
            run_now(["systemctl", "stop", self.unit(rack, host)])
            return
        for cgroup in self.cgroups(rack, host):
            for one in sorted(_cgroups_below(cgroup), reverse=True):
                _remove(one)
            _remove(cgroup.parent)
            _remove(cgroup.parent.parent)

    @property
    def first_unit(self) -> str:
        """Shell commands for the first unit inside a host: its systemd and kubelet own their cgroups."""
        if self.cgroup_version == 2:
            return ""
        return "for m in /sys/fs/cgroup/*; do mountpoint -q $m && mount -o remount,bind,rw $m; done; true"


def this_machine() -> Machine:
    """Look at the machine."""
    version = 2 if (CGROUPS / "cgroup.controllers").exists() else 1
    return Machine(version, Path("/run/systemd/system").is_dir())


def v1_hierarchies() -> tuple[Path, ...]:
    """Every mounted cgroup hierarchy, each once: `cpu` may be a link to `cpu,cpuacct`."""
    tops = {one.resolve() for one in CGROUPS.glob("*") if (one / "cgroup.procs").exists()}
    return tuple(sorted(tops))


def _enter(cgroups: Sequence[Path]) -> None:
    for cgroup in cgroups:
        cgroup.mkdir(parents=True, exist_ok=True)
        for level in reversed([cgroup, *cgroup.parents]):
            if (
                level.is_relative_to(CGROUPS)
                and level != CGROUPS
                and "system.slice"
                not in (
                    level.name,
                    level.parent.name,
                )
            ):
                _prepare(level)
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def _prepare(level: Path) -> None:
    """Make a new cgroup usable: v1 cpusets start empty, v2 controllers start off."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = level / name
        if file.exists() and (level.parent / name).exists() and not file.read_text().strip():
            file.write_text((level.parent / name).read_text())
    control = level.parent / "cgroup.subtree_control"
    if control.exists():
        for controller in V2_CONTROLLERS:
            try:
                control.write_text(f"+{controller}")
            except OSError:
                continue  # not on this machine, or already handed elsewhere


def _cgroups_below(top: Path) -> list[Path]:
    """The cgroup and all below it; `os.walk`, unlike `rglob`, bears that they go away meanwhile."""
    return [Path(place) for place, _, _ in os.walk(top)]


def _processes_below(top: Path) -> Iterator[int]:
    for cgroup in _cgroups_below(top):
        try:
            yield from (int(pid) for pid in (cgroup / "cgroup.procs").read_text().split())
        except OSError:
            continue  # the cgroup went away meanwhile


def _remove(cgroup: Path) -> None:
    try:
        cgroup.rmdir()
    except OSError:
        return  # still in use by another host or rack


def kill_tree(machine: Machine, rack: str, host: str, seconds: float = 20.0) -> None:
    """SIGKILL everything of a host until nothing is left. Raises DesksideError after `seconds`."""
    end = time.monotonic() + seconds
    while pids := machine.processes(rack, host) - {os.getpid()}:
        if time.monotonic() > end:
            raise DesksideError(f"{host} of rack {rack}: processes {sorted(pids)} cannot be killed")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.03)
