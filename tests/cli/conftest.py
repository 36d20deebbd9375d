"""The runner, and homes and hosts that are not this machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.running import Runner


@pytest.fixture
def deskside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    """The program in an empty folder, with a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.delenv("DESKSIDE_SITE", raising=False)
    return Runner(monkeypatch, capsys)
