"""The controller of the matrices: the shipped command line, forked from a process that has imported it.

Every controller is a process of its own that can be killed; what it prints goes to a file.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest.mock import patch

from deskside import cli
from deskside.app import runs
from deskside.catalog import all_oses, all_steps, directory_of
from deskside.engine.journal import Journal
from deskside.hosts import remote
from deskside.model.event import Event, NodeChanged, RunEnded, RunStarted
from deskside.site.trains import load_train

from .world import steps_named


def _warm() -> None:
    """Do once what every controller would do again before it connects."""
    for late in ("asyncssh", "deskside.lab.source", "deskside.store.upstream", "deskside.ui"):
        importlib.import_module(late)
    for mode in remote.LEADING:
        remote.compressed(remote.files_to_lead(mode))
    for kinds in (("facts",), ("path", "output"), remote.ANSWERING):
        remote.compressed(remote.files_for(kinds))
    all_steps()
    all_oses()
    directory_of("ldap")
    load_train("2026-11")
    gc.freeze()


_warm()


@dataclass(frozen=True)
class Death:
    """Where a controller ends itself: at a boundary of its journal, before or after it is written."""

    boundary: int
    before: bool


class Nursery:
    """Starts controllers."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        # The process that everything is forked from has to find this module as this one does.
        kept = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        try:
            forkserver.ensure_running()
        finally:
            if kept is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = kept

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        steps: Sequence[str],
        death: Death | None = None,
    ) -> ForkServerProcess:
        """A controller that runs a command line, with these steps of the catalog."""
        process = self._context.Process(target=_control, args=(words, environment, output, steps, death))
        process.start()
        return process


async def ended(process: ForkServerProcess) -> int:
    """Its exit status once it has ended; negative for the signal that killed it."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
    status = process.exitcode
    process.close()
    assert status is not None
    return status


def _control(
    words: Sequence[str],
    environment: Mapping[str, str],
    output: Path,
    steps: Sequence[str],
    death: Death | None,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    sys.argv = ["deskside", *words]
    chosen = patch.object(runs, "steps_for", lambda platform: steps_named(platform, steps))
    with chosen, patch.object(Journal, "__call__", _deadly(death) if death else Journal.__call__):
        cli.main()


def _deadly(death: Death) -> Callable[[Journal, Event], None]:
    """How a journal is written by one who dies there."""
    write, seen = Journal.__call__, 0

    def counted(journal: Journal, event: Event) -> None:
        nonlocal seen
        boundary = isinstance(event, RunStarted | RunEnded | NodeChanged)
        here = boundary and seen == death.boundary
        seen += boundary
        if here and death.before:
            os.kill(os.getpid(), signal.SIGKILL)
        write(journal, event)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)

    return counted
