"""Every exception of Deskside on one page.

    DesksideError 1            also: the plan was declined
     +-- UsageError 2          a wrong flag or argument
     |    +-- FileError        a file that was named has problems
     +-- SiteError 3           the site file, the train or the lock cannot be used as they stand
     +-- Unreachable 4         no connection, unknown or changed host key
     |    +-- LoginRefused     the host answers, and refuses the login or sudo
     |    +-- PythonMissing    the host lets us in and has no python3
     |    +-- WrongMachine     the machine at that address is not the host that was meant
     +-- CheckFailed 5         a finding of check or verify failed, or could not run
     +-- StepFailed 6          a change was made or tried on a host and did not succeed
     |    +-- Busy             the same, but somebody else holds what is needed: may be retried
     +-- Locked 7              another run holds the hosts
     +-- Interrupted 130       Ctrl-C

A message is one sentence: what was being done, where, and what the machine said. `hint` is the next command
or edit. This file imports nothing; nobody decides anything on the text of a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DesksideError(Exception):
    """Anything that Deskside says to a person instead of a traceback."""

    exit_code = 1
    default_hint = ""

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.detail = detail
        """Full output of the machine, for the log of the run; never shown on its own."""


class UsageError(DesksideError):
    """A flag or an argument that does not fit."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a file: where, which field, what, and what to write instead."""

    file: str
    line: int
    """1-based; 0 when the file as a whole is meant."""
    field: str
    """Path of the field, as `hosts[1].address`; empty when the file as a whole is meant."""
    message: str
    remedy: str = ""
    warning: bool = False
    """A warning is shown and refuses nothing."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        kind = "warning: " if self.warning else ""
        return f"{where}:{field} {kind}{self.message}{remedy}"


class FileError(UsageError):
    """A file that was named has problems; all of them are in `problems`."""

    default_hint = "correct the file and run the command again"

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class SiteError(DesksideError):
    """The site file (or the train, or the lock) has problems; all of them are in `problems`."""

    exit_code = 3
    default_hint = "correct the file and run: deskside validate"

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class Unreachable(DesksideError):
    """A host cannot be worked on: no connection, a host key that is not pinned, or sudo that refuses."""

    exit_code = 4


class LoginRefused(Unreachable):
    """The host answers, and refuses the login or sudo: another key or a password may succeed."""


class PythonMissing(Unreachable):
    """The host has no python3, without which nothing can be asked of it."""


class WrongMachine(Unreachable):
    """The machine that answers is not the host that was meant."""


class CheckFailed(DesksideError):
    """A check or an acceptance test found something wrong, or could not run."""

    exit_code = 5


class StepFailed(DesksideError):
    """A change on a host did not succeed."""

    exit_code = 6


class Busy(StepFailed):
    """Somebody else holds what the change needs (a package lock, say); trying again may succeed."""


class Locked(DesksideError):
    """Another run holds the site's hosts."""

    exit_code = 7


class Interrupted(DesksideError):
    """A person stopped the run; running it again goes on from there."""

    exit_code = 130
    default_hint = "run the same command again to go on"
