"""A conversation for questions that stays open: the remote program starts once, and is sent what it lacks.

Starting it takes a host longer than most of what it is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from deskside.hosts import remote
from deskside.hosts.wire import Listener, lines_of

if TYPE_CHECKING:
    import asyncssh

CLOSING_SECONDS = 5.0


class Reader:
    """One process on the host. Who asks it waits for its answer before anything else is asked."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], first_line: bytes) -> None:
        """`first_line` is sudo's."""
        self._process, self._before = process, first_line
        self._files: set[str] = set()

    async def ask(
        self, queries: Sequence[Mapping[str, object]], listen: Listener | None
    ) -> tuple[bytes, str, int | None]:
        """What it printed; and once it has ended, its errors and status, else an empty text and 0."""
        request, files = remote.questions(queries, self._files)
        self._files.update(files)
        with suppress(BrokenPipeError):
            self._process.stdin.write(self._before + request)
        self._before = b""
        output = await lines_of(self._process, listen, None, stays=True)
        if remote.answer(output) is not None:
            return output, "", 0
        errors = (await self._process.stderr.read()).decode("utf-8", "replace")
        await self._process.wait_closed()
        return output, errors, self._process.exit_status

    async def end(self) -> None:
        """Close it, and wait until the host has, so that another session may begin there."""
        self._process.close()
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait_closed(), CLOSING_SECONDS)

    def drop(self) -> None:
        """Close it without waiting."""
        self._process.close()
