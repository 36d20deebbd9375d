"""The command line of every program that begins on this machine for a while; a rack's hosts are among them.

The kernel tells of each program that begins (proc connector, linux/cn_proc.h); its words are read at once,
but of those that end within a millisecond or two a quarter and more is missed. Where it tells nobody, all
processes are looked at again and again, and most of what ends within milliseconds is missed.
"""

from __future__ import annotations

import select
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONNECTOR, PROCESSES, LISTEN, DONE, BEGAN = 11, 1, 1, 3, 2
"""NETLINK_CONNECTOR; CN_IDX_PROC and CN_VAL_PROC; PROC_CN_MCAST_LISTEN; NLMSG_DONE; PROC_EVENT_EXEC."""
HEADERS = struct.calcsize("=IHHII") + struct.calcsize("=IIIIHH")
SO_RCVBUFFORCE, BUFFER = 33, 8 * 1024**2
"""Of Linux; bytes of news that wait to be read."""
ANSWER_SECONDS = 2.0
"""Within which the kernel answers that it tells."""
EVERY_SECONDS, YOUNG_SECONDS = 0.01, 0.5
"""Between two looks at all processes; until a process is so old its words are read again."""


@dataclass(frozen=True)
class Watch:
    """What was seen so far."""

    file: Path

    def lines(self) -> list[str]:
        """Command lines, their words apart by spaces; each once."""
        return self.file.read_text(errors="replace").splitlines()

    def holding(self, secrets: Iterable[str]) -> list[str]:
        """Programs of the lines that hold one of these; not the lines, which would be printed."""
        chosen = [secret for secret in secrets if secret]
        assert chosen, "nothing to look for"
        return [line.split(" ")[0] for line in self.lines() if any(secret in line for secret in chosen)]


@contextmanager
def watched(file: Path) -> Iterator[Watch]:
    """Write down what runs, into `file`, while the block lasts."""
    file.touch(mode=0o600)
    argv = [sys.executable, __file__, str(file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        try:
            yield Watch(file)
        finally:
            process.stdin.close()
            ended = process.wait(timeout=30)
    assert ended == 0


def main() -> None:
    """Watch until standard input ends."""
    with Path(sys.argv[1]).open("ab", buffering=0) as kept, selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        news = _news()
        if news is not None:
            selector.register(news, selectors.EVENT_READ)
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        seen, born = {b""}, dict[int, float]()
        while True:
            ready = selector.select(None if news else EVERY_SECONDS)
            if any(key.fileobj is sys.stdin for key, _ in ready):
                return
            for pid in _begun(news) if news else _young(born):
                if (words := _words(pid)) not in seen:
                    seen.add(words)
                    kept.write(words + b"\n")


def _news() -> socket.socket | None:
    """Where the kernel tells of processes; None where it tells nobody (in a container, say)."""
    try:
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, CONNECTOR)
    except OSError:
        return None
    try:
        news.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        news.bind((0, PROCESSES))
        asked = struct.pack("=IIIIHHI", PROCESSES, PROCESSES, 0, 0, 4, 0, LISTEN)
        news.send(struct.pack("=IHHII", 16 + len(asked), DONE, 0, 0, 0) + asked)
        if select.select([news], [], [], ANSWER_SECONDS)[0]:
            return news
    except OSError:
        pass
    news.close()
    return None


def _begun(news: socket.socket) -> list[int]:
    what, _, _, pid = struct.unpack_from("=IIQI", news.recv(4096), HEADERS)
    return [pid] if what == BEGAN else []


def _young(born: dict[int, float]) -> list[int]:
    """Processes that were not there long ago: each begins with its parent's words, and takes its own soon."""
    now, alive = time.monotonic(), {int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()}
    for gone in born.keys() - alive:
        del born[gone]
    return [pid for pid in alive if born.setdefault(pid, now) + YOUNG_SECONDS > now]


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").replace(b"\n", b" ").strip()
    except OSError:
        return b""


if __name__ == "__main__":
    main()
