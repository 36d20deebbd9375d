"""Runs on a host, standard library only: how large a packet gets through to other hosts without being cut up.

Takes JSON on standard input, {"targets": {address: bytes}}, and prints {address: bytes}: the size that was
asked for where it got through, else the largest that did, 0 where not even the smallest did. Changes nothing;
calls ping.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HEADERS = 28
"""Bytes of IPv4 and ICMP around what ping sends."""
SMALLEST = 576


def passes(address: str, size: int) -> bool:
    """Whether one of three packets of that size is answered; none may be cut up."""
    argv = [
        "ping",
        "-n",
        "-q",
        "-M",
        "do",
        "-c",
        "3",
        "-i",
        "0.2",
        "-W",
        "1",
        "-s",
        str(size - HEADERS),
        address,
    ]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode > 1 and b"too long" not in done.stderr.lower():
        raise OSError(done.stderr.decode(errors="replace").strip())
    return done.returncode == 0


def largest(address: str, size: int) -> int:
    """The largest size that gets through, up to `size`."""
    if passes(address, size):
        return size
    if not passes(address, SMALLEST):
        return 0
    low, high = SMALLEST, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(address, middle) else (low, middle)
    return low


if __name__ == "__main__":
    targets = json.load(sys.stdin)["targets"]
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        sizes = list(pool.map(largest, targets, targets.values()))
    json.dump(dict(zip(targets, sizes, strict=True)), sys.stdout)
