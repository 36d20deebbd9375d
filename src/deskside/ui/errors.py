"""Errors for a person: every problem of a file, one sentence, one hint. Never a traceback."""

from __future__ import annotations

import sys

from deskside.errors import DesksideError, FileError, SiteError
from deskside.ui.style import Style, style_of
from deskside.ui.words import clean, count

SHOWN = 200
"""Problems that are shown; a file of another kind altogether may have tens of thousands."""


def error_text(error: DesksideError, *, style: Style | None = None) -> str:
    """The error as text that ends with a newline, with its first problems; for standard error."""
    style = style_of(sys.stderr) if style is None else style
    lines = []
    if isinstance(error, SiteError | FileError):
        for problem in error.problems[:SHOWN]:
            show = style.warn if problem.warning else style.bold
            lines.append(show(clean(str(problem))))
        if more := len(error.problems[SHOWN:]):
            lines.append(f"and {count(more, 'more problem')}")
    lines.append(f"{style.bad('error:')} {clean(error.message)}")
    if error.hint:
        lines.append(f"{style.good('hint:')} {clean(error.hint)}")
    return "\n".join(lines) + "\n"
