"""Runs on a host, standard library only: who answers for addresses that nobody should have yet.

Takes JSON on standard input, {"interface", "addresses", "seconds"}, and prints {address: MAC} of those that
answered, several of them separated by blanks. The questions are ARP probes with sender 0.0.0.0 (RFC 5227),
which put nothing into anybody's cache. Changes nothing; needs CAP_NET_RAW.
"""

import json
import socket
import struct
import sys
import time

ARP, BROADCAST = 0x0806, b"\xff" * 6


def question(mac: bytes, address: str) -> bytes:
    """One ARP probe as an Ethernet frame."""
    ethernet = BROADCAST + mac + struct.pack("!H", ARP)
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return ethernet + header + mac + b"\0" * 4 + b"\0" * 6 + socket.inet_aton(address)


def answer(frame: bytes) -> tuple[str, str]:
    """Address and MAC of an ARP reply; empty for any other frame."""
    if len(frame) < 42 or frame[12:14] != struct.pack("!H", ARP) or frame[20:22] != b"\0\2":
        return "", ""
    return socket.inet_ntoa(frame[28:32]), ":".join(f"{byte:02x}" for byte in frame[22:28])


def probe(interface: str, addresses: list[str], seconds: float) -> dict[str, str]:
    """Ask twice for each address and listen for `seconds` each time."""
    found: dict[str, set[str]] = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as link:
        link.bind((interface, ARP))
        mac = link.getsockname()[4]
        for _ in range(2):
            for address in addresses:
                link.send(question(mac, address))
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                link.settimeout(left)
                try:
                    address, owner = answer(link.recv(2048))
                except TimeoutError:
                    break
                if address in addresses:
                    found.setdefault(address, set()).add(owner)
    return {address: " ".join(sorted(owners)) for address, owners in found.items()}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(probe(asked["interface"], asked["addresses"], asked["seconds"]), sys.stdout)
