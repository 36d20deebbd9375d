"""A fault: one thing wrong at one place of a site file, before it has a file name and a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Place = tuple[str | int, ...]
"""Where in a file: keys and indices from the top, as `("hosts", 1, "address")`."""

LONGEST = 300


@dataclass(frozen=True)
class Fault:
    """What is wrong at a place, and what to write instead."""

    place: Place
    message: str
    remedy: str = ""
    warning: bool = False
    line: int = 0
    """1-based, when it is not the line of the place; else 0."""


def field_path(place: Place) -> str:
    """A place as people write it: `hosts[1].address`. Keys that a terminal could not show are quoted."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.isprintable() and part and not set(part) & set(".[] ") else ascii(part)
            text += f"{'.' if text else ''}{shorten(shown, 60)}"
    return text


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, cut in the middle when it is longer than that many characters."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]}...{text[-longest // 4 :]}"


def at(data: object, place: Place) -> object:
    """What stands at a place of plain values; None when nothing does."""
    for part in place:
        if isinstance(part, str) and isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(part, int) and isinstance(data, Sequence) and not isinstance(data, str):
            data = data[part] if part < len(data) else None
        else:
            return None
    return data
