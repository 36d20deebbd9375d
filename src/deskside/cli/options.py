"""Flags and small doings that several commands share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import click

from deskside.errors import Interrupted

if TYPE_CHECKING:
    import asyncio

    from deskside.app.workspace import Workspace
    from deskside.model.artifact import ArtifactSource
    from deskside.store.store import Store

T = TypeVar("T")
SILENCE = 10.0
"""Seconds after which a person hears again that something is still going on."""

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, or JSON lines of events.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Also show diffs and what machines print.")


def open_workspace(ctx: click.Context) -> Workspace:
    """The site of this command, with its warnings said."""
    from deskside.app.workspace import Workspace

    workspace = Workspace.open(Path(ctx.obj))
    for warning in workspace.warnings:
        click.echo(str(warning), err=True)
    return workspace


def make_store(workspace: Workspace, preferred: str = "") -> Store:
    """The site's store with every source that this installation has."""
    from deskside.lab.recipes import default_cache
    from deskside.lab.source import RecipeSource
    from deskside.store.charts import SiteCharts
    from deskside.store.upstream import UpstreamSource

    upstream, recipes = (
        UpstreamSource(workspace.train, default_cache()),
        RecipeSource(workspace.train, default_cache()),
    )
    charts = SiteCharts(workspace.own_charts(), default_cache())
    sources: Mapping[str, ArtifactSource] = {source.name: source for source in (upstream, recipes, charts)}
    return workspace.store(sources, preferred or default_source(workspace))


def default_source(workspace: Workspace) -> str:
    """Recipes for a train of the lab, whose parts no publisher offers; upstream for all others."""
    return "recipe" if workspace.train.name.endswith("-rack") else "upstream"


class _Saying:
    """Lines of long work for a person: one that only counts on is repeated every ten seconds."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def __call__(self, host: str, line: str) -> None:
        what, now = line.partition(",")[0].rstrip("0123456789. s"), monotonic()
        before, said = self._last.get(host, ("", 0.0))
        if what != before or now - said >= SILENCE:
            self._last[host] = (what, now)
            click.echo(f"{host}: {line}", err=True)


say = _Saying()
"""One line of what is going on, for a person."""


def run(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end. Raises Interrupted on Ctrl-C, after it cleaned up."""
    import asyncio

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None


@contextmanager
def stop_on_signal(stopped: asyncio.Event, tell: Callable[[str], None]) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM) sets `stopped`; the second ends the process at once."""
    import asyncio

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        if stopped.is_set():
            sys.exit(Interrupted.exit_code)
        stopped.set()
        tell("stopping: what runs is finished first; Ctrl-C again to leave now (a rerun goes on from there)")

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def on_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
