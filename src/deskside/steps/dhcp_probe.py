"""Runs on a host, standard library only: which DHCP servers answer on the host's network.

Takes JSON on standard input, {"interface", "seconds", "cards", "wanted"}, and prints a list of {"server",
"mac", "offered", "card"}. It asks on behalf of the cards that are named and as one that does not exist
(`card` is then empty), which would like each of the addresses `wanted` in turn, and takes no offer. What the
host itself would answer is not heard. It changes nothing (a server may hold the offered address back for a
minute); needs CAP_NET_RAW.
"""

import json
import secrets
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence

IPV4, UDP, BROADCAST = 0x0800, 17, b"\xff" * 6
COOKIE = b"\x63\x82\x53\x63"
SERVER_IDENTIFIER, MESSAGE_TYPE, REQUESTED, END = 54, 53, 50, 255
DISCOVER, OFFER = 1, 2


def checksum(data: bytes) -> int:
    """Of an IPv4 header."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def discover(card: bytes, number: int, sender: bytes, wanted: str = "") -> bytes:
    """A DHCPDISCOVER for a card as an Ethernet frame from `sender`; the answer is asked for by broadcast.

    An address that is wanted is a wish: a server that has it to give offers it, any other its own choice.
    """
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, number, 0, 0x8000) + b"\0" * 16
    wish = bytes((REQUESTED, 4)) + socket.inet_aton(wanted) if wanted else b""
    options = bytes((MESSAGE_TYPE, 1, DISCOVER)) + wish + bytes((55, 2, 1, 3, END))
    message = head + card + b"\0" * (10 + 192) + COOKIE + options
    message += b"\0" * max(0, 300 - len(message))
    datagram = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, UDP, 0)
    ends = b"\0" * 4 + b"\xff" * 4
    header = (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, UDP, checksum(start + ends)) + ends
    )
    return BROADCAST + sender + struct.pack("!H", IPV4) + header + datagram


def offer(frame: bytes, asked: Mapping[int, str]) -> dict[str, str]:
    """What a DHCPOFFER says to one of the questions, number -> card; empty for any other frame."""
    if len(frame) < 282 or frame[12:14] != struct.pack("!H", IPV4) or frame[23] != UDP:
        return {}
    datagram = frame[14 + (frame[14] & 15) * 4 :]
    message = datagram[8:]
    number = int.from_bytes(message[4:8], "big")
    if datagram[:4] != struct.pack("!HH", 67, 68) or number not in asked:
        return {}
    found = options_of(message[240:])
    if found.get(MESSAGE_TYPE) != bytes((OFFER,)):
        return {}
    server = found.get(SERVER_IDENTIFIER, frame[26:30])
    mac = ":".join(f"{byte:02x}" for byte in frame[6:12])
    offered = socket.inet_ntoa(message[16:20])
    return {"server": socket.inet_ntoa(server), "mac": mac, "offered": offered, "card": asked[number]}


def options_of(data: bytes) -> dict[int, bytes]:
    """Options by their numbers, as far as they can be read."""
    found: dict[int, bytes] = {}
    place = 0
    while place + 1 < len(data) and data[place] != END:
        if data[place] == 0:
            place += 1
            continue
        length = data[place + 1]
        found[data[place]] = data[place + 2 : place + 2 + length]
        place += 2 + length
    return found


def probe(
    interface: str, seconds: float, cards: Sequence[str] = (), wanted: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Ask twice and listen for `seconds` each time; one entry per server and question."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    # A card of nobody's: locally administered, and another one each time. Asked for last: a server may look
    # for seconds whether an address is free before it offers it, and answers nobody meanwhile. It is one card
    # with several wishes: what a server offers in their stead is one address, looked for once.
    unknown = b"\x02" + secrets.token_bytes(5)
    known = [(bytes.fromhex(card.replace(":", "")), "") for card in cards]
    strangers = [(unknown, wish) for wish in (*wanted, "")]
    numbers = [secrets.randbits(32) for _ in (*known, *strangers)]
    questions = dict(zip(numbers, (*known, *strangers), strict=True))
    asked = dict(zip(numbers, (*cards, *("" for _ in strangers)), strict=True))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV4)) as link:
        link.bind((interface, IPV4))
        # Its own card sends: a switch must not believe that another one has moved here.
        sender = link.getsockname()[4]
        for _ in range(2):
            for number, (card, wish) in questions.items():
                link.send(discover(card, number, sender, wish))
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                link.settimeout(left)
                try:
                    heard = offer(link.recv(4096), asked)
                except TimeoutError:
                    break
                if heard:
                    found[heard["server"], heard["card"], heard["offered"]] = heard
    return list(found.values())


if __name__ == "__main__":
    given = json.load(sys.stdin)
    answers = probe(given["interface"], given["seconds"], given.get("cards", ()), given.get("wanted", ()))
    json.dump(answers, sys.stdout)
