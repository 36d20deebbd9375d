"""From the bytes of a site file to plain values with a line for each, before anything is validated.

A file can be hostile or merely broken: size, encoding, aliases, tags, depth and the number of values are
refused from the stream of events, as the tree grows, and no object is ever constructed from a tag. Scalars
stay the text that was written, so that `version: 1.10` and `mac: 10:20:30:40:50:60` mean what they look like;
only below a key `values`, which is a chart's, they become numbers and booleans.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import JsonValue

from deskside.site.faults import Fault, Place

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_VALUES = 5_000
"""Keys, values, lists and sections: 64 KiB could hold 32,000, and somebody would wait for them."""
# Line breaks to YAML, but not to an editor: lines would be counted wrong.
ODD_BREAKS = frozenset("\x85\u2028\u2029")
FREE_KEY = "values"


class Unreadable(Exception):
    """The file as a whole cannot be used, for the one reason given. Never leaves this package."""

    def __init__(self, message: str, remedy: str, line: int = 0) -> None:
        super().__init__(message)
        self.message, self.remedy, self.line = message, remedy, line


@dataclass(frozen=True)
class Document:
    """A file as plain values, with the line of every place in it."""

    data: Mapping[str, JsonValue]
    lines: Mapping[Place, int]
    faults: tuple[Fault, ...] = ()

    def line(self, place: Place) -> int:
        """1-based line of a place, or of the nearest place around it that is in the file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_bytes(path: Path) -> bytes:
    """The content of an ordinary file of at most 64 KiB. Raises Unreadable."""
    try:
        # Not blocking, so that a pipe cannot hang the command.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unreadable(
            "there is no such file", "name the site file with -f FILE or DESKSIDE_SITE"
        ) from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}", "correct its owner or its mode") from None
    except ValueError:
        raise Unreadable("is no name of a file", "name the site file with -f FILE or DESKSIDE_SITE") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable("is no ordinary file", "name the site file with -f FILE or DESKSIDE_SITE")
    with os.fdopen(handle, "rb") as file:
        try:
            raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}", "try again, or copy it") from None
    if len(raw) > MAX_BYTES:
        raise Unreadable("is larger than 64 KiB", "a site file has a few kilobytes; name the right file")
    return raw


def read_document(raw: bytes) -> Document:
    """Plain values and their lines. Raises Unreadable with the one thing that makes the file unusable."""
    text = _decoded(raw)
    try:
        node = yaml.compose(text, Loader=_Guarded)
    except yaml.YAMLError as error:
        raise _broken(error, text) from None
    except (ValueError, OverflowError):
        raise Unreadable("has an escape or a number that means nothing", "write plain text") from None
    if node is None:
        raise Unreadable("is empty", "begin with: site: lab.example")
    if not isinstance(node, yaml.MappingNode):
        raise Unreadable("is no mapping", "begin with keys, as: site: lab.example", _line(node))
    reader = _Reader()
    data = reader.mapping(node, ())
    return Document(data, reader.lines, tuple(reader.faults))


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable("is not UTF-8 text", "save it as UTF-8", line) from None
    if "\0" in text:
        raise Unreadable(
            "holds NUL bytes", "it is no text; name the right file", text.count("\n", 0, text.index("\0")) + 1
        )
    odd = next((index for index, one in enumerate(text) if one in ODD_BREAKS), None)
    if odd is not None:
        line = text.count("\n", 0, odd) + 1
        raise Unreadable(
            "holds a line break of another kind", "remove the character that cannot be seen", line
        )
    return text


class _Guarded(yaml.SafeLoader):
    """A loader that looks at every event before a tree is made of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.documents = self.values = 0

    def get_event(self) -> yaml.Event:
        event: yaml.Event = super().get_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1 if event.start_mark else 0
        self.documents += isinstance(event, yaml.DocumentStartEvent)
        self.values += isinstance(event, yaml.NodeEvent)
        self.depth += isinstance(event, yaml.CollectionStartEvent)
        self.depth -= isinstance(event, yaml.CollectionEndEvent)
        if self.documents > 1:
            raise Unreadable("holds more than one document", "remove the second '---' and what follows", line)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable("uses an anchor or an alias (& or *)", "write the value out, or quote it", line)
        if getattr(event, "tag", None):
            raise Unreadable("uses a tag (!)", "remove the tag, or quote the value", line)
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"is nested deeper than {MAX_DEPTH} levels", "correct the indentation", line)
        if self.values > MAX_VALUES:
            raise Unreadable(f"holds more than {MAX_VALUES} values", "name the right file", line)
        return event


def _broken(error: yaml.YAMLError, text: str) -> Unreadable:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Unreadable("holds a control character", "remove the character that cannot be seen", line)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = " ".join(part for part in (getattr(error, "context", ""), getattr(error, "problem", "")) if part)
    line = mark.line + 1 if mark else 0
    if "'\\t'" in said:
        return Unreadable("has a tab where spaces must be", "indent with spaces", line)
    return Unreadable(
        f"is no YAML: {said or 'cannot be parsed'}", "look at indentation, quotes and colons", line
    )


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


@dataclass
class _Reader:
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, JsonValue]:
        self.lines.setdefault(place, _line(node))
        found: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(
                    Fault(place, "has a key that is no text", "write KEY: VALUE", line=_line(key_node))
                )
                continue
            key = str(key_node.value)
            here = (*place, key)
            if key in found:
                first = self.lines[here]
                self.faults.append(
                    Fault(here, f"stands here twice, first in line {first}", "keep one", line=_line(key_node))
                )
                continue
            self.lines[here] = _line(key_node)
            found[key] = self.value(value_node, here)
        return found

    def value(self, node: yaml.Node, place: Place) -> JsonValue:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            self.lines.setdefault(place, _line(node))
            items: list[JsonValue] = []
            for index, item in enumerate(node.value):
                self.lines[(*place, index)] = _line(item)
                items.append(self.value(item, (*place, index)))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self.scalar(node, place)

    def scalar(self, node: yaml.ScalarNode, place: Place) -> JsonValue:
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if FREE_KEY not in place[:-1] or kind not in ("bool", "int", "float"):
            return str(node.value)
        constructor = yaml.constructor.SafeConstructor()
        make = {"bool": constructor.construct_yaml_bool, "int": constructor.construct_yaml_int}
        try:
            value: bool | int | float = make.get(kind, constructor.construct_yaml_float)(node)
        except (ValueError, OverflowError):
            value = float("nan")
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.append(
                Fault(place, "is a number that JSON does not have", "write another, or quote it")
            )
            return None
        return value
