"""Relays of TCP that add to every round trip: python -m bench.relay MILLISECONDS PORT HERE=THERE...

For each pair it listens on HERE:PORT (an address of the loopback) and passes everything on to THERE:22, half
of the milliseconds later in each direction. It says `ready` and goes on until standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def flow(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, so much later, in its order."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        with suppress(OSError):
            sink.write_eof()

    with suppress(OSError):
        while data := await source.read(1 << 16):
            loop.call_later(seconds, sink.write, data)
    loop.call_later(seconds, end)


async def relay(here: str, there: str, port: int, seconds: float, far_port: int = 22) -> asyncio.Server:
    """Listen until it is closed."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onward = await asyncio.open_connection(there, far_port)
        # The end of this program is the end of what still goes on.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(flow(reader, onward, seconds), flow(back, writer, seconds))
            await asyncio.sleep(2 * seconds)
        writer.close()
        onward.close()

    return await asyncio.start_server(accept, here, port)


async def main(milliseconds: float, port: int, pairs: list[str]) -> None:
    """Until standard input ends."""
    for pair in pairs:
        here, _, there = pair.partition("=")
        await relay(here, there, port, milliseconds / 2000)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
