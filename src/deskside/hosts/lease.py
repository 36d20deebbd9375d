"""The lease of a run on the hosts (F7): who works there, held for as long as the process of the run lives.

What is on a host is in `remote/lease.py`. May not know what the run does.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from time import localtime, strftime, time

from deskside.errors import Locked, Unreachable
from deskside.hosts import remote
from deskside.hosts.login import Lost
from deskside.hosts.ssh import Link

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 30.0
"""Seconds without one after which a host lets others in: that of a machine that sleeps, or lost its power."""
AGAIN = 1.0
"""Seconds before a lost connection is tried again."""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


@dataclass(frozen=True)
class Owner:
    """Who works on the hosts."""

    run: str
    command: str
    user: str = field(default_factory=_user)
    machine: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time)
    """Seconds since 1970."""


def locked_by(holder: Mapping[str, object], host: str) -> Locked:
    """The error for whoever comes second."""
    since, silent = holder.get("since"), holder.get("silent")
    when = ""
    if isinstance(since, int | float):
        when = f" since {strftime('%Y-%m-%d %H:%M:%S', localtime(since))}"
    quiet = ""
    if isinstance(silent, int | float) and silent > 2 * BEAT:
        quiet = f"; nothing was heard of it for {silent:.0f} s, after {SILENCE:.0f} s the host lets others in"
    who = f"{holder.get('user', 'somebody')} on {holder.get('machine', 'another machine')}"
    what = f"deskside {holder.get('command', '')}".strip()
    return Locked(
        f"{host} is held by {who}: {what}{when} "
        f"(run {holder.get('run', 'unknown')}, process {holder.get('process', 'unknown')}){quiet}",
        hint="wait for it, or end it there; nothing was changed by this command",
    )


class Lease:
    """Holds one host. `take` first; what comes after is seen to by a task of its own until `release`."""

    def __init__(self, link: Link, owner: Owner) -> None:
        self.owner = owner
        self._link = link
        self._held = asyncio.Event()
        self._lost: Locked | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Raises Locked, naming the holder, and Unreachable."""
        self._keeping = asyncio.create_task(self._keep())
        waiting = asyncio.create_task(self._held.wait())
        try:
            await asyncio.wait({self._keeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._held.is_set():
            await self._keeping  # has failed, and says why
        self.check()

    def check(self) -> None:
        """Raises Locked when somebody else has taken the host over since."""
        if self._lost is not None:
            raise self._lost

    async def release(self) -> None:
        """Let others in."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError, Unreachable):
                await self._keeping

    async def _keep(self) -> None:
        """Hold it over as many connections as it takes, until somebody else has it.

        Before it was held once: raises Unreachable where the connection is lost.
        """
        payload = {"mode": "lease", "owner": asdict(self.owner), "silence": SILENCE}
        while True:
            try:
                answer = await self._link.converse(
                    remote.request(payload), self._heard, _beats(), standing=True
                )
            except Lost as error:
                if not self._held.is_set():
                    raise Unreachable(f"{self._link.target.name} was lost: {error}") from None
                await asyncio.sleep(AGAIN)
                with suppress(Lost, Unreachable):
                    await self._link.reopen()
                continue
            if answer.get("displaced"):
                return  # by another connection of this run
            holder = answer.get("held")
            if isinstance(holder, dict):
                self._lost = locked_by(holder, self._link.target.name)
                self._held.set()
                return
            await asyncio.sleep(AGAIN)

    def _heard(self, message: Mapping[str, object]) -> None:
        if "wanted" in message:
            self._held.set()


async def _beats() -> AsyncIterator[bytes]:
    while True:
        yield b"."
        await asyncio.sleep(BEAT)
