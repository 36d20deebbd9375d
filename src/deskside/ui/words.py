"""Small pieces of text: durations, counts, and machine output made safe for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `1 h 20 min`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`: for columns that tick."""
    whole = max(int(seconds), 0)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 change`, `3 changes`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(items: Sequence[str], most: int = 6) -> str:
    """`a, b, c and 4 more`."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with a head, each column as wide as its widest cell."""
    cells = [head, *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = (zip(row, widths, strict=True) for row in cells)
    return ["  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines]


def clean(text: str) -> str:
    """One line without control characters: what a machine said must not steer the terminal that shows it."""
    return "".join(_shown(char) for char in text.replace("\t", " ").rstrip("\r\n"))


def clean_lines(text: str) -> list[str]:
    """The lines of a text, each clean."""
    return [clean(line) for line in text.split("\n")]


def _shown(char: str) -> str:
    if char == "\n":
        return " "
    # Cc: escapes; Cf: direction overrides; Cs: halves of characters that no terminal can encode.
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char
