"""A machine of somebody else's on the rack's switch: it tries ports, and answers for addresses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rack.platforms import OnRack

SCAN = """
import asyncio, json, sys
source, host, ports = json.load(sys.stdin)
async def reached(port):
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    except OSError:
        return False
    writer.close()
    return True
async def main():
    answers = await asyncio.gather(*map(reached, ports))
    print(json.dumps([port for port, yes in zip(ports, answers) if yes]))
asyncio.run(main())
"""
SEND = """
import json, socket, sys
source, host, port = json.load(sys.stdin)
for kind, protocol in ((socket.SOCK_DGRAM, 0), (socket.SOCK_RAW, 112)):
    with socket.socket(socket.AF_INET, kind, protocol) as sending:
        sending.bind((source, 0))
        sending.sendto(b"hello", (host, port))
"""
"""A datagram, and a packet of VRRP's protocol."""

CARD = "eth0"
"""What its card is called where it stands."""


@dataclass
class Scanner:
    """A stranger's machine on the rack's switch."""

    rack: OnRack

    @property
    def name(self) -> str:
        """Of its network namespace: each rack has its own, beside other racks."""
        return f"{self.rack.rack.layout.bridge}-stranger"

    @property
    def mac(self) -> str:
        """Of its card."""
        argv = ["ip", "-n", self.name, "-json", "link", "show", CARD]
        found = json.loads(
            subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
        )
        return str(found[0]["address"])

    def address(self, number: int) -> str:
        """One of its addresses."""
        return f"{self.rack.rack.layout.prefix}{number}"

    def open_ports(self, source: int, host: str, ports: list[int]) -> set[int]:
        """Which of these TCP ports a connection from that address is let in to."""
        return set(json.loads(self._run(SCAN, self.address(source), host, ports)))

    def send(self, source: int, host: str, port: int) -> None:
        """A datagram to that UDP port, and a packet of VRRP, from that address."""
        self._run(SEND, self.address(source), host, port)

    def _run(self, program: str, *question: object) -> str:
        argv = ["ip", "netns", "exec", self.name, sys.executable, "-c", program]
        told = json.dumps(question)
        done = subprocess.run(argv, input=told, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout


@contextmanager
def plugged_in(platform: OnRack, *numbers: int) -> Iterator[Scanner]:
    """A stranger's machine with these last bytes of its addresses, plugged into the switch and taken away."""
    found, bridge = Scanner(platform), platform.rack.layout.bridge
    own, there = f"{bridge[:14]}s", CARD
    enter = ["ip", "-n", found.name]
    try:
        for argv in (
            ["ip", "netns", "add", found.name],
            ["ip", "link", "add", own, "type", "veth", "peer", "name", there, "netns", found.name],
            ["ip", "link", "set", own, "master", bridge, "up"],
            *([*enter, "address", "add", f"{found.address(n)}/24", "dev", there] for n in numbers),
            [*enter, "link", "set", there, "up"],
        ):
            subprocess.run(argv, check=True, capture_output=True, timeout=30)
        yield found
    finally:
        subprocess.run(["ip", "netns", "delete", found.name], check=False, timeout=30)
        subprocess.run(["ip", "link", "delete", own], check=False, capture_output=True, timeout=30)
