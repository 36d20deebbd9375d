"""The live display of a terminal: a row per host below, what has ended scrolls above. The only user of rich.

Falls back to two lines per host on a narrow terminal. Text of machines is never read as markup.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deskside.model.event import Event, NodeChanged, NodeStatus, OutputLine, RunStarted
from deskside.ui.board import Board, Row, ending
from deskside.ui.words import clean, clock, count

NARROW = 60
"""Columns below which a host takes two lines."""
LOOKS = {NodeStatus.DONE: "green", NodeStatus.FAILED: "bold red", NodeStatus.SKIPPED: "yellow"}


class LiveDisplay:
    """Shows a run on a terminal."""

    def __init__(
        self,
        stream: TextIO,
        *,
        verbose: bool = False,
        colour: bool = True,
        width: int | None = None,
        now: Callable[[], float] = time.time,
        refresh: bool = True,
    ) -> None:
        """`width` and `refresh=False` are for tests: a size of one's own, and no thread that draws."""
        self._verbose, self._now = verbose, now
        self._board = Board()
        self._lock = threading.Lock()
        self._console = Console(
            file=stream,
            no_color=not colour,
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
            force_terminal=True,
        )
        ours = stream in (sys.stdout, sys.stderr)
        self._live = Live(
            console=self._console,
            auto_refresh=refresh,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=ours,
            redirect_stderr=ours,
            get_renderable=self.view,
        )

    def __call__(self, event: Event) -> None:
        """Take an event in; what has ended is printed above."""
        with self._lock:
            self._board.take(event)
        if isinstance(event, RunStarted) and not self._live.is_started:
            self._live.start()
        if isinstance(event, NodeChanged):
            self._print_node(event)
        elif isinstance(event, OutputLine) and self._verbose:
            self._console.print(Text(f"{event.host}  | {clean(event.text)}", style="dim"))

    def tell(self, text: str) -> None:
        """Print a sentence above."""
        self._console.print(Text(clean(text), style="yellow"))

    def close(self) -> None:
        """Take the rows away and give the cursor back."""
        self._live.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def view(self) -> Group:
        """The rows as they are now, each cut to the terminal's width."""
        width, now = self._console.width, self._now()
        with self._lock:
            board = self._board
            widths = (
                min(max((len(row.host) for row in board.rows.values()), default=0), 16),
                min(max((len(row.step) for row in board.rows.values()), default=0), 24),
            )
            lines = [line for row in board.rows.values() for line in _lines(row, now, width, widths)]
            failed = Text(f", {board.failed} failed", style="red") if board.failed else Text("")
            foot = Text.assemble(
                f"{board.finished} of {count(board.total, 'step')}",
                failed,
                (f"  {clock(now - (board.begun or now))}", "dim"),
                (f"  {board.ahead}" if board.ahead else "", "dim"),
            )
        lines.append(foot)
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
        return Group(*lines)

    def _print_node(self, event: NodeChanged) -> None:
        if event.status is NodeStatus.RUNNING or (event.status is NodeStatus.UNCHANGED and not self._verbose):
            return
        name = Text(f"{event.host}  {event.step}  ")
        self._console.print(name + Text(ending(event), style=LOOKS.get(event.status, "dim")))
        if event.hint:
            self._console.print(Text(f"  hint: {clean(event.hint)}"))


def _lines(row: Row, now: float, width: int, widths: tuple[int, int]) -> list[Text]:
    elapsed = clock(now - row.since) if row.step else ""
    host, step = _cut(row.host, widths[0]), _cut(row.step, widths[1])
    head = Text.assemble((host, "bold"), "  ", (step, "cyan"), f"  {elapsed:>6}")
    if width >= NARROW:
        return [Text.assemble(head, "  ", (row.doing, "dim"))]
    if not row.step:
        return [Text.assemble((host, "bold"), "  ", (row.doing, "dim"))]
    return [head, Text(f"  {row.doing}", style="dim")]


def _cut(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"
