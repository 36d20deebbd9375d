"""The journal: the history of each run, as JSON lines of its events, and a log for people beside it.

`<folder>/runs/<run id>/{journal.jsonl,log}`, readable by their owner only. It is history and nothing is
decided on it: reality is probed. It holds no secret, because events hold none, and because only the output
of what failed is written down, never that of what succeeded (which may print a token). A disk that fills up
during a run finds the journal a reserve to go on with; once that is gone too, the journal stops, not the run.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, Protocol, Self, TypeVar

from deskside.errors import DesksideError
from deskside.model.event import Event, NodeChanged, NodeStatus, OutputLine, Progress, RunEnded, RunStarted
from deskside.site.whole import write_whole

P = ParamSpec("P")
R = TypeVar("R")

JOURNAL = "journal.jsonl"
LOG = "log"
RESERVE = "reserve"
RESERVE_SIZE = 1 << 20
"""Bytes: the events of a few thousand nodes."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class Recorder(Protocol):
    """What the executor needs of a journal."""

    @property
    def run(self) -> str:
        """The run's id."""

    @property
    def log(self) -> Path:
        """The log that failures name."""

    def __call__(self, event: Event) -> None:
        """Keep an event, on disk before this returns where a node or the run begins or ends."""

    def note(self, text: str) -> None:
        """Add text to the log."""


def make_run_id(now: datetime | None = None) -> str:
    """A name that sorts by time (UTC), and is nobody else's on any machine: `20261123T214501-1f4c93ab`."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


class Journal:
    """The files of one run; a listener of its events."""

    def __init__(self, folder: Path, run: str = "") -> None:
        """Make the run's folder under `folder`. Raises DesksideError when it cannot be written."""
        self.run = run or make_run_id()
        self.directory = folder / "runs" / self.run
        self.trouble = ""
        """Why the journal stopped, where it did."""
        try:
            self.directory.mkdir(mode=0o700, parents=True)
            self._events = _private(self.directory / JOURNAL)
            self._log = _private(self.directory / LOG)
            self._reserve = folder / RESERVE
            _keep_free(self._reserve)
        except OSError as error:
            raise DesksideError(
                f"the journal of the run cannot be written to {self.directory}: {error.strerror or error}",
                hint=f"make room or give yourself access: df -h {folder}; ls -ld {folder}",
            ) from None

    @property
    def log(self) -> Path:
        """The log for people."""
        return self.directory / LOG

    def __call__(self, event: Event) -> None:
        """Write an event; where a node or the run begins or ends it is on disk before this returns."""
        boundary = isinstance(event, RunStarted | RunEnded | NodeChanged)
        if not isinstance(event, OutputLine):
            self._write(self._events, json.dumps(event.record(), ensure_ascii=False) + "\n", sync=boundary)
        self._write(self._log, _line(event), sync=False)

    def note(self, text: str) -> None:
        """Add text to the log, as it is."""
        self._write(self._log, text if text.endswith("\n") else text + "\n", sync=False)

    def close(self) -> None:
        """Close the files; nothing can be written afterwards."""
        for file in (self._events, self._log):
            with suppress(OSError):
                os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, file: int, text: str, *, sync: bool) -> None:
        if self.trouble:
            return
        try:
            left = memoryview(text.encode("utf-8", "backslashreplace"))
            while left:
                left = left[self._with_reserve(os.write, file, left) :]
            if sync:
                self._with_reserve(os.fsync, file)
        except OSError as error:
            self.trouble = str(error)

    def _with_reserve(self, call: Callable[P, R], *words: P.args, **named: P.kwargs) -> R:
        """Once more, with what the reserve gives, where the disk is full."""
        try:
            return call(*words, **named)
        except OSError as error:
            if error.errno not in FULL or not self._reserve.exists():
                raise
            self._reserve.unlink()
        return call(*words, **named)


@dataclass(frozen=True)
class PastRun:
    """What the journal says of an earlier run."""

    run: str
    command: str
    started: float
    """Seconds since 1970."""
    ended: float | None
    """None when it was killed, or still goes on."""
    ok: bool
    changes: int
    counts: Mapping[str, int]
    failures: Mapping[str, str]
    """Node id -> why it failed."""
    unfinished: tuple[str, ...]
    """Ids of the nodes that had begun and not ended."""
    log: Path


def last_run(folder: Path) -> PastRun | None:
    """The newest run that was recorded under `folder`; None when there is none that can be read."""
    try:
        runs = sorted((folder / "runs").iterdir(), reverse=True)
    except OSError:
        return None
    return next((found for found in map(_past_run, runs) if found is not None), None)


@dataclass
class _Reading:
    command: str = ""
    started: float | None = None
    ended: float | None = None
    ok: bool = False
    changes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)

    def take(self, event: Mapping[str, object]) -> None:
        match event.get("event"):
            case "RunStarted":
                self.command, self.started = str(event.get("command", "")), _number(event.get("at"))
            case "RunEnded":
                self.ended, self.ok = _number(event.get("at")), event.get("ok") is True
                counts = event.get("counts")
                self.counts = {str(k): int(_number(v)) for k, v in _mapping(counts).items()}
            case "NodeChanged":
                self._take_node(str(event.get("node", "")), event)

    def _take_node(self, node: str, event: Mapping[str, object]) -> None:
        status = event.get("status")
        if status == NodeStatus.RUNNING:
            self.running[node] = None
            return
        self.running.pop(node, None)
        self.changes += int(_number(event.get("changes")))
        if status == NodeStatus.FAILED:
            self.failures[node] = str(event.get("reason", ""))


def _past_run(directory: Path) -> PastRun | None:
    try:
        text = (directory / JOURNAL).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    reading = _Reading()
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed while it wrote
        if isinstance(event, dict):
            reading.take(event)
    if reading.started is None:
        return None
    return PastRun(
        run=directory.name,
        command=reading.command,
        started=reading.started,
        ended=reading.ended,
        ok=reading.ok,
        changes=reading.changes,
        counts=reading.counts,
        failures=reading.failures,
        unfinished=tuple(reading.running),
        log=directory / LOG,
    )


def _line(event: Event) -> str:
    moment = f"{datetime.fromtimestamp(event.at, UTC):%H:%M:%S}"
    match event:
        case RunStarted():
            text = (
                f"{event.command} began as run {event.run}: {event.nodes} nodes on {', '.join(event.hosts)}"
            )
        case NodeChanged():
            reason = f": {event.reason}" if event.reason else ""
            text = f"{event.node} {event.status}, {event.changes} changes, {event.seconds:.1f} s{reason}"
        case Progress() | OutputLine():
            text = f"{event.host}: {event.text}"
        case RunEnded():
            text = f"run {event.run} ended {'well' if event.ok else 'with failures'}: {event.counts}"
        case _:
            text = json.dumps(event.record(), ensure_ascii=False)
    return f"{moment} {text}\n"


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _keep_free(path: Path) -> None:
    """A file that holds room on the disk. Raises OSError when there is none: then no run begins."""
    with suppress(FileNotFoundError):
        if path.stat().st_blocks * 512 >= RESERVE_SIZE:
            return
    try:
        # Noise, for some file systems store zeros in no room at all.
        write_whole(path, secrets.token_bytes(RESERVE_SIZE))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
