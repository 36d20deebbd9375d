"""Trying the router's rules from this machine, where it stands in a network that they are for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address

from deskside.steps.crossings import Crossing

SECONDS = 2.0
"""How long a connection is waited for: whether it came through is what the hosts tell."""
ANY_PORT = 9


def own_address(towards: str) -> IPv4Address | None:
    """The address that this machine has towards another one; None without a way there. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((towards, ANY_PORT))
        except OSError:
            return None
        return IPv4Address(asking.getsockname()[0])


async def knock(rules: Iterable[Crossing]) -> None:
    """Open one TCP connection, or send one empty datagram, by each rule for a network of this machine's."""
    own = {rule: own_address(rule.address) for rule in rules if rule.ports}
    mine = [rule for rule, address in own.items() if address and address in rule.source]
    await asyncio.gather(*map(_knock, mine))


async def _knock(rule: Crossing) -> None:
    port = int(rule.ports.partition("-")[0])
    with suppress(OSError):
        if rule.protocol == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
                sending.sendto(b"", (rule.address, port))
            return
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(rule.address, port)
        writer.close()
