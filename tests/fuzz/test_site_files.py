"""A slice of the million site files: no exception but SiteError, at most 2 s and 256 MB for each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deskside.site.reading import MAX_BYTES, MAX_VALUES, Unreadable, read_document
from fuzz.site_files import case
from fuzz.slices import go_on, in_slice, run


def test_a_case_is_the_same_for_ever() -> None:
    assert [case(number) for number in range(50)] == [case(number) for number in range(50)]
    assert case(1, "another seed") != case(1)
    assert max(len(case(number)) for number in range(400)) <= MAX_BYTES + 1


def test_the_limits_end_what_would_take_long() -> None:
    """The most that passes them is far below what a file of that size could hold."""
    for shape in (b"- a\n", b"a: {}\n", b"- - {}\n", b"? a\n"):
        with pytest.raises(Unreadable, match=f"more than {MAX_VALUES} values"):
            read_document(shape * (MAX_BYTES // len(shape)))


def test_a_violation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the loader lets through is told with the number of its case."""
    monkeypatch.setattr("fuzz.slices.load", lambda path: 1 / 0)
    (violation,) = run([7]).violations
    assert violation == "case 7: ZeroDivisionError: division by zero"
    monkeypatch.undo()
    monkeypatch.setattr("fuzz.slices.MOST_MIB", 1)
    (violation,) = in_slice(range(7, 8))[1].violations
    assert re.fullmatch(r"cases 7 to 7: \d+ MiB of memory", violation)


def test_slices_go_on_where_they_were_left(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    assert [go_on(cases, state, range(60), size=20).cases for cases in (1, 60, 20)] == [20, 60, 60]


@pytest.mark.matrix
def test_a_slice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = go_on(2_000, tmp_path / "state.json", range(1_000_000, 1_002_000))
    with capsys.disabled():
        print(f"\n{tally}")
    assert not tally.violations


@pytest.mark.long
def test_the_next_slices_of_a_million(capsys: pytest.CaptureFixture[str]) -> None:
    tally = go_on(50_000)
    with capsys.disabled():
        print(f"\n{tally}")
    assert not tally.violations
