"""The documentation says what the code says: generated pages, links, and all that a reader may type."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import pytest

from cli.running import all_commands
from deskside import errors
from deskside.catalog import all_addons, all_oses, all_steps
from deskside.cli import deskside
from deskside.site.known import settings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def generator() -> Mapping[str, Callable[..., object]]:
    return runpy.run_path(str(ROOT / "docs/generate.py"))


def text_of(page: str) -> str:
    return (REFERENCE / page).read_text()


def test_generated_pages_are_current() -> None:
    assert generator()["stale_pages"]() == [], "run docs/generate.py"


def test_a_stale_page_is_named_and_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = generator()
    main = found["main"]
    monkeypatch.setitem(main.__globals__, "HERE", tmp_path / "reference")
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert main() == 1
    assert "steps.md" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert main() == 0
    (tmp_path / "reference/steps.md").write_text("old")
    assert found["stale_pages"]() == ["steps.md"]


def anchors(page: Path) -> set[str]:
    """As the usual renderers make them from headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in HEADING.findall(page.read_text())
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), target


def test_every_setting_is_documented() -> None:
    page = text_of("settings.md")
    for path in settings():
        assert f"| `{path}` |" in page or f"## `{path}`" in page, path


def test_every_step_add_on_and_system_is_documented() -> None:
    steps, addons = text_of("steps.md"), text_of("add-ons.md")
    for step in all_steps():
        assert f"| `{step.name}` | {step.title} |" in steps
    for addon in all_addons():
        assert f"| `{addon.name}` | {addon.title} |" in addons
    for system in all_oses():
        assert f"| {system.id} | {', '.join(system.versions)} | {system.verified} |" in addons


def test_every_exit_status_is_documented() -> None:
    page, [help_text] = text_of("exit-codes.md"), [deskside.epilog or ""]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    assert len(kinds) > 5
    for kind in kinds:
        assert f"| {kind.exit_code} | `{kind.__name__}` | " in page
    for status in {0, 10, *(kind.exit_code for kind in kinds)}:
        assert f"| {status} | " in page
        assert re.search(rf"\b{status} [a-z]", help_text), status


@pytest.mark.parametrize("path", list(all_commands()), ids=lambda path: " ".join(path) or "deskside")
def test_every_flag_is_documented(path: tuple[str, ...]) -> None:
    command: click.Command = deskside
    for word in path:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    title = " ".join(("deskside", *path))
    [section] = re.findall(
        rf"^## {title}\n(.*?)(?=^## |\Z)", text_of("commands.md"), re.MULTILINE | re.DOTALL
    )
    flags = [flag for option in command.params if isinstance(option, click.Option) for flag in option.opts]
    for flag in ("--help", *flags):
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", section), flag


FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_in_the_documentation_is_one(page: Path) -> None:
    """Words that begin with `deskside` are parsed as the program would, without running them."""
    text = page.read_text()
    lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
    lines += re.findall(r"`(deskside [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines:
        words = line.partition("#")[0].replace("...", "").split()
        if words[:1] == ["deskside"]:
            assert_parses(words[1:], line)


def assert_parses(words: list[str], line: str) -> None:
    command: click.Command = deskside
    if words[:1] == ["-f"]:
        words = words[2:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    for flag in (word for word in words if word.startswith("-")):
        assert flag in known | {"--help", "-h"}, line
