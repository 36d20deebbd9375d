"""Which detached runs go on, and waiting for them. Part of the remote program; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import monotonic, sleep, time

from deskside.hosts.remote.core import (
    MODES,
    at,
    contents,
    finish,
    folder,
    number_of,
    program_output,
    say,
)

RUNS = "/run/deskside/runs"


def process_mark(pid: str) -> str:
    """Start time of a process; empty when it has ended. Tells it from a later one of that number."""
    fields = contents_of_machine(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def contents_of_machine(path: str) -> str:
    """Text of a file of this machine, whatever the root of the host."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def run_alive(run: str) -> bool:
    """Whether the process of a run is there."""
    place = f"{RUNS}/{run}"
    pid, _, mark = contents(f"{place}/process").partition(" ")
    if pid:
        return bool(mark) and process_mark(pid) == mark
    try:
        if time() - os.stat(at(place)).st_mtime < 3:
            return True
    except OSError:
        return False
    word = program_output(
        ["systemctl", "is-active", f"deskside-run-{run}.service"], timeout=10
    ).stdout.strip()
    return word in ("active", "activating", "deactivating", "reloading")


def settle_mode(payload: Mapping[str, object]) -> None:
    """Mode `settle`: wait for the runs of earlier controllers to end; names those that did not."""
    end, said = monotonic() + number_of(payload, "deadline", 600.0), ""
    while True:
        going = [
            run for run in folder(RUNS) if not os.path.exists(at(f"{RUNS}/{run}/result")) and run_alive(run)
        ]
        titles = ", ".join(contents(f"{RUNS}/{run}/title") or run for run in going)
        if not going or monotonic() >= end:
            finish({"going": going, "titles": titles})
            return
        if titles != said:
            say({"progress": f"waiting for what an earlier run began: {titles}"})
            said = titles
        sleep(0.3)


MODES["settle"] = settle_mode
