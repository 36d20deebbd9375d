"""Typed results that steps give and take during one run (`gives=`, `takes=`); in memory only.

A result of a once-step is for every host; a result of a host step is for that host alone.
"""

from __future__ import annotations

from deskside.engine.graph import GraphNode
from deskside.model.step import Step


class Results:
    """What the steps of a run have given so far."""

    def __init__(self) -> None:
        self._for_all: dict[type, object] = {}
        self._for_host: dict[tuple[type, str], object] = {}

    def keep(self, node: GraphNode, value: object) -> None:
        """Keep what a node gave. Raises TypeError when it is not what its step declares."""
        kind = node.step.gives
        if kind is None or not isinstance(value, kind):
            raise TypeError(f"{node} gave {type(value).__name__}, not {kind.__name__ if kind else 'nothing'}")
        if node.step.once:
            self._for_all[kind] = value
        else:
            self._for_host[kind, node.host.name] = value

    def given(self, step: Step, host: str) -> object | None:
        """What `step` takes on `host`; None until it exists."""
        if step.takes is None:
            return None
        return self._for_host.get((step.takes, host), self._for_all.get(step.takes))
