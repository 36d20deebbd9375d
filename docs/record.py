"""Records what a command shows on a terminal: python docs/record.py FILE.cast -- COMMAND...

The file is in asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/): `asciinema play FILE.cast`
shows it, and so do many web players. The command sees a terminal of 80 columns and 24 lines.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

COLUMNS, LINES = 80, 24
TOGETHER = 0.05
"""Seconds within which output is one event."""


def record(path: Path, argv: list[str]) -> int:
    """Run a command to its end; its exit status. What it shows is shown here too."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(argv, env=environment, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    title = " ".join(argv)
    head = {"version": 2, "width": COLUMNS, "height": LINES, "timestamp": int(time.time()), "title": title}
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = time.monotonic()
    with path.open("w") as file:
        file.write(json.dumps(head) + "\n")
        while data := shown(terminal):
            os.write(1, data)
            event = [round(time.monotonic() - begun, 3), "o", decoder.decode(data)]
            file.write(json.dumps(event) + "\n")
            time.sleep(TOGETHER)
    return process.wait()


def shown(terminal: int) -> bytes:
    """What is there to be read; nothing once the command has ended."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        raise SystemExit("usage: python docs/record.py FILE.cast -- COMMAND...")
    raise SystemExit(record(Path(sys.argv[1]), sys.argv[3:]))
