"""How people leave the hub: the code that it runs to see who has left, and the program that puts them out.

For every directory alike. A directory's own part is to answer `refresh_user` at the hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from deskside.identity.hub_programs import hub_answer, hub_code, hub_program
from deskside.site.schema import Identity

PUT_OUT = "put out"
UNKNOWN = "not known to the hub"


def leaving_code() -> Mapping[str, str]:
    """For `hub.extraConfig`; it comes after the code that chooses the authenticator."""
    return {"20-deskside-leaving": hub_code("api", "forget", "leaving")}


def leaving_settings(identity: Identity) -> Mapping[str, object]:
    """For `hub.config`: who is no person of the directory."""
    return {"Leaving": {"spared": [identity.break_glass.name]}} if identity.break_glass else {}


def forgetting_program() -> tuple[str, ...]:
    """The command line in the hub's pod that puts people out."""
    return hub_program("forget")


def forgetting_input(names: Sequence[str]) -> str:
    """What it is told."""
    return json.dumps({"names": list(names)})


def forgetting_answer(printed: str) -> Mapping[str, str]:
    """What became of each name; empty for an answer that is none."""
    return {name: str(said) for name, said in hub_answer(printed).items()}
