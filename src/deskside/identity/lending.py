"""A token of one person, lent by the hub to the acceptance test where nobody can log in but in a browser."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from deskside.errors import CheckFailed
from deskside.identity.hub_programs import hub_answer, hub_program
from deskside.site.secrets import Secret

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Lent:
    """A token that is worth nothing after half an hour, or once it is taken back by its `id`."""

    token: Secret = field(repr=False)
    id: str


def lending_scopes(name: str) -> tuple[str, ...]:
    """What the hub's service needs for it: tokens of this one person."""
    return (f"tokens!user={name}",)


def lending_program() -> tuple[str, ...]:
    """The command line in the hub's pod."""
    return hub_program("lend")


def lending_input(name: str, taken_back: str = "") -> str:
    """What it is told: lend a token, or take that one back."""
    return json.dumps({"name": name} | ({"id": taken_back} if taken_back else {}))


def lending_answer(name: str, printed: str) -> Lent:
    """The token. Raises CheckFailed with why there is none."""
    found = hub_answer(printed)
    token, number, error = found.get("token"), found.get("id"), found.get("error")
    if isinstance(token, str) and token and isinstance(number, str):
        return Lent(Secret(token), number)
    if error == UNKNOWN:
        raise CheckFailed(
            f"the hub does not know {name}", hint=f"let {name} log in once with a browser, then verify again"
        )
    raise CheckFailed(
        f"the hub lends no token of {name}: {error or 'no answer'}", hint="run: deskside plan, and apply"
    )


def taken_back(name: str, printed: str) -> None:
    """Raises CheckFailed where a token was not taken back."""
    found = hub_answer(printed)
    if not found.get("id"):
        raise CheckFailed(f"the token of {name} was not taken back: {found.get('error') or 'no answer'}")
