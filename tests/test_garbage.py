"""How rarely garbage is looked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Asked after ours: what is registered first at exit is called last.
ASK = "import atexit, gc; atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("from deskside.garbage import collect_rarely; collect_rarely()", "20000 True"),
        (
            "import sys; sys.argv = ['deskside', '--version']; from deskside.cli import main; main()",
            "20000 True",
        ),
        ("pass", "700 False"),
    ],
)
def test_a_program_that_ends_looks_through_nothing(program: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{ASK}\n{program}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == said, done.stderr
