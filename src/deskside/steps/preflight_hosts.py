"""Preflight checks of one host at a time, from facts alone. Pure functions; `checks.py` gathers them.

A function yields what is wrong; yielding nothing means that the check has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from deskside.model.facts import Disk, Facts, Listener
from deskside.model.finding import Finding
from deskside.model.platform import Host
from deskside.site.schema import DataDevice, Site
from deskside.steps.baseline import KERNEL_MODULES
from deskside.steps.directory import THEIRS as THEIR_DIRECTORY_UNIT
from deskside.steps.directory import UNIT as DIRECTORY_UNIT
from deskside.steps.directory import has_directory
from deskside.steps.findings import failed, warning
from deskside.steps.names import DHCP_PORT, DNS_PORT
from deskside.steps.names import UNIT as NAMES_UNIT

GIB = 1024**3
SPACE_NEEDED = 4 * GIB
"""Free bytes a node needs before it joins: the cluster's own images and one small desk image, unpacked."""
SPACE_WANTED = 40 * GIB
"""A desk image with CUDA is 10 GB and is there twice during an upgrade; logs and scratch come on top."""
INODES_NEEDED = 150_000
"""One desk image unpacks to some hundred thousand files."""
PRESSURE = 0.15
"""Below this share of free space the kubelet collects images, and soon evicts desks."""
NO_INODE_COUNT = ("btrfs", "zfs", "xfs", "overlay")
"""File systems that make inodes as they need them, or do not say."""
UNALLOCATED = 10 * GIB
"""Unallocated space of a volume group that is worth a word."""
SERVER_MEMORY = 1700 * 1024**2
"""kubeadm refuses less."""
SERVER_MEMORY_WANTED = 4 * GIB
SERVER_CPUS = 2
"""kubeadm refuses fewer."""
WORKER_MEMORY = GIB

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # looked for, not bound to
NODE_PORTS = {10250: "kubelet", 7472: "speaker", 7946: "speaker"}
SERVER_PORTS = {
    6443: "kube-apiserver",
    2379: "etcd",
    2380: "etcd",
    10257: "kube-controller-manager",
    10259: "kube-scheduler",
}
DIRECTORY_PORTS = (389, 636)


def system(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """An operating system, processor and Python that are served."""
    for name, host in hosts.items():
        facts = host.facts
        if facts.os_version not in host.os.versions:
            said = f"{name} runs {facts.os_name or facts.os_id} {facts.os_version}".strip()
            hint = f"install {host.os.id} {' or '.join(host.os.versions)}"
            yield failed("system", name, f"{said}, which is not supported", hint)
        if facts.architecture != "x86_64":
            said = f"{name} has an {facts.architecture} processor; only x86_64 is served"
            yield failed("system", name, said, f"take {name} out of the site file")
        version = facts.python.split(".")
        if len(version) > 1 and (int(version[0]), int(version[1])) < (3, 10):
            yield failed(
                "system", name, f"{name} has Python {facts.python}; 3.10 is needed", "upgrade the system"
            )


def foreign(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Somebody else's Kubernetes would fight ours for ports, rules and cgroups."""
    for name, host in hosts.items():
        if found := host.facts.kubernetes.foreign:
            hint = "remove it with its own uninstaller, or take the host out of the site file"
            yield failed("kubernetes", name, f"{name} already has another Kubernetes ({found})", hint)


def expected_ports(host: Host) -> dict[int, str]:
    """Port -> the program of ours that listens there, for the host's roles."""
    roles = host.spec
    ports = dict(NODE_PORTS) if roles.is_server or roles.is_worker else {}
    return {**ports, **(SERVER_PORTS if roles.is_server else {})}


def _is_ours(listener: Listener, program: str, facts: Facts) -> bool:
    seen = facts.kubernetes
    if seen.foreign or not (seen.joined or seen.kubelet_conf or seen.admin_conf):
        return False
    # The kernel keeps 15 letters of a program's name.
    return listener.program in ("", program[:15], program)


def ports(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Ports that the site needs are taken by programs that are not ours."""
    for name, host in hosts.items():
        wanted = expected_ports(host)
        taken: dict[int, str] = {}
        for listener in host.facts.listeners:
            program = wanted.get(listener.port)
            if program and not _is_ours(listener, program, host.facts):
                taken[listener.port] = listener.whose
        for port, whose in sorted(taken.items()):
            said = f"port {port} on {name} is taken by {whose}; {wanted[port]} needs it"
            yield failed("ports", name, said, _look(name, port))
        if has_directory(site, host.spec):
            yield from _directory_ports(name, host)


def _look(name: str, port: int) -> str:
    return f"look: ssh {name} sudo ss -Hlnp 'sport = :{port}'; then stop it"


def _directory_ports(name: str, host: Host) -> Iterator[Finding]:
    # Ours listens everywhere, so that any address is in its way. The system's own slapd is told of by the
    # check of somebody else's directory.
    ours = (DIRECTORY_UNIT, THEIR_DIRECTORY_UNIT)
    for port in DIRECTORY_PORTS:
        found = (item for item in host.facts.listeners if (item.protocol, item.port) == ("tcp", port))
        if taken := _named(item for item in found if item.unit not in ours):
            said = f"port {port} on {name} is taken by {taken}; the site's directory needs it"
            hint = f"{_look(name, port)}, or name another host in identity.on or identity.replica"
            yield failed("ports", name, said, hint)


def _named(listeners: Iterable[Listener]) -> str:
    """Whose they are, each once."""
    return ", ".join(sorted({item.whose for item in listeners}))


OTHER_FIREWALLS = {
    "ufw": "sudo ufw disable",
    "firewalld": "sudo systemctl disable --now firewalld",
}
"""Firewalls of somebody else's, with the command that ends them: two of them close what the other opens."""


def firewalls(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """No other firewall is active beside ours."""
    if not site.network.firewall.enabled:
        return
    for name, host in hosts.items():
        for found in host.facts.firewalls:
            if found in OTHER_FIREWALLS:
                hint = f"run on it: {OTHER_FIREWALLS[found]}; or set network.firewall.enabled: false"
                yield failed("firewall", name, f"{name} has an active {found}", hint)
            else:
                said = f"{name} loads /etc/nftables.conf, which flushes all rules, Kubernetes' included"
                yield warning("firewall", name, said, "run on it: sudo systemctl disable nftables")


def name_ports(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Somebody else answers for names or addresses where ours is to."""
    network = site.network
    for port, service, field, what in (
        (DNS_PORT, network.dns, "dns", "names (DNS)"),
        (DHCP_PORT, network.dhcp, "dhcp", "addresses (DHCP)"),
    ):
        host = hosts.get(service.on or "") if service and service.provider == "dnsmasq" else None
        if host is None:
            continue
        found = (item for item in host.facts.listeners if item.port == port and item.unit != NAMES_UNIT)
        if taken := _named(item for item in found if _is_in_the_way(item, host)):
            said = f"port {port} on {host.name} is taken by {taken}; the site's {what} need it"
            hint = f"stop it, or name another host in network.{field}.on"
            yield failed("names", host.name, said, hint)


def _is_in_the_way(listener: Listener, host: Host) -> bool:
    """Ours binds to the host's address alone: that of a virtual network has another, or a device."""
    address = str(host.spec.address)
    if listener.address not in (ANY_ADDRESS, "::", "*", address):
        return False
    if listener.protocol == "tcp":
        # The kernel refuses ours beside one that listens everywhere, also on one device alone.
        return listener.port != DHCP_PORT
    card = host.facts.interface_with(address)
    return not listener.device or card is None or listener.device == card.name


def grown_paths(host: Host) -> tuple[str, ...]:
    """The paths on a host whose file systems fill up: its data folder, or those by default."""
    data = host.spec.data
    if data is None:
        return "/var/lib/deskside", "/var/lib/kubelet"
    return ("/var",) if isinstance(data, DataDevice) else (str(data), "/var")


def _disks_of(host: Host) -> Iterator[Disk]:
    seen: set[tuple[int, int]] = set()
    for path in grown_paths(host):
        disk = host.facts.disk(path)
        # Two paths on one file system are one finding.
        if disk and disk.size and (disk.size, disk.inodes_free) not in seen:
            seen.add((disk.size, disk.inodes_free))
            yield disk


def space(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Bytes and inodes for what grows: images, desks, logs."""
    for name, host in hosts.items():
        for disk in _disks_of(host):
            yield from _space_on(name, host, disk)


def _space_on(name: str, host: Host, disk: Disk) -> Iterator[Finding]:
    has = f"{name} has {disk.free / GIB:.1f} GiB free for {disk.path}"
    joined = host.facts.kubernetes.joined
    look = f"look: ssh {name} sudo du -xh --max-depth=2 / | sort -h | tail"
    hint = f"{look}; or name another place as hosts[].data"
    if not joined and disk.free < SPACE_NEEDED:
        yield failed("space", name, f"{has}; {SPACE_NEEDED // GIB} GiB are needed", hint)
    elif joined and disk.free < PRESSURE * disk.size:
        yield warning("space", name, f"{has}, under {PRESSURE:.0%} of it: images are collected", hint)
    elif not joined and disk.free < SPACE_WANTED:
        yield warning("space", name, f"{has}; {SPACE_WANTED // GIB} GiB are wanted for desk images", hint)
    if disk.filesystem not in NO_INODE_COUNT and not joined and disk.inodes_free < INODES_NEEDED:
        said = f"{name} has {disk.inodes_free} inodes free for {disk.path}; {INODES_NEEDED} are needed"
        yield failed("space", name, said, "remove what consists of many small files, or use another disk")


def volume_groups(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Space that the installer left unallocated, with the command that would use it."""
    for name, host in hosts.items():
        for group, free in host.facts.volume_group_free.items():
            if free >= UNALLOCATED:
                path = grown_paths(host)[0]
                extend = (
                    f'sudo lvextend --resizefs --extents +100%FREE "$(findmnt -no SOURCE --target {path})"'
                )
                said = f"{name} has {free // GIB} GiB unallocated in the volume group {group}"
                yield warning("lvm", name, said, f"to use it, on {name}: {extend}")


def power(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Processors and memory for the host's roles."""
    hint = "give it more, or another role in the site file"
    for name, host in hosts.items():
        has, cpus = host.facts.memory, host.facts.cpus
        if host.spec.is_server and cpus < SERVER_CPUS:
            yield failed("power", name, f"{name} has {cpus} processor; a server needs {SERVER_CPUS}", hint)
        least = SERVER_MEMORY if host.spec.is_server else WORKER_MEMORY
        if has < least:
            said = f"{name} has {has / GIB:.1f} GiB of memory; its roles need {least / GIB:.1f}"
            yield failed("power", name, said, hint)
        elif host.spec.is_server and has < SERVER_MEMORY_WANTED:
            said = f"{name} has {has / GIB:.1f} GiB of memory; a server wants {SERVER_MEMORY_WANTED // GIB}"
            yield warning("power", name, said, hint)


def address(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """The host has the address (and card) of the site file, and will have it tomorrow."""
    for name, host in hosts.items():
        yield from _address_of(site, name, host)


def _address_of(site: Site, name: str, host: Host) -> Iterator[Finding]:
    wanted, mac = str(host.spec.address), host.spec.mac
    card = host.facts.interface_with(wanted)
    if card is None:
        has = ", ".join(item for each in host.facts.interfaces for item in each.addresses) or "none"
        said = f"{name} does not have its address {wanted} on any interface (it has {has})"
        yield failed("address", name, said, "correct hosts[].address, or the network settings of the host")
        return
    if mac and card.mac.lower() != mac:
        said = f"{wanted} is on a card with the MAC address {card.mac}, not {mac}"
        yield failed("address", name, said, "correct hosts[].mac, or look whether this is another machine")
    elif card.dynamic and not (site.network.dhcp and mac):
        said = f"{name} has its address {wanted} from a DHCP lease"
        hint = f"reserve it for {card.mac} on the DHCP server, or set it on the host itself"
        # A MAC address in the site file says that somebody thought of a reservation.
        if host.spec.is_server and not mac:
            hint += "; a server that loses its address leaves the cluster; once reserved, write hosts[].mac"
            yield failed("address", name, said, hint)
        else:
            yield warning("address", name, said, hint)


def kernel(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Modules, and swap, where the kernel is another machine's or of an older kind."""
    for name, host in hosts.items():
        facts = host.facts
        missing = [module for module in KERNEL_MODULES if module not in facts.modules]
        if host.spec.is_node and facts.modules_shared and missing:
            said = f"{name} shares its kernel with another machine, and that lacks {', '.join(missing)}"
            yield failed("kernel", name, said, f"on that machine: sudo modprobe -a {' '.join(missing)}")
        if host.spec.is_node and facts.cgroup == 1 and facts.swap and facts.swap_shared:
            said = f"{name} has swap ({', '.join(facts.swap)}) that is another machine's, so it stays on"
            yield warning("kernel", name, said, "desks may be swapped out; switch it off on that machine")
