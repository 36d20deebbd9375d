"""Runs on a host, standard library only: how long a disk takes to make a small write safe.

Takes JSON on standard input, {"paths", "writes"}, and prints {"path", "milliseconds"}: the 99th percentile
for the first path that exists. The file has no name at any time and is gone with the process; it is 200 KiB
at most.
"""

import json
import os
import sys
import tempfile
import time


def nearest(paths: list[str]) -> str:
    """The first of the folders that exists."""
    return next((path for path in paths if os.path.isdir(path)), "/")


def percentile(seconds: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def probe(folder: str, writes: int) -> float:
    """Write as etcd's log does: 2 KiB, then fdatasync. Ends after three seconds whatever is left."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        end = time.monotonic() + 3
        while len(taken) < min(writes, 100) and (not taken or time.monotonic() < end):
            started = time.monotonic()
            os.write(file.fileno(), b"\0" * 2048)
            os.fdatasync(file.fileno())
            taken.append(time.monotonic() - started)
    return percentile(taken)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    place = nearest(asked["paths"])
    json.dump({"path": place, "milliseconds": probe(place, asked["writes"])}, sys.stdout)
