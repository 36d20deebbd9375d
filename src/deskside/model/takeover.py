"""What `adopt` finds on a machine before it takes it over, and what becomes of each thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of a thing that was found."""

    KEPT = "kept"
    CHANGED = "changed"
    MUST_GO = "must go"


@dataclass(frozen=True)
class Thing:
    """Something of a machine that a person should know about before saying yes."""

    host: str
    what: str
    """Stable name, as `docker` or `sshd`."""
    fate: Fate
    message: str
    """One sentence: what was seen, and what becomes of it."""
    hint: str = ""
    """How a person makes it go; Deskside removes nothing of theirs."""
