"""Finding machines that have no address of their own yet, by the MAC addresses of the site file.

Two places know: the neighbour table of this machine, once the subnet was spoken to, and the leases of the
site's DHCP server. Nothing on any machine is changed.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TypeAlias

from deskside.app.workspace import Workspace
from deskside.errors import DesksideError
from deskside.hosts.session import connect
from deskside.model.artifact import Locked
from deskside.model.query import ReadPath
from deskside.site.schema import Site
from deskside.steps.names import LEASES

Seen: TypeAlias = Mapping[str, Sequence[str]]
"""MAC -> the IPv4 addresses at which it was seen."""
LARGEST = 4096
"""Addresses of a subnet that are still spoken to one by one."""
DISCARD = 9
"""The port that nobody answers on: only the question for the MAC address matters."""
CONNECT_SECONDS = 3.0
PATIENCE = 1.5
"""Seconds in which a machine of the same network tells its MAC address."""


def mac_text(raw: str) -> str:
    """A MAC address as the site file holds it: six pairs of small digits; empty for anything else."""
    parts = re.split(r"[:-]", raw.strip().lower())
    whole = len(parts) == 6 and all(re.fullmatch(r"[0-9a-f]{1,2}", part) for part in parts)
    return ":".join(part.zfill(2) for part in parts) if whole else ""


def neighbours_of_ip(text: str) -> Seen:
    """From `ip -json neighbour` (Linux); those that answered lately come first."""
    try:
        rows = json.loads(text or "[]")
    except ValueError:
        return {}
    found: dict[str, list[str]] = {}
    lately = sorted(rows if isinstance(rows, list) else (), key=lambda row: "REACHABLE" not in row["state"])
    for row in lately:
        gone = {"FAILED", "INCOMPLETE"} & set(row["state"])
        if not gone and (mac := mac_text(str(row.get("lladdr", "")))) and "." in str(row.get("dst", "")):
            found.setdefault(mac, []).append(str(row["dst"]))
    return found


def neighbours_of_arp(text: str) -> Seen:
    """The same, from `arp -an` (a Mac leaves out leading zeros)."""
    found: dict[str, list[str]] = {}
    for address, raw in re.findall(r"\((\d+\.\d+\.\d+\.\d+)\) at (\S+)", text):
        if mac := mac_text(raw):
            found.setdefault(mac, []).append(address)
    return found


def leases_of(text: str) -> Mapping[str, str]:
    """MAC -> IPv4 address, from dnsmasq's leases: `EXPIRY MAC ADDRESS NAME CLIENT-ID`, the latest last."""
    found: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or not words[0].isdigit() or not (mac := mac_text(words[1])) or ":" in words[2]:
            continue
        expiry = int(words[0])
        # 0 is a lease that never ends.
        if mac not in found or expiry == 0 or expiry >= found[mac][0] > 0:
            found[mac] = (expiry, words[2])
    return {mac: address for mac, (_, address) in found.items()}


async def discovered(workspace: Workspace) -> Mapping[str, str]:
    """Current address by host, for the managed hosts whose MAC address was seen and that take SSH there."""
    site = workspace.site
    near, leased = await asyncio.gather(_neighbours(site.network.subnet), _leases(workspace))
    places: dict[str, list[str]] = {}
    for name in _in_order(site):
        mac = site.host(name).mac or ""
        # A neighbour may be remembered at addresses that it has left.
        places[name] = [*dict.fromkeys([*([leased[mac]] if mac in leased else ()), *near.get(mac, ())])]
    port = site.admin.port or 22
    answers = await asyncio.gather(*(_first_open(tried, port) for tried in places.values()))
    return {name: address for name, address in zip(places, answers, strict=True) if address}


async def _first_open(addresses: Sequence[str], port: int) -> str:
    """The first of the addresses that takes a connection; empty when none does."""

    async def opens(address: str) -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(address, port)
        except OSError:
            return False
        writer.close()
        return True

    answers = await asyncio.gather(*map(opens, addresses))
    return next((address for address, open_ in zip(addresses, answers, strict=True) if open_), "")


def dhcp_host(site: Site) -> str:
    """The host on which Deskside hands out addresses; empty where it does not."""
    dhcp = site.network.dhcp
    return (dhcp.on or "") if dhcp is not None else ""


def _in_order(site: Site) -> Iterator[str]:
    """The DHCP host first: the others get their addresses from it."""
    dhcp = dhcp_host(site)
    yield from sorted((spec.name for spec in site.managed_hosts), key=lambda name: name != dhcp)


async def _neighbours(subnet: IPv4Network) -> Seen:
    if subnet.num_addresses <= LARGEST:
        _speak_to([*subnet.hosts()])
        await asyncio.sleep(PATIENCE)
    found = neighbours_of_ip(await _said("ip", "-json", "neighbour", "show"))
    return found or neighbours_of_arp(await _said("arp", "-an"))


def _speak_to(addresses: list[IPv4Address]) -> None:
    """Make the kernel ask for each address's MAC address, by a datagram that nobody reads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        for address in addresses:
            try:
                out.sendto(b"", (str(address), DISCARD))
            except OSError:
                continue


async def _said(*argv: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    output, _ = await process.communicate()
    return output.decode(errors="replace")


async def _nothing_to_send(_: Locked) -> object:
    raise AssertionError("nothing is sent")


async def _leases(workspace: Workspace) -> Mapping[str, str]:
    """Leases of the site's own DHCP server; none before that host is taken over."""
    site = workspace.site
    name = dhcp_host(site)
    spec = next((one for one in site.managed_hosts if one.name == name), None)
    if spec is None:
        return {}
    try:
        session = await connect(
            spec,
            site,
            workspace.pins,
            _nothing_to_send,  # type: ignore[arg-type]  # it gives no path, for it is never called
            folder=workspace.folder,
        )
    except DesksideError:
        return {}
    async with session:
        found = await session.read(ReadPath(LEASES, content=True))
    return leases_of((found.content or b"").decode(errors="replace"))
