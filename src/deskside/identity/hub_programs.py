"""Programs that run in the hub's pod: how they are put together, and how their answers are read.

Their code lies in `at_hub`, standard library only; `api.py` stands in front of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deskside.model.query import Json

AT_HUB = Path(__file__).parent / "at_hub"
MARK = "deskside "
"""Begins a program's answer: the hub's settings print lines of their own."""
IN_HUB = ("exec", "-i", "-n", "jupyterhub", "deployment/hub", "-c", "hub", "--")
"""Words of kubectl before a command line in the hub's container."""


def hub_code(*names: str) -> str:
    """The files of `at_hub` behind each other."""
    return "\n\n".join((AT_HUB / f"{name}.py").read_text(encoding="utf-8") for name in names)


def hub_program(name: str) -> tuple[str, ...]:
    """The command line in the hub's pod; its input is JSON."""
    return ("python3", "-c", hub_code("api", name))


def hub_answer(printed: str) -> Mapping[str, Json]:
    """What a program answered; empty for an answer that is none."""
    lines = [line.removeprefix(MARK) for line in printed.splitlines() if line.startswith(MARK)]
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
