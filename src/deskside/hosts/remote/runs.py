"""Detached runs: started, watched, joined again, one at a time on a host. Part of the remote program.

A run has a folder on tmpfs (`/run/deskside/runs/ID`, root only) with `title`, `progress`, and at its very end
`result`. The controller's connection only watches; cutting it stops nothing (F1, F2).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, sleep, time
from typing import IO

from deskside.hosts.remote.acting import carry_out_all
from deskside.hosts.remote.core import (
    MODES,
    SETTINGS,
    Raw,
    at,
    contents,
    finish,
    folder,
    located,
    number_of,
    program_output,
    say,
    text_of,
)
from deskside.hosts.remote.files import Clock
from deskside.hosts.remote.going import RUNS, process_mark, run_alive
from deskside.hosts.remote.lease import lease_of_other
from deskside.hosts.remote.room import disk_is_full

LOCK = "/run/deskside/lock"
RESULT_RESERVE = 256 << 10
"""Bytes that a run keeps free for its result, whatever fills up meanwhile."""
NOTHING: Raw = {"action": 0, "status": None, "stdout": "", "stderr": "", "busy": False}
"""Of a failure that no action had."""
KEEP = 900.0
"""Seconds that a result stays for a controller that comes back."""
RUNNER = (
    "import sys;d=sys.argv[1];S=open(d+'/program','rb').read();g={'__name__':'deskside_remote','SOURCE':S};"
    "exec(compile(S,'deskside','exec'),g);g['run_main'](d)"
)


class Stopped(BaseException):
    """The run is told to end: its time is up, or the host shuts down."""


def write_private(path: str, data: bytes) -> None:
    """Write a file of a run for root alone; it is there as a whole or not at all."""
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


def start_detached(run: str, deadline: float) -> str:
    """Start the runner so that no connection holds it; says what went wrong."""
    place = at(f"{RUNS}/{run}")
    argv = [sys.executable or "python3", "-I", "-S", "-c", RUNNER, place]
    systemd_run = located("systemd-run")
    if os.path.isdir(at("/run/systemd/system")) and "/" in systemd_run:
        unit = [
            systemd_run,
            f"--unit=deskside-run-{run}",
            f"--description=Deskside: {contents(f'{RUNS}/{run}/title')}",
            "--collect",
            "--quiet",
            f"--property=RuntimeMaxSec={deadline + 30:.0f}",
            "--property=TimeoutStopSec=20",
            "--property=StandardOutput=null",
            "--property=StandardError=null",
        ]
        ended = program_output([*unit, "--", *argv], timeout=30)
        return "" if ended.status == 0 else f"systemd-run ended with status {ended.status}: {ended.said()}"
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    write_private(f"{place}/process", f"{process.pid} {process_mark(str(process.pid))}".encode())
    return ""


def sweep_runs() -> None:
    """Remove results that nobody came back for, and runs of which nothing is left."""
    for run in folder(RUNS):
        place = at(f"{RUNS}/{run}")
        try:
            if os.path.exists(f"{place}/result"):
                old = time() - os.stat(f"{place}/result").st_mtime > KEEP
            else:
                old = time() - os.stat(place).st_mtime > 86400 and not run_alive(run)
        except OSError:
            continue
        if old:
            shutil.rmtree(place, ignore_errors=True)


def perform_mode(payload: Mapping[str, object]) -> None:
    """Mode `perform`: start the run, unless it has been, and watch it. With `rejoin`, only watch."""
    run, deadline = text_of(payload, "run"), number_of(payload, "deadline", 600.0)
    place = at(f"{RUNS}/{run}")
    if payload.get("rejoin"):
        if not os.path.isdir(place):
            finish({"absent": True})
            return
        watch(run, deadline)
        return
    owner = text_of(payload, "lease")
    other = lease_of_other(owner) if owner else {}
    if other:
        finish({"held": other})
        return
    try:
        os.makedirs(at(RUNS), mode=0o700, exist_ok=True)
        os.chmod(at("/run/deskside"), 0o700)
        sweep_runs()
        os.mkdir(place, 0o700)
    except FileExistsError:
        watch(run, deadline)
        return
    except OSError as error:
        finish({"refused": disk_is_full(str(error)) or str(error)})
        return
    wrong = prepared(place, payload) or start_detached(run, deadline)
    if wrong:
        shutil.rmtree(place, ignore_errors=True)
        finish({"refused": wrong})
        return
    say({"started": run})
    watch(run, deadline)


def prepared(place: str, payload: Mapping[str, object]) -> str:
    """Lay down what the runner reads, and room for its result; says what went wrong."""
    try:
        write_private(f"{place}/title", text_of(payload, "title").encode())
        # The boot line put the program's own text among its names.
        write_private(f"{place}/program", globals()["SOURCE"])
        write_private(f"{place}/payload", json.dumps({**payload, "root": SETTINGS["root"]}).encode())
        write_private(f"{place}/reserve", bytes(RESULT_RESERVE))
    except OSError as error:
        return disk_is_full(str(error)) or str(error)
    return ""


def relay(place: str, seen: int) -> int:
    """Print progress beyond what was seen; the new length."""
    try:
        with open(f"{place}/progress", "rb") as file:
            file.seek(seen)
            data = file.read()
    except OSError:
        return seen
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.decode("utf-8", "replace").splitlines():
        say({"progress": line})
    return seen + len(whole)


def watch(run: str, deadline: float) -> None:
    """Relay progress until the result is there, or the run is gone without one."""
    place = at(f"{RUNS}/{run}")
    end, seen, pause, looked = monotonic() + deadline + 60, 0, 0.01, monotonic()
    while monotonic() < end:
        seen = relay(place, seen)
        if os.path.exists(f"{place}/result"):
            break
        if monotonic() - looked > 2:
            looked = monotonic()
            if not run_alive(run) and not os.path.exists(f"{place}/result"):
                finish({"gone": True})
                return
        sleep(pause)
        pause = min(pause * 1.5, 0.2)
    relay(place, seen)
    try:
        with open(f"{place}/result", encoding="utf-8") as file:
            finish({"result": json.load(file)})
    except OSError:
        finish({"gone": True})


def taken_lock(lock: IO[str], clock: Clock, title: str) -> str:
    """Wait until this run is the one writer of the host; who holds it when time is up."""
    said = ""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another run"
        if clock.left() <= 0:
            return holder
        if holder != said:
            clock.report(f"waiting for another run on this host: {holder}")
            said = holder
        sleep(0.2)
    lock.seek(0)
    lock.truncate()
    lock.write(title)
    lock.flush()
    return ""


def stop(_number: int, _frame: object) -> None:
    """SIGTERM's answer."""
    raise Stopped


def run_main(place: str) -> None:
    """The detached run itself."""
    signal.signal(signal.SIGTERM, stop)
    tempfile.tempdir = place
    with open(f"{place}/payload", encoding="utf-8") as file:
        payload = json.load(file)
    # Secrets were in it.
    os.unlink(f"{place}/payload")
    os.unlink(f"{place}/program")
    SETTINGS["root"] = text_of(payload, "root")
    progress = os.open(f"{place}/progress", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:

        def report(line: str) -> None:
            # Where `/run` is full the work goes on, and is watched by nobody.
            with suppress(OSError):
                os.write(progress, (" ".join(line.split()) + "\n").encode())

        result = outcome(payload, Clock(number_of(payload, "deadline", 600.0), report))
    finally:
        os.close(progress)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.unlink(f"{place}/reserve")
    try:
        write_private(f"{place}/result", json.dumps(result).encode())
    except OSError as error:
        said = f"what it printed could not be kept, {disk_is_full(str(error)) or error}"
        failed = result.get("failed") or {**NOTHING, "what": text_of(payload, "title"), "error": said}
        short = {**failed, "stdout": "", "stderr": ""} if isinstance(failed, dict) else failed
        write_private(f"{place}/result", json.dumps({"results": [], "failed": short}).encode())


def outcome(payload: Mapping[str, object], clock: Clock) -> Raw:
    """The result of the run, whatever happened."""
    found = payload.get("actions")
    actions: list[Mapping[str, object]] = (
        [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    )
    nothing: Raw = {**NOTHING, "what": text_of(payload, "title")}
    try:
        with open(at(LOCK), "a+", encoding="utf-8") as lock:
            holder = taken_lock(lock, clock, text_of(payload, "title"))
            if holder:
                error = f"another run holds this host: {holder}"
                return {"results": [], "failed": {**nothing, "error": error, "busy": True}}
            return carry_out_all(actions, clock)
    except Stopped:
        return {
            "results": [],
            "failed": {**nothing, "error": "the run was stopped on the host", "busy": False},
        }


MODES["perform"] = perform_mode
