"""A check is a read-only question about readiness or health; a finding is its answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended. NOT_RUN is not a pass."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Finding:
    """The answer of one check."""

    check: str
    """Stable name, as `ports` or `spawn`."""
    subject: str
    """Host name, or `site`, or what was looked at."""
    outcome: Outcome
    message: str
    """One sentence: what was seen."""
    hint: str = ""
    """Cause and next command, when it is not ok."""
    seconds: float = 0.0

    @property
    def refuses(self) -> bool:
        """True when apply may not go on, or verify has not passed."""
        return self.outcome in (Outcome.FAILED, Outcome.NOT_RUN)
