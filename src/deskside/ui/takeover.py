"""What was found on machines before they are taken over, as a table per machine."""

from __future__ import annotations

from collections.abc import Sequence

from deskside.model.takeover import Fate, Thing
from deskside.ui.style import Style, style_of
from deskside.ui.words import clean

ORDER = (Fate.MUST_GO, Fate.CHANGED, Fate.KEPT)
"""What needs a person first."""


def things_text(host: str, address: str, things: Sequence[Thing], *, style: Style | None = None) -> str:
    """One machine: what must go, what is changed, what is kept; ends with a newline."""
    style = style_of() if style is None else style
    shown = {Fate.MUST_GO: style.bad, Fate.CHANGED: style.warn, Fate.KEPT: style.good}
    lines = [f"{host} at {address}"]
    for thing in sorted(things, key=lambda one: ORDER.index(one.fate)):
        mark = shown[thing.fate](f"{thing.fate.value:<7}")
        lines.append(f"  {mark}  {thing.what:<10}  {clean(thing.message)}")
        if thing.hint:
            lines.append(f"  {'':7}  {'':10}  hint: {clean(thing.hint)}")
    if not things:
        lines.append("  nothing that anybody would miss")
    return "\n".join(lines) + "\n"
