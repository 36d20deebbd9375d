"""The small process behind a host: boots it, plugs its cable in, and boots it again when it reboots.

`python -m deskside.lab.supervise RACK_FOLDER HOST`. It decides nothing else: a host that powers off stays
off. It holds `supervisor.lock` as long as it lives, which is how everyone else knows. Imports are kept light.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deskside.lab.breaks import cable_is_cut
from deskside.lab.hosts import nspawn_command
from deskside.lab.machine import Machine, kill_tree, this_machine
from deskside.lab.network import plug, unplug
from deskside.lab.spec import Layout, RackHost, load_layout

REBOOT = 133
"""How systemd-nspawn ends when the host wants to be started again."""
CABLE_SECONDS = 60.0
START_TRIES = 3
START_SECONDS = 5.0
"""systemd-nspawn ending with an error sooner than this never booted the host."""


def init_of(nspawn: int) -> int | None:
    """The child of a systemd-nspawn process that is process 1 of the host; None when there is none yet."""
    ours = os.readlink("/proc/self/ns/pid")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in brackets may hold spaces; the parent is the second field after it.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == nspawn and os.readlink(entry / "ns/pid") != ours:
                return int(entry.name)
        except (OSError, ValueError, IndexError):
            continue
    return None


def say(text: str) -> None:
    """One line for supervisor.log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
    sys.stderr.flush()


def connect(layout: Layout, host: RackHost, process: subprocess.Popen[bytes]) -> None:
    """Wait for init and cable, plug the cable in, and write down who init is."""
    end = time.monotonic() + CABLE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        leader = init_of(process.pid)
        if leader is not None and plug(layout, host, leader, cut=cable_is_cut(layout, host)):
            fresh = layout.place(host) / "leader.new"
            fresh.write_text(f"{leader}\n")
            fresh.rename(layout.place(host) / "leader")
            return
        time.sleep(0.02)
    say(f"no cable after {CABLE_SECONDS:.0f} s")


def boot(layout: Layout, host: RackHost, machine: Machine) -> int:
    """Boot the host once and wait for its end; returns the status of systemd-nspawn."""
    kill_tree(machine, layout.name, host.name)
    unplug(layout, host)
    env = {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}
    with (layout.place(host) / "console.log").open("ab") as console:
        process = subprocess.Popen(
            nspawn_command(layout, host),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=env,
            preexec_fn=lambda: machine.enter_host(layout.name, host.name),  # noqa: PLW1509  # one thread
        )
    say(f"booting, systemd-nspawn is process {process.pid}")
    connect(layout, host, process)
    status = process.wait()
    (layout.place(host) / "leader").unlink(missing_ok=True)
    say(f"systemd-nspawn ended with status {status}")
    return status


def supervise(layout: Layout, host: RackHost, machine: Machine) -> None:
    """Boot again after a reboot, and a few times when the machine was too busy to start the host at all."""
    failures = 0
    while failures < START_TRIES:
        started = time.monotonic()
        status = boot(layout, host, machine)
        if status == REBOOT:
            failures = 0
            say("reboot")
        elif status > 0 and time.monotonic() - started < START_SECONDS:
            failures += 1
            say(f"did not start, try {failures} of {START_TRIES}")
            time.sleep(failures)
        else:
            return


def main(folder: str, name: str) -> int:
    """Supervise until the host powers off or is killed."""
    layout = load_layout(Path(folder))
    host = layout.host(name)
    machine = this_machine()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    place = layout.place(host)
    with (place / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # somebody was faster
        (place / "supervisor.pid").write_text(f"{os.getpid()}\n")
        machine.enter_supervisors(layout.name, host.name)
        supervise(layout, host, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
