"""What a command reads beside the site file (secrets, certificates): all that is missing is said at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from deskside.errors import DesksideError, Problem, SiteError, UsageError
from deskside.site.load import line_of

T = TypeVar("T")


class Needs:
    """Keeps what could not be read until everything was tried; `settle` then says all of it."""

    def __init__(self, site_file: Path) -> None:
        self._file = site_file
        self._missing: list[tuple[str, DesksideError]] = []

    def take(self, field: str, read: Callable[[], T], instead: T) -> T:
        """What is read for a field of the site file; `instead` where that cannot be done."""
        try:
            return read()
        except (SiteError, UsageError) as error:
            self.lack(field, error)
            return instead

    def lack(self, field: str, error: DesksideError) -> None:
        """Keep an error for the end."""
        self._missing.append((field, error))

    def settle(self) -> None:
        """Raises the error that was kept, or SiteError with all of them."""
        if not self._missing:
            return
        if len(self._missing) == 1:
            raise self._missing[0][1]
        raise SiteError(
            f"{self._file} needs {len(self._missing)} things that are missing or cannot be used",
            problems=sorted(self._problem(field, error) for field, error in self._missing),
            hint="correct all of them and run the command again",
        )

    def _problem(self, field: str, error: DesksideError) -> Problem:
        message = error.message.removeprefix(field).removeprefix(":").strip()
        return Problem(str(self._file), line_of(self._file, field), field, message, error.hint)
