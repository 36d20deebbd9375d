"""What a person approved a run to cost. A value; asking the person is the command line's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deskside.model.resource import Change, Disruption


@dataclass(frozen=True)
class Approval:
    """The costs that were approved; what costs nothing always is."""

    allowed: frozenset[Disruption] = frozenset({Disruption.NONE, Disruption.RESTART})
    """By default what `--yes` approves."""
    command: str = "deskside apply"
    """What is run to approve more."""

    @classmethod
    def of(cls, *allowed: Disruption) -> Approval:
        """What `--yes` approves, and these."""
        return cls(cls().allowed | frozenset(allowed))

    @classmethod
    def up_to(cls, most: Disruption) -> Approval:
        """What a person approves who says yes to a plan of this cost: it, and never less than `--yes`."""
        return cls.of(*(cost for cost in Disruption if cost <= most))

    def covers(self, change: Change) -> bool:
        """Whether the change may be made."""
        return change.disruption is Disruption.NONE or change.disruption in self.allowed

    def refused(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """Those that may not be made."""
        return tuple(change for change in changes if not self.covers(change))

    def flag_for(self, changes: Sequence[Change]) -> str:
        """The flag that would approve these as well, as `--allow drain,reboot`."""
        wanted = {change.disruption for change in changes} | (self.allowed - Approval().allowed)
        return "--allow " + ",".join(cost.word for cost in sorted(wanted - {Disruption.NONE}))
