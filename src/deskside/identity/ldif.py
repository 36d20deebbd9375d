"""LDIF (RFC 2849), as much of it as ldap-utils print and read: entries in, entries and changes out."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_PLAIN = re.compile(r"[!-9;=-~][ -~]*(?<! )")
"""A value that may stand as it is; everything else travels in base64."""


@dataclass(frozen=True)
class Entry:
    """One entry; names of attributes in lower case."""

    dn: str
    attributes: Mapping[str, tuple[str, ...]]

    def all(self, name: str) -> tuple[str, ...]:
        """Values of an attribute; empty without it."""
        return self.attributes.get(name.lower(), ())

    def first(self, name: str) -> str:
        """The first value, or nothing."""
        return next(iter(self.all(name)), "")

    @property
    def classes(self) -> frozenset[str]:
        """Object classes in lower case."""
        return frozenset(value.lower() for value in self.all("objectClass"))


def parsed(text: str) -> tuple[Entry, ...]:
    """The entries that `ldapsearch -LLL` printed."""
    unfolded = re.sub(r"\r?\n ", "", text)
    return tuple(_entries(re.split(r"\n\s*\n", unfolded)))


def _entries(blocks: Sequence[str]) -> Iterator[Entry]:
    for block in blocks:
        found: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, colon, value = line.partition(":")
            if not colon or name.startswith("#"):
                continue
            if value.startswith(":"):
                value = base64.b64decode(value[1:].strip()).decode("utf-8", "replace")
            # Options, as in `cn;lang-de`, are not asked for; they count as the attribute itself.
            found.setdefault(name.partition(";")[0].lower(), []).append(value.strip())
        if dn := found.pop("dn", []):
            yield Entry(dn[0], {name: tuple(values) for name, values in found.items()})


def line(name: str, value: str) -> str:
    """One attribute and value."""
    if _PLAIN.fullmatch(value):
        return f"{name}: {value}\n"
    return f"{name}:: {base64.b64encode(value.encode()).decode()}\n"


def added(dn: str, attributes: Sequence[tuple[str, str]]) -> str:
    """A change that adds an entry."""
    return line("dn", dn) + "changetype: add\n" + "".join(line(name, value) for name, value in attributes)


def deleted(dn: str) -> str:
    """A change that deletes an entry."""
    return line("dn", dn) + "changetype: delete\n"


def modified(dn: str, verb: str, values: Sequence[tuple[str, str]]) -> str:
    """A change that adds values to an entry, or deletes them (`verb`)."""
    parts = "".join(f"{verb}: {name}\n{line(name, value)}-\n" for name, value in values)
    return line("dn", dn) + "changetype: modify\n" + parts


def same_dn(one: str, other: str) -> bool:
    """Whether two names are the same but for case and spaces after commas."""
    return normal_dn(one) == normal_dn(other)


def normal_dn(dn: str) -> str:
    """A name to compare by."""
    return re.sub(r"\s*([,=])\s*", r"\1", dn.strip()).lower()
