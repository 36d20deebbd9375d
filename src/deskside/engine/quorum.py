"""Which servers may go away, leave or join, and in which order, so that the rest can still decide (F32).

A cluster of n voting servers decides while more than half of the n answer. Nothing here asks a server: who
asks gives `Voters` as they are now, and asks again before each turn, since one that was sent away may not
come back. Operations that drain, reboot, upgrade, remove and add servers are to take their turns from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from deskside.errors import StepFailed


class Move(Enum):
    """What is to be done with a server."""

    AWAY = "taken away for a while"
    """Drained, rebooted, upgraded: it stays a voter, and does not answer meanwhile."""
    REMOVE = "removed"
    ADD = "added"
    """As a learner, which becomes a voter once it answers and knows what the others know."""


@dataclass(frozen=True)
class Voters:
    """The servers that decide, and which of them answer."""

    members: frozenset[str]
    healthy: frozenset[str]
    """Of the members."""

    def __post_init__(self) -> None:
        assert self.healthy <= self.members

    @property
    def needed(self) -> int:
        """How many must answer."""
        return len(self.members) // 2 + 1

    @property
    def decide(self) -> bool:
        """Whether enough answer."""
        return len(self.healthy) >= self.needed

    def without(self, names: frozenset[str]) -> Voters:
        """As it is once these are removed."""
        return Voters(self.members - names, self.healthy - names)

    def while_away(self, names: frozenset[str]) -> Voters:
        """As it is while these do not answer."""
        return Voters(self.members, self.healthy - names)

    def __str__(self) -> str:
        sick = sorted(self.members - self.healthy)
        said = f" ({', '.join(sick)} {'does' if len(sick) == 1 else 'do'} not)" if sick else ""
        well = f"{len(self.healthy)} of {len(self.members)} servers answer{said}"
        return f"{well}, and {self.needed} are needed"


def refusal(voters: Voters, move: Move, names: frozenset[str]) -> str:
    """Why this may not be done to all of these at once; empty when it may.

    A single server may go away: the cluster is away with it and comes back with it, and nothing is lost.
    """
    if move is Move.ADD:
        if not voters.decide:
            return f"{voters}: nobody can be let in"
        return "" if len(names) == 1 else "servers are added one at a time"
    if move is Move.REMOVE:
        if names >= voters.members:
            return "no server would be left"
        if not voters.decide:
            return f"{voters}: nobody can be removed"
        after = voters.without(names)
        return "" if after.decide else f"{voters}; of those that stay, {after}"
    if not names & voters.healthy or (voters.members == names and len(names) == 1):
        return ""
    after = voters.while_away(names)
    return "" if after.decide else f"{voters}; meanwhile {len(after.healthy)} would answer"


def next_turn(voters: Voters, move: Move, names: Sequence[str]) -> str:
    """The server of `names` (not empty, in the order that is wanted) whose turn it is: one at a time.

    One that does not answer comes first: it costs nothing, and may mend what is broken. Raises StepFailed,
    with a way out, when none of them may be next.
    """
    ordered = sorted(names, key=lambda name: name in voters.healthy)
    for name in ordered:
        if not refusal(voters, move, frozenset([name])):
            return name
    name = ordered[0]
    why = refusal(voters, move, frozenset([name]))
    raise StepFailed(f"{name} cannot be {move.value} now: {why}", hint=_way_out(voters, move))


def _way_out(voters: Voters, move: Move) -> str:
    sick = sorted(voters.members - voters.healthy)
    if not voters.decide:
        return f"bring back {' or '.join(sick)}, or restore the cluster from a backup"
    if sick:
        return f"bring back or remove {sick[0]} first"
    if move is Move.REMOVE:
        return "the last server goes with the cluster"
    return f"{len(voters.members)} servers can spare none: add one, or remove one, first"
