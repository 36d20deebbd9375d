"""One JSON object per event and line, for scripts: `{"event": "NodeChanged", "at": ..., ...}`."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Self, TextIO

from deskside.model.event import Event
from deskside.model.query import Json


class JsonLines:
    """Writes events as JSON lines; sentences as `{"event": "Notice", "at": ..., "text": ...}`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._write(event.record())

    def tell(self, text: str) -> None:
        """Write a sentence."""
        self._write({"event": "Notice", "at": time.time(), "text": text})

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, record: dict[str, Json]) -> None:
        self._stream.write(json.dumps(record) + "\n")
        self._stream.flush()
