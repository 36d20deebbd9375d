"""Runs on a host, standard library only: what a name server answers, whatever the host's own files say.

Takes JSON on standard input, {"server", "names", "addresses", "seconds"}, and prints {question: [answers]}:
the addresses of each name, the names of each address; null where the server did not answer. Changes nothing.
"""

import json
import secrets
import socket
import struct
import sys

A, PTR, INTERNET, PORT = 1, 12, 1, 53


def encoded(name: str) -> bytes:
    """A name as labels."""
    labels = name.rstrip(".").split(".")
    return b"".join(bytes((len(label),)) + label.encode() for label in labels) + b"\0"


def reverse(address: str) -> str:
    """The name under which an address is looked up."""
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def name_at(message: bytes, place: int) -> tuple[str, int]:
    """The name at a place of a message, and where it ends."""
    labels: list[str] = []
    end = 0
    while message[place]:
        if message[place] >= 0xC0:
            end = end or place + 2
            place = struct.unpack("!H", message[place : place + 2])[0] & 0x3FFF
            continue
        length = message[place]
        labels.append(message[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    return ".".join(labels), end or place + 1


def answers(message: bytes, kind: int) -> list[str]:
    """Every record of that kind in an answer."""
    questions, records = struct.unpack("!HH", message[4:8])
    place = 12
    for _ in range(questions):
        place = name_at(message, place)[1] + 4
    found: list[str] = []
    for _ in range(records):
        place = name_at(message, place)[1]
        what, _, _, length = struct.unpack("!HHIH", message[place : place + 10])
        place += 10
        if what == kind == A:
            found.append(socket.inet_ntoa(message[place : place + 4]))
        elif what == kind == PTR:
            found.append(name_at(message, place)[0])
        place += length
    return sorted(found)


def ask(server: str, name: str, kind: int, seconds: float) -> "list[str] | None":
    """One question, put twice; None without an answer."""
    number = secrets.randbits(16)
    message = (
        struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0)
        + encoded(name)
        + struct.pack("!HH", kind, INTERNET)
    )
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(seconds)
            try:
                channel.connect((server, PORT))
                channel.send(message)
                heard = channel.recv(4096)
            except OSError:
                continue
        if heard[:2] == message[:2]:
            return answers(heard, kind)
    return None


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    found = {name: ask(asked["server"], name, A, asked["seconds"]) for name in asked["names"]}
    for address in asked["addresses"]:
        found[address] = ask(asked["server"], reverse(address), PTR, asked["seconds"])
    json.dump(found, sys.stdout)
