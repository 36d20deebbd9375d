"""Floor 7: what a person (or a script) sees. Events and values in, text out; nothing here decides anything.

Progress goes to standard error and results to standard output, so that a pipe carries results alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from deskside.model.event import Event


class UiListener(Protocol):
    """A listener that is closed at the end of a run, and that can be told a sentence meanwhile."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def tell(self, text: str) -> None:
        """Show a sentence that is no event, now."""

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def make_listener(
    *,
    as_json: bool = False,
    verbose: bool = False,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> UiListener:
    """JSON lines (on standard output), a live display on a terminal, or plain lines (on standard error)."""
    if as_json:
        from deskside.ui.jsonlines import JsonLines

        return JsonLines(stream or sys.stdout)
    stream = stream or sys.stderr
    if stream.isatty() and environ.get("TERM", "dumb") not in ("", "dumb", "unknown"):
        # The only place that needs rich, which takes longer to import than a plan of nothing.
        from deskside.ui.live import LiveDisplay

        return LiveDisplay(stream, verbose=verbose, colour=not environ.get("NO_COLOR"))
    from deskside.ui.plain import PlainLines

    return PlainLines(stream, verbose=verbose)
