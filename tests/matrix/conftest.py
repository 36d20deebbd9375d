"""Counts of the matrices are shown whatever becomes of the tests' other output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

Shown: TypeAlias = Callable[[str], None]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """Prints a line that is always seen."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return show
