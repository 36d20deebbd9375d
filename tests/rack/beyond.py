"""Another network behind the router of the rack, which is this machine: people, and strangers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rack.platforms import OnRack, assert_said_well

PEOPLE, STRANGER, ROUTER = 2, 150, 1
"""Last bytes of addresses there: the lower half of the network is people's."""
TRY = """
import json, socket, sys
source, host, port = json.load(sys.stdin)
with socket.socket() as tried:
    tried.settimeout(2)
    tried.bind((source, 0))
    print(json.dumps(tried.connect_ex((host, port)) == 0))
"""


SEND = """
import json, socket, sys
source, host, port = json.load(sys.stdin)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    sending.bind((source, 0))
    sending.sendto(b"late", (host, port))
"""


@dataclass(frozen=True)
class Beyond:
    """A network of its own, whose only way to the rack leads through its router."""

    rack: OnRack

    @property
    def name(self) -> str:
        """Of its network namespace."""
        return f"{self.rack.rack.layout.bridge}-beyond"

    @property
    def cable(self) -> str:
        """The router's end."""
        return f"{self.rack.rack.layout.bridge[:14]}b"

    @property
    def table(self) -> str:
        """Of nft: the rules of the router that a test makes."""
        return f"{self.rack.rack.layout.table}_beyond"

    @property
    def prefix(self) -> str:
        """Of its addresses, which are for measurements of networks."""
        return f"198.18.{self.rack.rack.layout.subnet_number}."

    @property
    def people(self) -> str:
        """The part of it that people come from."""
        return f"{self.prefix}0/25"

    def reached(self, source: int, host: str, port: int) -> bool:
        """Whether a TCP connection from that address there is let in."""
        return bool(json.loads(self._run(TRY, source, host, port)))

    def send(self, source: int, host: str, port: int) -> None:
        """A datagram from that address there."""
        self._run(SEND, source, host, port)

    def _run(self, program: str, source: int, host: str, port: int) -> str:
        argv = ["ip", "netns", "exec", self.name, sys.executable, "-c", program]
        told = json.dumps([f"{self.prefix}{source}", host, port])
        return subprocess.run(argv, input=told, capture_output=True, text=True, check=True, timeout=60).stdout

    def check_network(self, platform: OnRack) -> list[dict[str, Any]]:
        """Findings of `check network`, run on a machine there."""
        argv = ["ip", "netns", "exec", self.name, *platform.argv("check", "network", "--json")]
        done = subprocess.run(
            argv, env=platform.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert_said_well(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    @contextmanager
    def without(self, port: int) -> Iterator[None]:
        """The router has no rule for that TCP port while the block lasts."""
        rule = f'iifname "{self.cable}" tcp dport {port} drop'
        chain = f"chain forward {{ type filter hook forward priority 0; {rule}; }}"
        subprocess.run(
            ["nft", "-f", "-"],
            input=f"table ip {self.table} {{\n{chain}\n}}\n",
            text=True,
            check=True,
            timeout=30,
        )
        try:
            yield
        finally:
            subprocess.run(["nft", "delete", "table", "ip", self.table], check=True, timeout=30)


@contextmanager
def beyond(platform: OnRack) -> Iterator[Beyond]:
    """The network, there while the block lasts."""
    found = Beyond(platform)
    enter = ["ip", "-n", found.name]
    own, there = f"{found.prefix}{ROUTER}", "eth0"
    try:
        for argv in (
            ["ip", "netns", "add", found.name],
            ["ip", "link", "add", found.cable, "type", "veth", "peer", "name", there, "netns", found.name],
            ["ip", "address", "add", f"{own}/24", "dev", found.cable],
            ["ip", "link", "set", found.cable, "up"],
            *([*enter, "address", "add", f"{found.prefix}{n}/24", "dev", there] for n in (PEOPLE, STRANGER)),
            [*enter, "link", "set", "lo", "up"],
            [*enter, "link", "set", there, "up"],
            [*enter, "route", "add", "default", "via", own],
        ):
            subprocess.run(argv, check=True, capture_output=True, timeout=30)
        yield found
    finally:
        subprocess.run(["ip", "netns", "delete", found.name], check=False, timeout=30)
        subprocess.run(["ip", "link", "delete", found.cable], check=False, capture_output=True, timeout=30)
