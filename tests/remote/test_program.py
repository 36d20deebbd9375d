"""The remote program as a text: one namespace, Python 3.10, whole or not at all."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deskside.hosts import remote

FOLDER = Path(remote.__file__).parent


def top_names(module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.parse((FOLDER / f"{module}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_every_file_is_sent_and_no_name_stands_in_two() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == set(remote.ACTING)
    owners: dict[str, str] = {}
    for module in remote.ACTING:
        for name in top_names(module):
            assert name not in owners, f"{name} is in {module} and in {owners[name]}"
            owners[name] = module


@pytest.mark.parametrize("acting", [False, True])
def test_it_is_python_3_10_and_standard_library_only(acting: bool) -> None:
    tree = ast.parse(remote.program(acting=acting), feature_version=(3, 10))
    wanted: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            wanted.add((node.module or "").split(".")[0])
    assert wanted <= set(sys.stdlib_module_names)


def test_what_travels_is_small() -> None:
    """Bytes: what TCP sends before it waits for an answer is about as much, early in a connection."""
    assert len(remote.compressed(acting=False)) < 16 * 1024
    assert len(remote.compressed(acting=True)) < 32 * 1024


def test_reading_carries_no_code_that_changes_anything() -> None:
    text = remote.program(acting=False).decode()
    for word in ("os.rename", "os.unlink(at", "os.mkdir", "os.chmod", "apt-get", "fcntl", "run_program"):
        assert word not in text


def converse(data: bytes) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-S", "-c", remote.BOOT]
    return subprocess.run(argv, input=data, capture_output=True, check=False, timeout=60)


def test_f3_half_a_request_is_refused_and_half_an_answer_is_none() -> None:
    request = remote.request({"mode": "read", "queries": [{"op": "path", "path": "/"}]}, acting=False)
    assert converse(request[:-5]).returncode == remote.CUT_SHORT
    done = converse(request)
    assert done.returncode == 0
    answer = remote.answer(done.stdout)
    assert answer is not None
    assert "ok" in json.dumps(answer)
    for cut in (2, 40, 90):
        assert remote.answer(done.stdout[:-cut]) is None
    assert remote.answer(done.stdout.replace(b"directory", b"d1rectory")) is None
    assert remote.answer(b"") is None
