"""The bounds' checker finds what is past a bound, so that its silence means something."""

from pathlib import Path

import bounds

HERE = Path("x.py")


def test_a_long_function_and_a_long_file_are_found() -> None:
    text = "def f() -> None:\n" + "    pass\n" * bounds.FILE_LINES
    assert [place.split(": ")[0] for place in bounds.long_places(HERE, text)] == ["x.py", "x.py:1 f"]


def test_any_in_a_signature_is_found_and_elsewhere_is_not() -> None:
    assert list(bounds.untyped_places(HERE, "def f(x: list[Any]) -> None: ...\n"))
    assert not list(bounds.untyped_places(HERE, "y: Any = 1\ndef f(x: int) -> None: ...\n"))


def test_an_eleventh_dependency_is_found() -> None:
    eleven = "[project]\ndependencies = [" + ",".join(f'"p{n}"' for n in range(11)) + "]\n"
    assert list(bounds.too_many_dependencies(eleven))
