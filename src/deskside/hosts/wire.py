"""What goes to and fro over one channel to the remote program: messages, what it is fed, its answer.

May not know how the channel was made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from deskside.hosts import remote

if TYPE_CHECKING:
    import asyncssh

Listener: TypeAlias = Callable[[Mapping[str, object]], None]

END = remote.END.encode()
MESSAGES = (b'{"progress"', b'{"started"', b'{"wanted"')
"""How lines begin that come before the answer."""


async def lines_of(
    process: asyncssh.SSHClientProcess[bytes],
    listen: Listener | None,
    feed: AsyncIterator[bytes] | None,
    *,
    stays: bool = False,
) -> bytes:
    """Hand messages on as they come; what is no message is the answer with its end marker.

    Until the program ends; one that `stays` has said all with the end marker.
    """
    rest, partial = bytearray(), b""
    feeding: asyncio.Task[None] | None = None
    try:
        while data := await process.stdout.read(1 << 16):
            *lines, partial = (partial + data).split(b"\n")
            for line in lines:
                if not line.startswith(MESSAGES):
                    rest += line + b"\n"
                    if stays and line.startswith(END):
                        return bytes(rest)
                    continue
                message = json.loads(line)
                if feed is not None and "wanted" in message:
                    feeding = asyncio.create_task(_fed(process, feed))
                if listen is not None:
                    listen(message)
    finally:
        if feeding is not None:
            feeding.cancel()
            # A host that has heard enough answers before all was written; its answer says why.
            with suppress(asyncio.CancelledError, OSError):
                await feeding
    return bytes(rest)


async def _fed(process: asyncssh.SSHClientProcess[bytes], feed: AsyncIterator[bytes]) -> None:
    async for block in feed:
        process.stdin.write(block)
        await process.stdin.drain()
    process.stdin.write_eof()
