"""No value of a site file reaches a shell, or a line of a settings file, as anything but that value.

Every text of every kind of site is replaced by hostile ones. What the loader accepts is planned on bare
hosts, and every question and action is looked at as it would travel.
"""

from __future__ import annotations

import re
import shlex
from copy import deepcopy

import pytest

from .hearing import IDENTITIES, SECRET, Heard, accepted, heard_of, put, texts, tree_of

MARK = "zq7"
LINE = f"{MARK}=injected"
HOSTILE = (
    "{old}" + MARK + "'$(id)`id`",
    "{old}" + MARK + '"; id #',
    "{old}" + MARK + "\n" + LINE,
    "{old}" + MARK + "\r" + LINE,
    "{old} " + MARK,
    "{old}" + MARK + "%n%h",
    "{old}" + MARK + "\\",
    "$(" + MARK + ")",
    "-" + MARK,
    "/" + MARK + "/$(id);'",
    "{old}" + MARK,
)


def check(heard: Heard, values: list[str]) -> None:
    """Nothing hostile stands in a script but quoted, and no line of a file is one that a value brought."""
    for script in heard.scripts():
        bare = script
        for value in values:
            bare = bare.replace(shlex.quote(value), "''")
        assert MARK not in bare, script
    for text in heard.files:
        lines = re.split(r"[\r\n]", text)
        assert not [line for line in lines if line.strip().startswith(LINE)], text


@pytest.mark.parametrize("kind", IDENTITIES)
@pytest.mark.parametrize("form", range(len(HOSTILE)))
async def test_hostile_values(kind: str, form: int) -> None:
    """All values that are accepted by themselves, at once, as far as they go together."""
    tree, taken = tree_of(kind), []
    assert accepted(tree) is not None
    for place, old in texts(tree):
        value = HOSTILE[form].replace("{old}", old)
        trial = deepcopy(tree)
        put(trial, place, value)
        if accepted(trial) is not None:
            tree = trial
            taken.append(value)
    found = accepted(tree)
    assert found is not None
    heard = await heard_of(found)
    assert len(heard.argvs) > 20
    assert len(heard.files) > 20
    check(heard, [*taken, SECRET])


def test_what_gets_through_would_be_seen() -> None:
    for argv in (["sh", "-ec", f"ls {MARK}"], ["python3", "-I", "-c", f"x = '{MARK}'"]):
        with pytest.raises(AssertionError):
            check(Heard([argv]), [MARK + "'"])
    with pytest.raises(AssertionError):
        check(Heard(files=[f"[Unit]\n{LINE}\n"]), [])
    quoted = f"ls {shlex.quote(MARK + ' x')}"
    check(Heard([["sh", "-c", quoted]]), [MARK + " x"])
