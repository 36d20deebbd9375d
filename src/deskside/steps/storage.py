"""The users' homes: the NAS's folder, mounted on every worker."""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.door import Door, Source
from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.files import File
from deskside.resources.mounts import Mount, mount_point
from deskside.resources.packages import Packages
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import HostSpec, Role, Site

HOMES = "/var/lib/deskside/homes"
"""Where a worker has the homes; desks get a folder of it by `subPath`."""
NFS_OPTIONS = ("nfsvers=4", "softerr", "timeo=300", "retrans=3", "noatime", "nosuid", "nodev", "_netdev")
"""`nfsvers=4` takes the newest that both sides have (a Synology has 4.1). `softerr` with these times gives an
error after 30 + 60 + 90 + 120 s: a NAS that reboots is waited for, one that is gone gives its users an error.
A hard mount would leave the kubelet in calls that nothing can end."""


def serves_files(site: Site, host: HostSpec) -> bool:
    """On every storage host that Deskside closes; what the others let in is set there."""
    del site
    return host.managed and host.is_storage


NFS = Door("homes (NFS)", "tcp", "2049", (Source.NODES,), serves_files)
SMB = Door("files (SMB)", "tcp", "445", (Source.PEOPLE, Source.NODES), serves_files)


@step(needs=("baseline",), on={Role.WORKER})
def homes(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Mount the users' homes."""
    mount = homes_mount(site, host.name)
    if mount.fstype == "nfs":
        yield Packages(host.os.packages["nfs"])
    if "cap_linux_immutable" in host.facts.capabilities:
        # A desk that starts while the NAS is away then waits for it and never writes to the worker's disk.
        yield mount_point(mount.where)
    yield mount
    retry = File(f"{UNIT_DIRECTORY}/deskside-homes.service", _retry(mount))
    yield retry
    yield Unit("deskside-homes.service", after=(retry,))


def homes_mount(site: Site, host: str) -> Mount:
    """By address, so that a NAS that moves is a change that shows; on the storage host its own folder."""
    source = site.storage.homes.source
    if source.host == host:
        return Mount(source.path, HOMES, "none", "bind,nosuid,nodev", at_boot=False)
    what = f"{site.homes_host.address}:{source.path}"
    return Mount(what, HOMES, "nfs", ",".join(NFS_OPTIONS), at_boot=False)


def _retry(mount: Mount) -> str:
    """After a power cut a NAS is often up later than its clients; a mount alone is tried once."""
    return (
        "# Written by Deskside.\n[Unit]\nDescription=Deskside: mount the users' homes, as often as it takes\n"
        "Wants=network-online.target\nAfter=network-online.target\nStartLimitIntervalSec=0\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=systemctl start {_unit_text(mount.unit_name)}\n"
        "Restart=on-failure\nRestartSec=20\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def _unit_text(name: str) -> str:
    return name.replace("\\", "\\\\").replace("%", "%%")
