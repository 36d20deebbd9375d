"""The cache of recipes, tried with recipes that take no time: keys, locks, kills, what a failure says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deskside.errors import DesksideError, UsageError
from deskside.lab import recipes
from deskside.lab.recipes.build import Kitchen, prune
from deskside.lab.recipes.go import MODULES
from deskside.lab.recipes.kubernetes import IMAGES, PROGRAMS
from deskside.lab.recipes.machine import Machine, require_tools
from deskside.lab.recipes.pins import PYTHON, unpinned
from deskside.lab.recipes.recipe import Built, Made, Recipe, recipe_key
from deskside.lab.recipes.work import Work
from deskside.lab.source import ONE_EACH, RECIPE_OF

Make = Callable[[Work], Awaitable[Made]]


def recipe(make: Make, source: Path, *, needs: tuple[str, ...] = (), name: str = "small") -> Recipe:
    return Recipe(
        name=name,
        version="1",
        kind="file",
        about="a test",
        make=make,
        sources=(source,),
        inputs=lambda machine: {"flags": "-s"},
        needs=needs,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("one")
    return path


async def writes(work: Work) -> Made:
    (work.folder / "product").write_text("done")
    return Made("product", "1")


async def serve(cache: Path, *wanted: Recipe, said: list[str] | None = None) -> dict[str, Built]:
    def report(name: str, line: str) -> None:
        if said is not None:
            said.append(f"{name}: {line}")

    named = {one.name: one for one in wanted}
    return await Kitchen(named, cache, report, Machine()).serve(named)


def built(sha256: str) -> Built:
    return Built("below", "1", "file", Path("x"), sha256, 1)


def test_key_is_the_same_for_the_same_inputs(source: Path) -> None:
    one = recipe(writes, source)
    assert recipe_key(one, Machine(), {}) == recipe_key(replace(one), Machine(), {})


@pytest.mark.parametrize("change", ["source", "version", "flags", "kind", "needs"])
def test_key_changes_with_every_input(source: Path, change: str) -> None:
    one = recipe(writes, source, needs=("below",))
    before = recipe_key(one, Machine(), {"below": built("a")})
    needs = {"below": built("b" if change == "needs" else "a")}
    if change == "source":
        source.write_text("two")
    elif change == "version":
        one = replace(one, version="2")
    elif change == "flags":
        one = replace(one, inputs=lambda machine: {"flags": "-w"})
    elif change == "kind":
        one = replace(one, kind="archive")
    assert recipe_key(one, Machine(), needs) != before


def test_key_of_a_folder_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "go.mod").write_text("module x")
    one = recipe(writes, folder)
    before = recipe_key(one, Machine(), {})
    (folder / "go.mod").rename(folder / "go.sum")
    assert recipe_key(one, Machine(), {}) != before


async def test_second_build_makes_nothing(tmp_path: Path, source: Path) -> None:
    calls = []

    async def counted(work: Work) -> Made:
        calls.append(work.recipe)
        return await writes(work)

    first = await serve(tmp_path, recipe(counted, source))
    second = await serve(tmp_path, recipe(counted, source))
    assert first == second
    assert len(calls) == 1
    assert first["small"].path.read_text() == "done"
    assert first["small"].size == 4


async def test_a_product_that_is_not_whole_is_made_again(tmp_path: Path, source: Path) -> None:
    made = (await serve(tmp_path, recipe(writes, source)))["small"]
    made.path.write_text("do")
    assert (await serve(tmp_path, recipe(writes, source)))["small"].path.read_text() == "done"


async def test_trouble_with_the_disk_is_no_traceback(tmp_path: Path, source: Path) -> None:
    async def full(work: Work) -> Made:
        raise OSError(28, "No space left on device")

    with pytest.raises(DesksideError, match=r"building small in .*No space left") as failed:
        await serve(tmp_path, recipe(full, source))
    assert "DESKSIDE_CACHE" in failed.value.hint


async def test_needs_are_made_first_and_handed_over(tmp_path: Path, source: Path) -> None:
    async def above(work: Work) -> Made:
        (work.folder / "product").write_text(work.needs["small"].path.read_text() + "!")
        return Made("product", "1")

    made = await serve(
        tmp_path, recipe(writes, source), recipe(above, source, needs=("small",), name="above")
    )
    assert made["above"].path.read_text() == "done!"


async def test_two_builds_at_once_make_it_once(tmp_path: Path, source: Path) -> None:
    calls = []

    async def slow(work: Work) -> Made:
        calls.append(1)
        await asyncio.sleep(0.2)
        return await writes(work)

    said: list[str] = []
    one = recipe(slow, source)
    first, second = await asyncio.gather(serve(tmp_path, one, said=said), serve(tmp_path, one, said=said))
    assert first == second
    assert len(calls) == 1
    assert any("another process builds it" in line for line in said)


async def test_a_failure_says_what_and_keeps_the_output(tmp_path: Path, source: Path) -> None:
    async def fails(work: Work) -> Made:
        await work.run(["sh", "-c", "echo no such thing; exit 3"], "fetching it")
        raise AssertionError

    async def waits(work: Work) -> Made:
        await work.run(["sleep", "60"], "waiting")
        raise AssertionError

    started = time.monotonic()
    with pytest.raises(DesksideError) as failed:
        await serve(tmp_path, recipe(waits, source, name="long"), recipe(fails, source))
    assert failed.value.message == "building small: fetching it failed with status 3: no such thing"
    assert failed.value.detail == "no such thing\n"
    assert time.monotonic() - started < 10, "the other recipe was ended"
    assert not any((tmp_path / "work").iterdir())


def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from deskside.lab.recipes.build import Kitchen
        from deskside.lab.recipes.machine import Machine
        from deskside.lab.recipes.recipe import Made, Recipe

        async def make(work):
            (work.folder / "product").write_text("half")
            print("started", flush=True)
            if sys.argv[2] == "hang":
                await asyncio.sleep(60)
            (work.folder / "product").write_text("whole")
            return Made("product", "1")

        one = Recipe("small", "1", "file", "", make, (), lambda machine: {})
        made = Kitchen({"small": one}, Path(sys.argv[1]), lambda *said: None, Machine()).serve(["small"])
        print(asyncio.run(made)["small"].path.read_text())
    """)
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen([*argv, "hang"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "started\n"
        first.send_signal(signal.SIGKILL)
    assert len(list((tmp_path / "work").iterdir())) == 1
    assert not (tmp_path / "artifacts").exists()
    again = subprocess.run([*argv, "go"], capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout == "started\nwhole\n"
    assert not any((tmp_path / "work").iterdir())


async def test_prune_removes_what_no_recipe_makes(tmp_path: Path, source: Path) -> None:
    old = (await serve(tmp_path, recipe(writes, source)))["small"]
    source.write_text("two")
    new = (await serve(tmp_path, recipe(writes, source)))["small"]
    assert prune(tmp_path, [new]) == [old.path.parent]
    assert new.path.exists()
    assert not old.path.exists()


def test_missing_tool_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DesksideError) as failed:
        require_tools("base", ("mmdebstrap",), root=False)
    assert "no mmdebstrap" in failed.value.message
    assert failed.value.hint == "apt-get install mmdebstrap"
    assert "mmdebstrap" in recipes.missing_packages()


def test_rights_are_asked_for_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DesksideError, match="only be made by root"):
        require_tools("base", (), root=True)


async def test_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe is named nothing") as failed:
        await recipes.build(["nothing"], cache=tmp_path, report=lambda name, line: None)
    assert "containerd" in failed.value.hint


def test_recipes_need_only_recipes_before_them() -> None:
    seen: set[str] = set()
    for one in recipes.RECIPES.values():
        assert set(one.needs) <= seen, one.name
        assert all(path.exists() for path in one.sources), one.name
        seen.add(one.name)
    assert {*RECIPE_OF.values(), *ONE_EACH} <= seen
    assert {name for name, made_by in RECIPE_OF.items() if made_by == "kubernetes-images"} == set(IMAGES)


def machine_with(tmp_path: Path, **files: str) -> Machine:
    folder = tmp_path / "apt/sources.list.d"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return Machine(etc=tmp_path)


def test_debians_own_sources_are_kept_and_others_are_not(tmp_path: Path) -> None:
    machine = machine_with(
        tmp_path,
        debian_sources="Types: deb\n# a comment\nURIs: http://mirror.example/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n",
        other_list="deb [signed-by=/etc/apt/keyrings/other.gpg] https://other.example bookworm main\n"
        "deb http://security.example bookworm-security main contrib\n# deb http://no.example bookworm main\n",
    )
    uris = [line.split()[2:4] for line in machine.debian_sources.splitlines()]
    assert uris == [
        ["http://mirror.example/debian", "bookworm"],
        ["http://mirror.example/debian", "bookworm-updates"],
        ["http://security.example", "bookworm-security"],
    ]


def test_sources_of_another_release_leave_the_choice_to_mmdebstrap(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, ubuntu_list="deb http://mirror.example/ubuntu noble main\n")
    assert machine.debian_sources == ""


@pytest.mark.parametrize("wanted", sorted(PYTHON.glob("*.in")), ids=lambda path: path.stem)
def test_every_python_package_is_pinned_by_digest(wanted: Path) -> None:
    assert not list(unpinned(wanted))
    for line in wanted.with_suffix(".txt").read_text().splitlines():
        assert line.startswith("#") or "--hash=sha256:" in line


def test_npm_packages_are_pinned_by_digest_and_not_by_address() -> None:
    lock = json.loads((PYTHON.parent / "node/package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert name == "" or "integrity" in package, name
        assert "resolved" not in package, name


def test_one_binary_is_every_program_that_is_promised() -> None:
    text = (MODULES / "kube/main.go").read_text()
    table = text[text.index("var components") : text.index("func main")]
    assert sorted(PROGRAMS) == sorted(
        line.split('"')[1] for line in table.splitlines() if line.startswith('\t"')
    )
