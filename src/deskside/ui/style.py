"""Colour where it is wanted: on a terminal that can, without NO_COLOR. Nothing is said by colour alone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

import click


@dataclass(frozen=True)
class Style:
    """How text is shown: with colour or not, and how wide (0: never cut)."""

    colour: bool = False
    width: int = 0

    def good(self, text: str) -> str:
        """Something that is well."""
        return self._styled(text, fg="green")

    def bad(self, text: str) -> str:
        """Something that failed."""
        return self._styled(text, fg="red")

    def warn(self, text: str) -> str:
        """Something to look at."""
        return self._styled(text, fg="yellow")

    def dim(self, text: str) -> str:
        """Something of less weight."""
        return self._styled(text, dim=True)

    def bold(self, text: str) -> str:
        """A heading."""
        return self._styled(text, bold=True)

    def _styled(
        self, text: str, fg: str | None = None, dim: bool | None = None, bold: bool | None = None
    ) -> str:
        return click.style(text, fg=fg, dim=dim, bold=bold) if self.colour and text else text


PLAIN = Style()


def style_of(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> Style:
    """The style for a stream (standard output by default)."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return PLAIN
    colour = not environ.get("NO_COLOR") and environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    return Style(colour, shutil.get_terminal_size().columns)
