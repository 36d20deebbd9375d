"""Facts: what was observed about a host, from one probe in one round trip.

Steps decide from facts alone, so that a rack and a real machine take the same code path. Nothing here asks;
`hosts/remote` (op `facts`) collects the raw answer that `Facts.from_raw` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deskside.model.query import Json


class FactModel(BaseModel):
    """Frozen; unknown keys are ignored, so that an older controller reads a newer probe."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Interface(FactModel):
    """A network interface."""

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """With prefix length, as `10.0.0.11/24`."""
    mtu: int = 0
    dynamic: bool = False
    """An address of it came from a DHCP lease."""


class Disk(FactModel):
    """Free space of the file system that holds a path."""

    path: str
    filesystem: str = ""
    size: int = 0
    """Bytes."""
    free: int = 0
    """Bytes a service may still use."""
    inodes_free: int = 0


class Listener(FactModel):
    """A listening socket."""

    protocol: str
    """tcp or udp."""
    address: str
    port: int
    program: str = ""
    unit: str = ""
    """The systemd unit of that program, as `slapd.service`; empty when it is not known."""
    device: str = ""
    """The interface that the socket is bound to; empty for one that hears on all."""

    @property
    def whose(self) -> str:
        """For people: the program, and its unit if that is known."""
        return f"{self.program or 'a program'}{f' ({self.unit})' if self.unit else ''}"


class KubernetesFacts(FactModel):
    """What is seen of Kubernetes on the host's disk."""

    joined: bool = False
    """The host's own join or init ran to its end (marker and kubelet.conf are there)."""
    kubelet_conf: bool = False
    admin_conf: bool = False
    foreign: str = ""
    """Traces of somebody else's Kubernetes (`k3s`, `rke2`, a kubelet that is not ours)."""


class Gpu(FactModel):
    """A GPU on the PCI bus."""

    slot: str
    vendor: str
    device: str
    driver: str = ""
    """The kernel driver that is bound to it."""


class Facts(FactModel):
    """Everything a step may decide upon."""

    hostname: str
    os_id: str
    """`debian`, `ubuntu`: ID of os-release."""
    os_version: str
    os_codename: str = ""
    os_name: str = ""
    architecture: str = "x86_64"
    kernel: str = ""
    python: str = ""
    cpus: int = 1
    memory: int = 0
    """Bytes."""
    machine_id: str = ""
    product_uuid: str = ""
    boot_id: str = ""
    booted_at: float = 0.0
    clock: float = 0.0
    """The host's clock when asked, seconds since 1970."""
    clock_synchronised: bool = False
    cgroup: Annotated[int, Field(ge=1, le=2)] = 2
    container: str = ""
    """What systemd-detect-virt --container says; empty on a machine of its own."""
    capabilities: tuple[str, ...] = ()
    """Of process 1's bounding set, lower case: `cap_sys_time`."""
    writable_sysctls: bool = True
    host_keys: tuple[str, ...] = ()
    """SHA256 fingerprints of the SSH host keys."""
    interfaces: tuple[Interface, ...] = ()
    route_interface: str = ""
    """Of the default route."""
    nameservers: tuple[str, ...] = ()
    networkd: bool = False
    network_manager: bool = False
    resolved: bool = False
    """systemd-resolved answers for the host's own names."""
    firewalls: tuple[str, ...] = ()
    """Active ones that are not ours: `ufw`, `firewalld`, `nftables` (whose file flushes all rules)."""
    disks: tuple[Disk, ...] = ()
    volume_group_free: Mapping[str, int] = Field(default_factory=dict)
    """Unallocated bytes by LVM volume group."""
    swap: tuple[str, ...] = ()
    """Active swap devices and files."""
    listeners: tuple[Listener, ...] = ()
    modules: tuple[str, ...] = ()
    """Loaded or built in, of those that Deskside asks about."""
    gpus: tuple[Gpu, ...] = ()
    cloud_init: bool = False
    """cloud-init is installed, which may rewrite names at boot."""
    desktop: bool = False
    """A graphical session is the default target."""
    kubernetes: KubernetesFacts = KubernetesFacts()
    runs: tuple[str, ...] = ()
    """Detached runs of Deskside that are still going on."""
    receipt: Mapping[str, str] = Field(default_factory=dict)

    @property
    def clock_shared(self) -> bool:
        """The clock is another machine's: it may not be set from here."""
        return "cap_sys_time" not in self.capabilities

    @property
    def modules_shared(self) -> bool:
        """Kernel modules are another machine's: none may be loaded from here."""
        return "cap_sys_module" not in self.capabilities

    @property
    def swap_shared(self) -> bool:
        """Swap is another machine's: it may not be switched off from here."""
        return bool(self.container)

    def disk(self, path: str) -> Disk | None:
        """Free space where `path` lies, if it was asked for."""
        return next((disk for disk in self.disks if disk.path == path), None)

    def interface_with(self, address: str) -> Interface | None:
        """The interface that carries `address` (without prefix)."""
        for interface in self.interfaces:
            if any(item.split("/")[0] == address for item in interface.addresses):
                return interface
        return None

    @classmethod
    def from_raw(cls, raw: Mapping[str, Json]) -> Facts:
        """Raises pydantic.ValidationError when the probe's answer is not one."""
        return cls.model_validate(dict(raw))
