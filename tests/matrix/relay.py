"""A TCP relay on the loopback that breaks its first connection at a byte: what a bad network does to SSH."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum


class Fault(Enum):
    """What happens at the byte."""

    DROP = "drop"
    """Nothing passes any more, in either direction; nobody is told."""
    RESET = "reset"
    """Both ends get a reset."""
    HALF_CLOSE = "half-close"
    """Who listens there is told that it was all; the other direction goes on."""
    STALL = "stall"
    """Nothing passes for a while, in either direction; then all of it."""


@dataclass(frozen=True)
class Break:
    """Where the first connection breaks, and how."""

    fault: Fault
    upwards: bool
    """Of the bytes to the server; else of those from it."""
    offset: int
    seconds: float = 0.0
    """How long a stall lasts."""


@dataclass
class Relay:
    """Passes bytes on, and counts them."""

    server: tuple[str, int]
    at: Break | None
    port: int = 0
    connections: int = 0
    broken: bool = False
    passed: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """Bytes of the first connection, upwards and downwards."""
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        first = self.connections == 1
        there, back = await asyncio.open_connection(*self.server)
        self._open |= {writer, back}
        for upwards, source, sink in ((True, reader, back), (False, there, writer)):
            flow = asyncio.create_task(self._flow(first, upwards, source, sink, (writer, back)))
            self._tasks.add(flow)
            flow.add_done_callback(self._tasks.discard)

    async def _flow(
        self,
        first: bool,
        upwards: bool,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if not first:
                    sink.write(data)
                    continue
                await self._flowing.wait()
                done, at = self.passed[upwards], self.at
                self.passed[upwards] += len(data)
                if at and not self.broken and at.upwards is upwards and done + len(data) > at.offset:
                    sink.write(data[: at.offset - done])
                    self.broken = True
                    if await self._breaks(at, sink, both):
                        return
                    data = data[at.offset - done :]
                sink.write(data)
                await sink.drain()
            sink.write_eof()

    async def _breaks(
        self, at: Break, sink: asyncio.StreamWriter, both: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> bool:
        """Whether this direction has ended."""
        match at.fault:
            case Fault.DROP:
                self._flowing.clear()
                return True
            case Fault.RESET:
                for writer in both:
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                return True
            case Fault.HALF_CLOSE:
                await sink.drain()
                sink.write_eof()
                return True
            case Fault.STALL:
                self._flowing.clear()
                await asyncio.sleep(at.seconds)
                self._flowing.set()
                return False

    def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def relaying(server: tuple[str, int], at: Break | None) -> AsyncIterator[Relay]:
    """A relay before a server while the block lasts."""
    relay = Relay(server, at)
    relay._flowing.set()
    listener = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        relay.close()
        await listener.wait_closed()
