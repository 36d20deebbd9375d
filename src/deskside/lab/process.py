"""Runs the machine's own programs for the rack. A failure is one sentence with what was said."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deskside.errors import DesksideError

DEADLINE = 120.0
"""Seconds; the slowest honest call makes a file system."""


@dataclass(frozen=True)
class Ran:
    """How a program ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0


def failure(doing: str, ran: Ran) -> DesksideError:
    """The sentence for a program that failed."""
    said = (ran.err.strip() or ran.out.strip() or f"status {ran.code}").splitlines()[-1]
    return DesksideError(f"{doing}: {said}", detail=ran.out + ran.err)


async def run(
    argv: Sequence[str | Path],
    doing: str = "",
    *,
    stdin: str = "",
    timeout: float = DEADLINE,
    env: Mapping[str, str] | None = None,
) -> Ran:
    """Run a program. With `doing` a failure raises DesksideError, else the caller looks at it."""
    command = [str(word) for word in argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise DesksideError(f"{doing or command[0]}: this machine has no program {command[0]}") from None
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), timeout)
    except TimeoutError:
        ran = Ran(124, "", f"no answer from {command[0]} after {timeout:.0f} s")
    else:
        ran = Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
    finally:
        if process.returncode is None:
            # The whole group: what nsenter started inside a host keeps the pipes open otherwise, and `wait`
            # waits.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if doing and not ran.ok:
        raise failure(doing, ran)
    return ran


def run_now(argv: Sequence[str | Path], timeout: float = 30.0) -> Ran:
    """The same without an event loop, for the supervisor and for quick looks; never raises on a status."""
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            errors="replace",
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return Ran(127, "", str(error))
    return Ran(done.returncode, done.stdout, done.stderr)
