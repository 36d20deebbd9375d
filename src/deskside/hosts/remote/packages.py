"""Action `install_packages`: repairs a broken dpkg (F10), waits for a held lock (F9). Remote program."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from time import monotonic, sleep, time

from deskside.hosts.remote.core import Ended, Raw, at, contents, folder, number_of, program_output, texts_of
from deskside.hosts.remote.files import ACTIONS, ActionBusy, ActionFailed, Clock, ending, printed, run_program
from deskside.hosts.remote.system import installed_packages

DAY = 86400.0
LISTS = "/var/lib/apt/lists"
STAMP = "/var/lib/deskside/apt-updated"
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "UCF_FORCE_CONFFOLD": "1"}
OPTIONS = ["-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
LOCKED = re.compile(r"could not get lock|unable to (?:acquire|lock)|locked by another process", re.IGNORECASE)
HOLDER = re.compile(r"(?:process|pid) (\d+)")


def holder_of(output: str) -> str:
    """Who holds the package lock, as `process 812 (unattended-upgrade)`."""
    found = HOLDER.search(output)
    if not found:
        return "another process"
    command = contents(f"/proc/{found.group(1)}/cmdline").replace("\0", " ").strip()
    return f"process {found.group(1)} ({command[:80] or 'gone'})"


def run_locked(argv: list[str], clock: Clock, patience: float) -> Ended:
    """Run a package program; while somebody holds its lock, wait and say who. Never removes a lock."""
    end = monotonic() + min(patience, clock.left())
    while True:
        ended = run_program(argv, clock, env=QUIET, timeout=clock.left())
        output = ended.stdout + ended.stderr
        if ended.status == 0 or not LOCKED.search(output):
            return ended
        holder = holder_of(output)
        if monotonic() >= end:
            raise ActionBusy(f"the package lock is held by {holder} for more than {patience:.0f} s", ended)
        clock.report(f"waiting for the package lock, held by {holder}")
        sleep(2.0)


def demanded(ended: Ended, what: str) -> Ended:
    """The same, or ActionFailed."""
    if ended.status != 0:
        errors = [
            line for line in (ended.stderr + ended.stdout).splitlines() if line.startswith(("E: ", "dpkg: "))
        ]
        raise ActionFailed(f"{what} {ending(ended)}: {errors[0] if errors else ended.said()}", ended)
    return ended


def repair(clock: Clock, patience: float) -> None:
    """Finish what a killed dpkg left half done."""
    updates = [name for name in folder("/var/lib/dpkg/updates") if name.isdigit()]
    if not updates and not program_output(["dpkg", "--audit"], timeout=60).stdout.strip():
        return
    clock.report("repairing an interrupted dpkg")
    demanded(
        run_locked(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"], clock, patience),
        "dpkg",
    )
    demanded(run_locked(["apt-get", *OPTIONS, "--fix-broken", "install"], clock, patience), "apt-get")


def lists_are_old() -> bool:
    """Whether the package lists are missing or older than a day."""
    if not any(name.endswith(("_Packages", "_Packages.lz4", "_Packages.gz")) for name in folder(LISTS)):
        return True
    ages = [
        os.stat(at(path)).st_mtime for path in (LISTS, f"{LISTS}/partial", STAMP) if os.path.exists(at(path))
    ]
    return time() - max(ages, default=0.0) > DAY


def update_lists(clock: Clock, patience: float) -> None:
    """Fetch the package lists, and remember when: apt gives its lists the server's times."""
    clock.report("fetching package lists")
    demanded(run_locked(["apt-get", "-q", "update"], clock, patience), "apt-get update")
    os.makedirs(at(os.path.dirname(STAMP)), exist_ok=True)
    with open(at(STAMP), "w", encoding="ascii") as file:
        file.write(f"{time():.0f}\n")


def install_packages(action: Mapping[str, object], clock: Clock) -> Raw:
    """Action `install_packages`."""
    names, patience = texts_of(action, "names"), number_of(action, "lock_timeout", 120.0)
    repair(clock, patience)
    there = installed_packages()
    missing = [name for name in names if name not in there]
    if not missing:
        return {}
    fresh = lists_are_old()
    if fresh:
        update_lists(clock, patience)
    argv = ["apt-get", *OPTIONS, "--no-install-recommends", "install", *missing]
    clock.report(f"installing {' '.join(missing)}")
    ended = run_locked(argv, clock, patience)
    if ended.status != 0 and not fresh:
        # The lists may name a version that the server no longer has.
        update_lists(clock, patience)
        ended = run_locked(argv, clock, patience)
    return printed(demanded(ended, "apt-get install"))


ACTIONS["install_packages"] = install_packages
