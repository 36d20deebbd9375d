"""Help, completion, and what is imported before it is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.running import EXAMPLE, Runner, all_commands

HEAVY = ("asyncssh", "cryptography", "httpx", "rich", "websockets")


@pytest.mark.parametrize("path", list(all_commands()), ids=lambda path: " ".join(path) or "deskside")
def test_every_command_explains_itself_with_an_example(deskside: Runner, path: tuple[str, ...]) -> None:
    ran = deskside(*path, "--help")
    assert ran.status == 0
    assert ran.err == ""
    assert ran.out.startswith(f"Usage: {' '.join(('deskside', *path))} ")
    assert "Example" in ran.out
    assert "deskside " in ran.out.partition("Example")[2]


def test_the_version_is_said(deskside: Runner) -> None:
    from deskside import __version__

    ran = deskside("--version")
    assert (ran.status, ran.out.split()[-1]) == (0, __version__)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_ones(deskside: Runner, shell: str, tmp_path: Path) -> None:
    ran = deskside("completion", shell)
    assert ran.status == 0
    assert f"_DESKSIDE_COMPLETE={shell}_complete" in ran.out
    if program := shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(ran.out)
        subprocess.run([program, "-n", script], check=True, timeout=30)


def test_completion_names_commands(deskside: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DESKSIDE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "deskside va")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert deskside().out == "plain,validate\n"


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        (("--help",), 160),
        (("plan", "--help"), 160),
        (("-f", str(EXAMPLE), "validate"), 330),
        (("-f", str(EXAMPLE), "plan", "--graph", "text"), 480),
    ],
)
def test_nothing_heavy_is_imported_for_a_light_command(arguments: tuple[str, ...], most: int) -> None:
    """`most` modules: what a command takes to begin is nearly all imports."""
    code = (
        f"import sys; sys.argv = ['deskside', *{arguments!r}]\n"
        "from deskside.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert "click" in loaded
    assert not loaded & set(HEAVY)
    assert len(ran.stderr.split()) <= most


def test_a_reader_that_went_away_gets_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "from deskside.cli import main; main()"
    argv = [sys.executable, "-c", code, "-f", str(EXAMPLE), "plan", "--graph", "dot"]
    try:
        ran = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    finally:
        os.close(writing)
    assert ran.returncode not in (0, None)
    assert ran.stderr == ""
