"""Facts about listening sockets, interfaces and names. Part of the remote program; reads only."""

from __future__ import annotations

import ipaddress
import json
import os

from deskside.hosts.remote.core import Raw, at, contents, folder, program_output

LISTENING = {"tcp": "0A", "udp": "07"}


def hex_address(text: str) -> str:
    """An address of /proc/net: 32-bit words in the machine's byte order."""
    data = bytes.fromhex(text)
    words = [data[place : place + 4][::-1] for place in range(0, len(data), 4)]
    return str(ipaddress.ip_address(b"".join(words)))


def socket_programs() -> dict[str, str]:
    """Inode of a socket -> name of a program that holds it."""
    found: dict[str, str] = {}
    for pid in folder("/proc"):
        if not pid.isdigit():
            continue
        name = ""
        for number in folder(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(at(f"/proc/{pid}/fd/{number}"))
            except OSError:
                continue
            if target.startswith("socket:["):
                name = name or contents(f"/proc/{pid}/comm").strip()
                found.setdefault(target[8:-1], name)
    return found


def listening_sockets() -> list[Raw]:
    """Listening TCP and unconnected UDP sockets with their programs, each once."""
    programs = socket_programs()
    found: dict[tuple[str, str, int], str] = {}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        protocol = table[:3]
        for line in contents(f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != LISTENING[protocol]:
                continue
            address, port = fields[1].rsplit(":", 1)
            key = (protocol, hex_address(address), int(port, 16))
            found[key] = found.get(key) or programs.get(fields[9], "")
    return [
        {"protocol": protocol, "address": address, "port": port, "program": program}
        for (protocol, address, port), program in sorted(found.items())
    ]


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
