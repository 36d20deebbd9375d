"""Findings of checks and of the acceptance test, as lines and as a table with the worst first."""

from __future__ import annotations

from collections.abc import Sequence

from deskside.model.finding import Finding, Outcome
from deskside.ui.style import Style, style_of
from deskside.ui.words import clean, count, duration

WORDS = {
    Outcome.FAILED: "FAILED",
    Outcome.NOT_RUN: "not run",
    Outcome.WARNING: "warning",
    Outcome.OK: "ok",
}
"""Worst first."""


def finding_line(finding: Finding, *, style: Style | None = None) -> str:
    """One finding, with its hint on a second line; no newline at the end."""
    return "\n".join(_lines(finding, style_of() if style is None else style, (len(finding.check), 0)))


def findings_text(findings: Sequence[Finding], *, style: Style | None = None) -> str:
    """All findings, worst first and otherwise in their order, then the counts; ends with a newline."""
    style = style_of() if style is None else style
    widths = (
        max((len(finding.check) for finding in findings), default=0),
        max((len(finding.subject) for finding in findings), default=0),
    )
    order = list(WORDS)
    ranked = sorted(findings, key=lambda finding: order.index(finding.outcome))
    lines = [line for finding in ranked for line in _lines(finding, style, widths)]
    outcomes = [finding.outcome for finding in findings]
    totals = [f"{outcomes.count(outcome)} {outcome}" for outcome in order if outcome in outcomes]
    lines.append(f"{count(len(findings), 'check')}: {', '.join(totals)}" if findings else "no checks")
    return "\n".join(lines) + "\n"


def _lines(finding: Finding, style: Style, widths: tuple[int, int]) -> list[str]:
    show = {
        Outcome.FAILED: style.bad,
        Outcome.NOT_RUN: style.warn,
        Outcome.WARNING: style.warn,
        Outcome.OK: style.good,
    }[finding.outcome]
    mark = show(f"{WORDS[finding.outcome]:<7}")
    took = style.dim(f" ({duration(finding.seconds)})") if finding.seconds >= 0.05 else ""
    check, subject = f"{clean(finding.check):<{widths[0]}}", f"{clean(finding.subject):<{widths[1]}}"
    lines = [f"{mark}  {check}  {subject}  {clean(finding.message)}{took}"]
    if finding.hint:
        lines.append(f"{'':7}  hint: {clean(finding.hint)}")
    return lines
