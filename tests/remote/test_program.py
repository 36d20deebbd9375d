"""The remote program as a text: one namespace, Python 3.10, whole or not at all."""

from __future__ import annotations

import ast
import json
import subprocess
import symtable
import sys
from pathlib import Path
from typing import Any

import pytest

from deskside.hosts import remote
from deskside.model import action

FOLDER = Path(remote.__file__).parent


OURS = [found for found in action.Action.__subclasses__() if found.__module__ == action.__name__]
"""Tests have others."""


def top_names(module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.parse((FOLDER / f"{module}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_every_file_is_sent_and_no_name_stands_in_two() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == set(remote.EVERYTHING)
    owners: dict[str, str] = {}
    for module in remote.EVERYTHING:
        for name in top_names(module):
            assert name not in owners, f"{name} is in {module} and in {owners[name]}"
            owners[name] = module


@pytest.mark.parametrize("files", [remote.READING, remote.EVERYTHING])
def test_it_is_python_3_10_and_standard_library_only(files: tuple[str, ...]) -> None:
    tree = ast.parse(remote.program(files), feature_version=(3, 10))
    wanted: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            wanted.add((node.module or "").split(".")[0])
    assert wanted <= set(sys.stdlib_module_names)


def test_what_travels_is_small() -> None:
    """Bytes: what TCP sends before it waits for an answer is about as much, early in a connection."""
    on_a_worker = remote.files_for(("path", "output", "packages", "sysctls", "unit"))
    assert len(remote.compressed(on_a_worker)) < 6 * 1024
    assert len(remote.compressed(remote.files_for(["facts"]))) < 11 * 1024
    assert len(remote.compressed(remote.files_for(remote.ANSWERING))) < 17 * 1024
    lengths = {mode: len(remote.compressed(remote.files_to_lead(mode))) for mode in remote.LEADING}
    assert lengths["perform"] < 17 * 1024
    assert max(lengths["lease"], lengths["settle"]) < 5 * 1024


def global_names(table: symtable.SymbolTable) -> set[str]:
    """What functions take from the namespace around them."""
    own = {found.get_name() for found in table.get_symbols() if found.is_global()}
    return own.union(*map(global_names, table.get_children()))


def missed(files: tuple[str, ...]) -> set[str]:
    """Names of files that are not sent, in those that are."""
    there = {name for module in files for name in top_names(module)}
    elsewhere = {name for module in remote.EVERYTHING for name in top_names(module)} - there
    text = remote.program(files).decode()
    return elsewhere & global_names(symtable.symtable(text, "deskside", "exec"))


def namespace_of(files: tuple[str, ...]) -> dict[str, Any]:
    """What a program of these files comes to on a host; it lacks no name of another file."""
    assert not missed(files)
    names: dict[str, Any] = {"__name__": "deskside_remote"}
    exec(compile(remote.program(files), "deskside", "exec"), names)
    return names


@pytest.mark.parametrize("kind", sorted(found.op for found in OURS))
def test_what_is_sent_for_an_action_carries_it_out(kind: str) -> None:
    assert kind in namespace_of(remote.files_to_lead("perform", [kind]))["ACTIONS"]


@pytest.mark.parametrize("mode", remote.LEADING)
def test_what_is_sent_for_a_conversation_leads_it(mode: str) -> None:
    assert mode in namespace_of(remote.files_to_lead(mode))["MODES"]


@pytest.mark.parametrize("kind", remote.ANSWERING)
def test_what_is_sent_for_a_kind_of_question_answers_it(kind: str) -> None:
    """Alone: no name of another file is missed."""
    names = namespace_of(remote.files_for([kind]))
    assert names["GROUPS"].get(kind, kind) in {*names["SINGLE"], *names["TOGETHER"]}


def test_reading_carries_no_code_that_changes_anything() -> None:
    text = remote.program(remote.READING).decode()
    for word in ("os.rename", "os.unlink(at", "os.mkdir", "os.chmod", "apt-get", "fcntl", "run_program"):
        assert word not in text


def converse(data: bytes) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-S", "-c", remote.BOOT]
    return subprocess.run(argv, input=data, capture_output=True, check=False, timeout=60)


def test_f3_half_a_request_is_refused_and_half_an_answer_is_none() -> None:
    request, _ = remote.questions([{"op": "path", "path": "/"}])
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
