"""How people leave the hub: the code that it runs to see who has left, and the program that puts them out.

For every directory alike. A directory's own part is to answer `refresh_user` at the hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from deskside.site.schema import Identity

AT_HUB = Path(__file__).parent / "at_hub"
PUT_OUT = "put out"
UNKNOWN = "not known to the hub"
MARK = "deskside "
"""Begins the program's answer: the hub's settings print lines of their own."""


def leaving_code() -> Mapping[str, str]:
    """For `hub.extraConfig`; it comes after the code that chooses the authenticator."""
    return {"20-deskside-leaving": "\n\n".join((_text("forget"), _text("leaving")))}


def leaving_settings(identity: Identity) -> Mapping[str, object]:
    """For `hub.config`: who is no person of the directory."""
    return {"Leaving": {"spared": [identity.break_glass.name]}} if identity.break_glass else {}


def forgetting_program() -> tuple[str, ...]:
    """The command line in the hub's pod that puts people out."""
    return ("python3", "-c", _text("forget"))


def forgetting_input(names: Sequence[str]) -> str:
    """What it is told."""
    return json.dumps({"names": list(names)})


def forgetting_answer(printed: str) -> Mapping[str, str]:
    """What became of each name; empty for an answer that is none."""
    lines = [line.removeprefix(MARK) for line in printed.splitlines() if line.startswith(MARK)]
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return {}
    return {str(name): str(said) for name, said in found.items()} if isinstance(found, dict) else {}


def _text(name: str) -> str:
    return (AT_HUB / f"{name}.py").read_text(encoding="utf-8")
