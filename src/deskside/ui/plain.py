"""One line per event, for logs, pipes and simple terminals; and a word when nothing was said for a while.

A line is `seconds since the start, host, what`. Never any colour or cursor movement.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from deskside.model.event import Event, NodeChanged, OutputLine, Progress, RunEnded, RunStarted
from deskside.ui.board import Board, counted, ending
from deskside.ui.words import clean, count, duration, listed

SILENCE = 10.0
"""Seconds without a line after which it is said what is waited for; doubled each time, up to LONGEST."""
LONGEST = 60.0


class PlainLines:
    """Writes lines; a thread of its own breaks the silence, so that it also does while nothing else runs."""

    def __init__(
        self,
        stream: TextIO,
        *,
        verbose: bool = False,
        silence: float = SILENCE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stream, self._verbose, self._silence, self._now = stream, verbose, silence, now
        self._board = Board()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._last = now()
        self._patience = silence
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Write an event."""
        with self._lock:
            self._board.take(event)
            lines = self._lines(event)
            if lines:
                self._write(lines, event.at)
                self._patience = self._silence
        if self._thread is None and not self._closed.is_set():
            self._thread = threading.Thread(target=self._watch, name="silence", daemon=True)
            self._thread.start()

    def tell(self, text: str) -> None:
        """Write a sentence."""
        with self._lock:
            self._write([clean(text)], self._now())

    def remind(self) -> None:
        """Say what is waited for, if nothing was said for long enough."""
        with self._lock:
            now, busy = self._now(), self._board.busy
            if now - self._last < self._patience or not busy or self._board.ended:
                return
            parts = []
            for row in busy:
                since = f" for {duration(now - row.since)}" if row.step else ""
                doing = f" ({row.doing})" if row.step and row.doing else row.doing
                parts.append(f"{row.host} {row.step}{since}{doing}")
            ahead = f"; {self._board.ahead}" if self._board.ahead else ""
            self._write([f"still going on: {listed(parts, 8)}{ahead}"], now)
            self._patience = min(self._patience * 2, LONGEST)

    def close(self) -> None:
        """Stop watching for silence."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _watch(self) -> None:
        while True:
            with self._lock:
                due = self._last + self._patience - self._now()
            # At least a moment: an idle board is not asked again and again.
            if self._closed.wait(max(due, self._silence / 10)):
                return
            try:
                self.remind()
            except (OSError, ValueError):
                return  # nobody reads any more; the next event says so to the run

    def _lines(self, event: Event) -> list[str]:
        match event:
            case RunStarted():
                hosts = f" on {listed(event.hosts)}" if event.hosts else ""
                return [f"{event.command}: run {event.run}, {count(event.nodes, 'step')}{hosts}"]
            case NodeChanged():
                hint = [f"{event.host}  hint: {clean(event.hint)}"] if event.hint else []
                return [f"{event.host}  {event.step}: {ending(event)}", *hint]
            case Progress():
                return [f"{event.host}  {clean(event.text)}"]
            case OutputLine():
                return [f"{event.host}  | {clean(event.text)}"] if self._verbose else []
            case RunEnded():
                return [f"ended: {counted(event.counts)}, in {duration(event.seconds)}"]
        return []

    def _write(self, lines: list[str], at: float) -> None:
        seconds = max(at - (self._board.begun or at), 0.0)
        self._stream.write("".join(f"{seconds:7.1f}s  {line}\n" for line in lines))
        self._stream.flush()
        self._last = self._now()
