"""Runs the command line as the installed program does, inside this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from deskside.cli import deskside, main

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/site.yaml"


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status and what it printed."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Runner:
    """Calls `main()` with arguments; there is never a terminal."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Ran:
        self.monkeypatch.setattr(sys, "argv", ["deskside", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        found = self.capsys.readouterr()
        assert "Traceback" not in found.out + found.err
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, found.out, found.err)


def all_commands(path: tuple[str, ...] = (), command: click.Command = deskside) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups included."""
    yield path
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            yield from all_commands((*path, name), below)
