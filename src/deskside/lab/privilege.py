"""Root for the rack's commands: as it is, by sudo without a password, or one sentence that says so."""

from __future__ import annotations

import os
import sys

from deskside.errors import DesksideError
from deskside.lab.process import run_now
from deskside.lab.spec import racks_folder


def become_root() -> None:
    """Go on as root: returns at once for root, otherwise runs the same command again under sudo."""
    if os.geteuid() == 0:
        return
    if not run_now(["sudo", "-n", "true"]).ok:
        raise DesksideError(
            "a rack needs root, and sudo asks for a password here", hint="run the same command with sudo"
        )
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    kept = {
        # Under sudo the home folder is root's; racks and artifacts stay where this user has them.
        "DESKSIDE_RACKS": str(racks_folder()),
        "DESKSIDE_CACHE": os.environ.get("DESKSIDE_CACHE") or f"{cache}/deskside",
        **{name: os.environ[name] for name in ("TERM", "NO_COLOR", "DESKSIDE_SITE") if name in os.environ},
    }
    words = [f"{name}={value}" for name, value in kept.items()]
    os.execvp("sudo", ["sudo", "-n", "env", *words, sys.executable, *sys.argv])  # noqa: S606
