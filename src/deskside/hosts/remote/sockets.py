"""Facts about listening sockets, interfaces and names. Part of the remote program; reads only."""

from __future__ import annotations

import json
import os

from deskside.hosts.remote.core import Raw, at, contents, folder, program_output

LISTENING = {"tcp": "0A", "udp": "07"}


def hex_address(text: str) -> str:
    """An address of /proc/net: 32-bit words in the machine's byte order."""
    import ipaddress  # 2 ms, and most batches have no question of sockets

    data = bytes.fromhex(text)
    words = [data[place : place + 4][::-1] for place in range(0, len(data), 4)]
    return str(ipaddress.ip_address(b"".join(words)))


def unit_of(pid: str) -> str:
    """The systemd unit that a process belongs to; empty when that is not known."""
    places = {}
    for line in contents(f"/proc/{pid}/cgroup").splitlines():
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds == "name=systemd" or (number, kinds) == ("0", ""):
            places[kinds] = path
    # On cgroup v1 systemd has a tree of its own; the one of v2 may be there too, and be empty.
    for kinds in ("name=systemd", ""):
        for part in reversed(places.get(kinds, "").split("/")):
            if part.endswith((".service", ".scope")):
                return part
    return ""


def socket_holders() -> dict[str, tuple[str, str]]:
    """Inode of a socket -> name and systemd unit of a program that holds it."""
    found: dict[str, tuple[str, str]] = {}
    for pid in folder("/proc"):
        if not pid.isdigit():
            continue
        holder = None
        for number in folder(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(at(f"/proc/{pid}/fd/{number}"))
            except OSError:
                continue
            if target.startswith("socket:["):
                holder = holder or (contents(f"/proc/{pid}/comm").strip(), unit_of(pid))
                found.setdefault(target[8:-1], holder)
    return found


def told_by_ss() -> list[tuple[str, str, int, str, str]] | None:
    """Protocol, address, port, inode and bound interface of listening sockets; None where ss does not say."""
    ended = program_output(["ss", "-Hlntue"], timeout=10)
    if ended.status != 0:
        return None
    found = []
    for fields in map(str.split, ended.stdout.splitlines()):
        inode = next((field[4:] for field in fields if field.startswith("ino:")), "")
        address, _, port = fields[4].rpartition(":") if len(fields) > 4 else ("", "", "")
        if not inode or not port.isdigit():
            continue
        address, _, device = address.partition("%")
        # A star is a socket of IPv6 that takes IPv4 too.
        found.append((fields[0], address.strip("[]").replace("*", "::"), int(port), inode, device))
    return found


def read_from_proc() -> list[tuple[str, str, int, str, str]]:
    """The same by /proc/net, without the interfaces: the kernel walks through every connection for it."""
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        protocol = table[:3]
        for line in contents(f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != LISTENING[protocol]:
                continue
            address, port = fields[1].rsplit(":", 1)
            found.append((protocol, hex_address(address), int(port, 16), fields[9], ""))
    return found


def listening_sockets() -> list[Raw]:
    """Listening TCP and unconnected UDP sockets: whose they are, and the interface they are bound to."""
    holders, told = socket_holders(), told_by_ss()
    found: set[tuple[str, str, int, str, str, str]] = set()
    for protocol, address, port, inode, device in read_from_proc() if told is None else told:
        found.add((protocol, address, port, *holders.get(inode, ("", "")), device))
    keys = ("protocol", "address", "port", "program", "unit", "device")
    return [dict(zip(keys, values)) for values in sorted(found)]  # noqa: B905  # hosts may have an old Python


def interface_of(raw: Raw) -> Raw:
    """One interface, from `ip -j addr`."""
    addresses, dynamic = [], False
    items = raw.get("addr_info")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("scope") != "link" and "local" in item:
            addresses.append(f"{item['local']}/{item.get('prefixlen', 32)}")
            dynamic = dynamic or (bool(item.get("dynamic")) and item.get("family") == "inet")
    return {
        "name": str(raw.get("ifname", "")),
        "mac": str(raw.get("address", "")),
        "mtu": raw.get("mtu", 0),
        "addresses": addresses,
        "dynamic": dynamic,
    }


def interfaces() -> list[Raw]:
    """Every interface but the loopback."""
    ended = program_output(["ip", "-j", "addr", "show"], timeout=10)
    try:
        listed = json.loads(ended.stdout) if ended.status == 0 else None
    except ValueError:
        listed = None
    if isinstance(listed, list):
        return [interface_of(item) for item in listed if item and item.get("ifname") != "lo"]
    return [bare_interface(name) for name in folder("/sys/class/net") if name != "lo"]


def bare_interface(name: str) -> Raw:
    """An interface without its addresses, where there is no `ip`."""
    place = f"/sys/class/net/{name}"
    mtu = contents(f"{place}/mtu").strip()
    return {
        "name": name,
        "mac": contents(f"{place}/address").strip(),
        "mtu": int(mtu) if mtu.isdigit() else 0,
        "addresses": [],
        "dynamic": False,
    }


def default_route() -> str:
    """The interface of the IPv4 default route with the lowest metric; empty without one."""
    routes = []
    for line in contents("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            routes.append((int(fields[6]), fields[0]))
    return min(routes)[1] if routes else ""


def nameservers() -> list[str]:
    """Servers that answer names; those behind systemd-resolved's stub when that is in use."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        lines = [line.split() for line in contents(path).splitlines()]
        found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
        if found and found != ["127.0.0.53"]:
            return found
    return []


def host_name() -> str:
    """The name that the kernel has."""
    return contents("/proc/sys/kernel/hostname").strip() or os.uname().nodename
