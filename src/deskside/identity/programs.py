"""Programs of `on_host/` as command lines: one text each, with what they share in front."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from deskside.hosts.remote import standing_alone

FOLDER = Path(__file__).parent / "on_host"


@cache
def program(name: str) -> tuple[str, ...]:
    """The command line that runs a program of that name on a host; what it works on comes by its input."""
    return ("python3", "-I", "-c", standing_alone(FOLDER / "speak.py", FOLDER / f"{name}.py"))
