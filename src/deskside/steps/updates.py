"""Security updates that install themselves, and what is held back from them.

A kernel, a driver or a container runtime that changes below running desks is a person's decision: those are
upgraded by `deskside apply` or by hand, never at night.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.platform import Host, HostOs, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.files import File
from deskside.resources.packages import Packages
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import Role, Site

LEASE = "/run/deskside/lease"
"""Locked by whoever applies (`hosts/remote/lease.py`)."""
HELD = (
    # Kernels: the driver's module is built for the one that runs, and modules of the old one vanish.
    *("linux-image", "linux-headers", "linux-modules", "linux-generic", "linux-signed"),
    # NVIDIA: a library that is newer than the loaded module stops every program on the GPU.
    *("nvidia", "libnvidia", "xserver-xorg-video-nvidia", "cuda", "libcuda"),
    # Kubernetes and what runs containers.
    *("kubeadm$", "kubelet$", "kubectl$", "kubernetes-cni$", "cri-tools$"),
    *("containerd", "runc$", "docker", "nvidia-container"),
)
"""How names of packages begin (regular expressions) that are never upgraded by themselves."""
PERIODIC = "/etc/apt/apt.conf.d/20auto-upgrades"
DROP_IN = "/etc/apt/apt.conf.d/52deskside"
SERVICES = ("apt-daily", "apt-daily-upgrade")
PAUSED = (
    "# Written by Deskside: not while an apply holds this host. A run that dies holds nothing any more.\n"
    "[Service]\n"
    f"ExecCondition=/bin/sh -c '[ ! -e {LEASE} ] || exec flock --nonblock --shared {LEASE} true'\n"
)


@step(needs=("baseline",), on=frozenset(Role))
def security_updates(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Let security updates install themselves; kernel, driver and Kubernetes are held, nothing reboots."""
    yield Packages(host.os.packages["upgrades"])
    yield File(PERIODIC, periodic_text())
    yield File(DROP_IN, drop_in_text(host.os))
    for service in SERVICES:
        paused = File(f"{UNIT_DIRECTORY}/{service}.service.d/50-deskside.conf", PAUSED)
        yield paused
        yield Unit(f"{service}.timer", after=(paused,))


def periodic_text() -> str:
    """When apt's timers look for updates and install them: every day."""
    return (
        "// Written by Deskside.\n"
        'APT::Periodic::Update-Package-Lists "1";\n'
        'APT::Periodic::Unattended-Upgrade "1";\n'
    )


def drop_in_text(system: HostOs) -> str:
    """Which updates, and which never. Lists of apt grow from file to file, so the package's are cleared."""
    return "\n".join(
        [
            "// Written by Deskside.",
            "#clear Unattended-Upgrade::Allowed-Origins;",
            "#clear Unattended-Upgrade::Origins-Pattern;",
            *_listed("Origins-Pattern", system.security),
            *_listed("Package-Blacklist", HELD),
            'Unattended-Upgrade::Automatic-Reboot "false";',
            "",
        ]
    )


def _listed(name: str, values: tuple[str, ...]) -> Iterator[str]:
    yield f"Unattended-Upgrade::{name} {{"
    for value in values:
        yield f'    "{value}";'
    yield "};"
