"""Whatever a file holds: no exception but SiteError, every problem on one printable line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deskside.errors import SiteError
from deskside.site.known import settings as known_settings
from deskside.site.load import load, problems

GOOD = Path(__file__).with_name("good.yaml").read_text("utf-8")
TREE = yaml.safe_load(GOOD)

many = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
words = sorted({part.strip("[]") for path in known_settings() for part in path.split(".")})
keys = st.sampled_from(words) | st.text(max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(
        ["10.20.0.11", "10.20.0.0/24", "lab.example", "nas:/homes", "4Gi", "ldaps://x", "server", "=", "on"]
    )
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=15,
)


def look(content: bytes) -> bool:
    """Load a file of that content; returns whether it is accepted. Only a SiteError may be raised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_bytes(content)
        found = problems(path)
        for problem in found:
            text = str(problem)
            assert text.isprintable()
            assert problem.message
            assert problem.remedy
            assert 0 <= problem.line <= content.count(b"\n") + content.count(b"\r") + 2
            text.encode("utf-8")
        if all(problem.warning for problem in found):
            assert load(path).warnings == found
            return True
        with pytest.raises(SiteError) as raised:
            load(path)
        assert raised.value.problems == found
        return False


@many
@given(st.binary(max_size=400))
def test_any_bytes(content: bytes) -> None:
    assert not look(content)


@many
@given(st.text(alphabet="site: hosts\n\t -[]{}&*!|>'\"%@`#?,~0.10\\xuU\x85\u2028é", max_size=200))
def test_text_made_of_what_yaml_is_made_of(content: str) -> None:
    look(content.encode())


@many
@given(st.dictionaries(st.sampled_from(list(TREE)) | keys, trees, max_size=8))
def test_any_tree(tree: dict[str, object]) -> None:
    look(yaml.dump(tree, allow_unicode=True).encode("utf-8", "surrogateescape"))


def places(tree: object, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a tree but its top."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found: list[tuple[str | int, ...]] = []
    for key, value in inside:
        found += [(*here, key), *places(value, (*here, key))]
    return found


@many
@given(st.lists(st.tuples(st.sampled_from(places(TREE)), st.none() | trees), min_size=1, max_size=3))
def test_a_good_tree_with_changes(changes: list[tuple[tuple[str | int, ...], object]]) -> None:
    tree = yaml.safe_load(GOOD)
    for place, value in changes:
        around = tree
        try:
            for part in place[:-1]:
                around = around[part]
            around[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    look(yaml.dump(tree, allow_unicode=True).encode("utf-8", "surrogateescape"))


@many
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 30), st.text(max_size=5))
def test_a_good_file_with_a_hole(start: int, length: int, new: str) -> None:
    look((GOOD[:start] + new + GOOD[start + length :]).encode("utf-8", "replace"))


def test_every_required_key_is_missed() -> None:
    """Without any one key, the file is refused or the key has a default: never an exception."""
    required = {path for path, setting in known_settings().items() if setting.info.is_required()}
    for place in places(TREE):
        tree = yaml.safe_load(GOOD)
        around = tree
        for part in place[:-1]:
            around = around[part]
        del around[place[-1]]
        path = ".".join("[]" if isinstance(part, int) else part for part in place).replace(".[]", "[]")
        accepted = look(yaml.dump(tree).encode())
        assert not (accepted and path in required), path
