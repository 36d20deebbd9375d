"""How checks say what they found, in one line each."""

from __future__ import annotations

from deskside.model.finding import Finding, Outcome


def failed(check: str, subject: str, message: str, hint: str = "") -> Finding:
    """Apply may not go on."""
    return Finding(check, subject, Outcome.FAILED, message, hint)


def warning(check: str, subject: str, message: str, hint: str = "") -> Finding:
    """Worth knowing; nothing is refused."""
    return Finding(check, subject, Outcome.WARNING, message, hint)


def not_run(check: str, subject: str, message: str, hint: str = "") -> Finding:
    """The check itself did not work, which is no pass."""
    return Finding(check, subject, Outcome.NOT_RUN, message, hint)


def fine(check: str, subject: str, message: str) -> Finding:
    """Nothing wrong."""
    return Finding(check, subject, Outcome.OK, message)
