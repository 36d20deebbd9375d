"""What every host needs before a cluster: name, names of others, packages, kernel, swap, time, data folders.

A host that is only storage gets what any machine of the site needs, and nothing of what pods need. What else
differs between hosts follows from facts. Where a kernel is shared with another machine nothing of it is
changed; `checks.py` says what is then missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.door import Door, Source
from deskside.model.facts import Facts
from deskside.model.platform import Host, Platform
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.command import Command
from deskside.resources.disks import DataDisk
from deskside.resources.files import Block, Directory, File
from deskside.resources.mounts import Mount
from deskside.resources.packages import Packages
from deskside.resources.system import Hostname, Masked, Modules, Sysctls, Unit
from deskside.site.schema import DataDevice, HostSpec, Role, Site

NODES = frozenset({Role.SERVER, Role.WORKER})
KERNEL_MODULES = ("overlay", "br_netfilter")
"""overlay holds containers' layers; br_netfilter lets service rules see what crosses a bridge of pods."""
INOTIFY = {
    # One budget for all desks of a host: with the kernel's 128 the kubelet itself was the first to die.
    "fs.inotify.max_user_instances": "8192",
    "fs.inotify.max_user_watches": "655360",
}
ROUTING = {"net.ipv4.ip_forward": "1"}
BRIDGES = {"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "1"}
SLEEP = (
    *("sleep.target", "suspend.target", "hibernate.target", "hybrid-sleep.target"),
    "suspend-then-hibernate.target",
)
LOOPBACK_NAME = r"127\.0\.1\.1\s.*"


def _first_server(site: Site, host: HostSpec) -> bool:
    return host.name == site.servers[0].name


TIME = Door("time (NTP)", "udp", "123", (Source.NODES, Source.SUBNET), _first_server)
"""For the whole subnet: `network.dhcp` names this server to whoever asks for an address."""
POD_LINKS = ("cni*", "veth*", "cali*", "vxlan.calico", "flannel*", "cilium*", "lxc*")
"""Names of the links that pod networks make: nobody else may configure them."""

DATA_MOUNT = "/var/lib/deskside/data"
"""Where a whole disk for data is mounted."""
DATA_FOLDERS = {
    "containerd": "/var/lib/deskside/containerd",
    "volumes": "/var/lib/deskside/volumes",
    "scratch": "/var/lib/deskside/scratch",
    "staging": "/var/lib/deskside/staging",
    "kubelet": "/var/lib/kubelet",
}
"""Folders that grow, by their names on the data path. Not /var/lib/deskside as a whole: what a run in
progress writes there would vanish below a mount. Not etcd: it wants the faster disk, not the bigger."""


@step(on=frozenset(Role), deadline=1200.0)
def baseline(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Prepare the host: name, packages, kernel, swap and folders."""
    yield from names(site, host)
    yield Packages(_packages(host))
    if host.spec.is_node:
        yield from _kernel(host.facts)
        yield from _swap(host.facts)
        yield from _links(host.facts)
    yield from _quiet(host.facts)
    yield from _folders(host.spec)


def _packages(host: Host) -> tuple[str, ...]:
    known, spec = host.os.packages, host.spec
    # A server asks the directory, for `check`.
    asking = known["directory"] if spec.is_server else ()
    return (*known["baseline"], *(known["node"] if spec.is_node else ()), *asking)


def names(site: Site, host: Host) -> Iterator[Resource]:
    """The host's own name, and those of the others, whatever an installer wrote."""
    if host.facts.cloud_init:
        # It would write both back at the next boot.
        text = "# Written by Deskside.\npreserve_hostname: true\nmanage_etc_hosts: false\n"
        yield File("/etc/cloud/cloud.cfg.d/99-zz-deskside.cfg", text)
    yield Hostname(host.name)
    # The first line with a name gives the full one. Installers write `127.0.1.1 ws1`, which every program on
    # the host would take before the address that the others know.
    yield Block("/etc/hosts", "site", site_names(site), first=True, instead=LOOPBACK_NAME)


def site_names(site: Site) -> str:
    """Lines for /etc/hosts: every host, managed or not, and the cluster's API."""
    lines = [f"{spec.address} {site.fqdn(spec)} {spec.name}" for spec in site.hosts]
    return "\n".join([*lines, f"{site.network.api} {site.api_name}"])


def bridges_filtered(facts: Facts) -> bool:
    """Whether br_netfilter is there, or will be once its module is loaded."""
    return "br_netfilter" in facts.modules or not facts.modules_shared


def wanted_sysctls(facts: Facts) -> dict[str, str]:
    """Kernel settings of a host, by their dotted names."""
    return {**ROUTING, **(BRIDGES if bridges_filtered(facts) else {}), **INOTIFY}


def _kernel(facts: Facts) -> Iterator[Resource]:
    if not facts.modules_shared:
        present = tuple(name for name in KERNEL_MODULES if name in facts.modules)
        yield Modules(KERNEL_MODULES, present)
    if facts.writable_sysctls:
        yield Sysctls("baseline", wanted_sysctls(facts), at_least=frozenset(INOTIFY))


def _no_swap(found: Output) -> bool:
    return found.status == 0 and not found.stdout.strip()


def _swap(facts: Facts) -> Iterator[Resource]:
    # On cgroup v2 the kubelet itself keeps pods out of swap, and the person at the desk keeps it.
    if facts.cgroup != 1 or facts.swap_shared:
        return
    yield Masked("swap.target")
    yield Command(
        "swap",
        ("swapoff", "--all"),
        asks=ReadOutput(("swapon", "--show=NAME", "--noheadings")),
        done=_no_swap,
        summary="switch swap off",
        timeout=600.0,
    )


def _links(facts: Facts) -> Iterator[Resource]:
    if facts.network_manager:
        names = ";".join(f"interface-name:{name}" for name in POD_LINKS)
        text = f"# Written by Deskside.\n[keyfile]\nunmanaged-devices={names}\n"
        unmanaged = File("/etc/NetworkManager/conf.d/80-deskside.conf", text)
        yield unmanaged
        yield Unit("NetworkManager.service", after=(unmanaged,), reload=True)
    if facts.networkd:
        # networkd removes routes that it did not make, those between pods included, whenever it restarts.
        foreign = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
        routes = File("/etc/systemd/networkd.conf.d/80-deskside.conf", f"# Written by Deskside.\n{foreign}")
        match = f"[Match]\nName={' '.join(POD_LINKS)}\n\n[Link]\nUnmanaged=yes\n"
        links = File("/etc/systemd/network/05-deskside-pods.network", f"# Written by Deskside.\n{match}")
        yield routes
        yield links
        yield Unit("systemd-networkd.service", after=(routes, links))


def _quiet(facts: Facts) -> Iterator[Resource]:
    limits = "[Journal]\nSystemMaxUse=1G\nRuntimeMaxUse=128M\n"
    journal = File("/etc/systemd/journald.conf.d/80-deskside.conf", f"# Written by Deskside.\n{limits}")
    yield journal
    yield Unit("systemd-journald.service", after=(journal,))
    if facts.desktop:
        for target in SLEEP:
            yield Masked(target)


def _folders(spec: HostSpec) -> Iterator[Resource]:
    for path in ("/etc/deskside", "/opt/deskside", "/opt/deskside/bin", "/var/lib/deskside"):
        yield Directory(path)
    if spec.is_node:
        yield from data_resources(spec)
    yield Directory("/var/lib/deskside/staging", 0o700)


def data_mounts(spec: HostSpec) -> tuple[Mount, ...]:
    """The mounts that bring the folders which grow onto the host's data path or disk; none without one."""
    if spec.data is None:
        return ()
    place = DATA_MOUNT if isinstance(spec.data, DataDevice) else str(spec.data)
    return tuple(Mount(f"{place}/{name}", where, "none", "bind") for name, where in DATA_FOLDERS.items())


def data_resources(spec: HostSpec) -> Iterator[Resource]:
    """A data disk, formatted and mounted, then the folders that lie on it."""
    if isinstance(spec.data, DataDevice):
        disk = DataDisk(spec.data.device, spec.data.serial)
        yield disk
        yield Mount(disk.mounted_from, DATA_MOUNT, "ext4", "noatime")
    for mount in data_mounts(spec):
        # Below the mount it is the same folder, whose mode its user sets.
        yield Directory(mount.what, None)
        yield mount


@step(needs=("baseline",), on=frozenset(Role))
def time_sync(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Keep the clock right."""
    yield Packages(host.os.packages["time"])
    # -F 1 is the system-call filter that the package itself asks for.
    options = "-F 1 -x" if host.facts.clock_shared else "-F 1"
    daemon = File("/etc/default/chrony", f'# Written by Deskside.\nDAEMON_OPTS="{options}"\n')
    peers = File("/etc/chrony/conf.d/deskside.conf", _time_sources(site, host.spec))
    yield daemon
    yield peers
    needed = [daemon, peers]
    if host.facts.clock_shared:
        # The package's unit refuses to start where the clock may not be set; -x sets none.
        text = "# Written by Deskside.\n[Unit]\nConditionCapability=\n"
        needed.append(File("/etc/systemd/system/chrony.service.d/80-deskside.conf", text))
        yield needed[-1]
    yield Unit("chrony.service", after=tuple(needed))


def _time_sources(site: Site, spec: HostSpec) -> str:
    """Besides the internet's servers: the first server, so that the site agrees with itself when cut off."""
    first = site.servers[0]
    if spec.name == first.name:
        return f"# Written by Deskside.\nallow {site.network.subnet}\nlocal stratum 10\n"
    return f"# Written by Deskside.\nserver {first.address} iburst\n"
