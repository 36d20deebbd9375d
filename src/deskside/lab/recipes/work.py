"""What a recipe's function works with: its folders, what it needs, and commands that show their progress.

Runs programs of the machine in process groups of their own, so that a cancelled build leaves none behind.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deskside.errors import DesksideError
from deskside.lab.recipes.machine import Machine
from deskside.lab.recipes.recipe import Built, Report

PULSE = 3.0
"""Seconds between two lines about the same command."""
SHOWN = 100
"""Characters of a command's own output in a line of progress."""


@dataclass(frozen=True)
class Work:
    """One run of one recipe."""

    recipe: str
    folder: Path
    """Becomes the product's folder in the cache when the recipe succeeds."""
    scratch: Path
    """Is thrown away."""
    cache: Path
    machine: Machine
    needs: Mapping[str, Built]
    report: Report
    lock: int
    """Descriptor of the recipe's lock. Children keep it open: while one of a killed build is still
    alive, nobody else starts on the same recipe."""

    def say(self, line: str) -> None:
        """Report one line of progress."""
        self.report(self.recipe, line)

    async def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        doing: str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Run a program to its end and return what it printed (stdout and stderr together).

        Raises DesksideError with the last lines of the output when it fails; all of it is in `detail`.
        """
        words = [os.fspath(word) for word in argv]
        self.say(doing)
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
            pass_fds=(self.lock,),
            limit=1 << 20,
        )
        output: list[str] = []
        started = time.monotonic()
        pulse = asyncio.create_task(self._pulse(doing, started, output))
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                output.append(line.decode(errors="replace"))
            status = await process.wait()
        finally:
            pulse.cancel()
            await _end(process)
        text = "".join(output)
        if status != 0:
            said = " / ".join(line.strip() for line in output[-3:]) or "nothing"
            raise DesksideError(
                f"building {self.recipe}: {doing} failed with status {status}: {said}",
                hint=f"by hand: {shlex.join(words)}",
                detail=text,
            )
        return text

    async def _pulse(self, doing: str, started: float, output: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(PULSE)
            latest = output[-1].strip()[:SHOWN] if output else ""
            lines = f", {len(output)} lines" if len(output) > 1 else ""
            self.say(f"{doing}, {time.monotonic() - started:.0f} s{lines}{': ' if latest else ''}{latest}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole process group of a command that is still running; politely first."""
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if process.returncode is not None:
            return
        try:
            os.killpg(process.pid, sign)
            await asyncio.wait_for(process.wait(), patience)
        except (ProcessLookupError, TimeoutError):
            continue
