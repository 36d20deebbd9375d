"""Files, directories, links and managed blocks: what lies on a host's disk.

Each is planned from answers about paths alone (`OnDisk`), so that a unit can ask about the files it depends
on in its own one question. No content of a secret leaves a plan: secrets are compared by digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from hashlib import sha256
from typing import Protocol

from deskside.errors import StepFailed
from deskside.model.action import Action, MakeDirectory, MakeLink, RemovePath, RunCommand, WriteFile
from deskside.model.query import PathFound, ReadPath
from deskside.model.resource import Change, HostReader
from deskside.site.secrets import Secret

READABLE_BY_OTHERS = 0o044


class OnDisk(Protocol):
    """A resource that is planned from what lies at some paths; a `Unit` may depend on it."""

    @property
    def subject(self) -> str:
        """Stable name."""

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """The questions; the modification time of each file or link among them counts for units."""

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """The change, from the answers to `reads` in their order."""

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""


def _to_bytes(content: str | bytes | Secret) -> bytes:
    if isinstance(content, Secret):
        return content.reveal().encode()
    return content if isinstance(content, bytes) else content.encode()


def _as_text(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def text_diff(path: str, old: str, new: str, *, absent: bool = False) -> str:
    """Unified diff of two texts, with `/dev/null` as the old name of a file that is not there."""
    parts: list[str] = []
    for line in unified_diff(_lines(old), _lines(new), "/dev/null" if absent else path, path, n=2):
        parts.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(parts)


def _differing(diff: str) -> str:
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    count = max(sum(line.startswith(sign) for line in lines) for sign in "+-")
    if not count:
        return "content differs"
    return "1 line differs" if count == 1 else f"{count} lines differ"


def _attributes(found: PathFound, mode: int, owner: str, group: str) -> Iterator[str]:
    if found.mode != mode:
        yield f"set mode {mode:04o} (is {found.mode:04o})"
    if (found.owner, found.group) != (owner, group):
        yield f"set owner {owner}:{group} (is {found.owner}:{found.group})"


_IN_THE_WAY = {"directory": "a directory is in the way", "other": "something else is in the way"}


@dataclass(frozen=True)
class File:
    """A file with exactly this content. Text shows a diff; a `Secret`, bytes or a private file shows none."""

    path: str
    content: str | bytes | Secret = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    check: tuple[str, ...] = ()
    """A program that refuses what its service could not read; `{}` stands for the path to be tried."""

    @property
    def subject(self) -> str:
        """`file PATH`."""
        return f"file {self.path}"

    @property
    def _shown(self) -> bool:
        return isinstance(self.content, str) and bool(self.mode & READABLE_BY_OTHERS)

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """The old content is asked for only where it may be shown."""
        return (ReadPath(self.path, content=self._shown, digest=True),)

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """One write, whatever differs."""
        there = found[0]
        wanted = _to_bytes(self.content)
        same = there.kind == "file" and there.sha256 == sha256(wanted).hexdigest()
        attributes = tuple(_attributes(there, self.mode, self.owner, self.group))
        if same and not attributes:
            return None
        diff = "" if same else self._diff(there)
        summary = ", ".join(attributes) if same else self._summary(there, diff)
        return Change(self.subject, summary, tuple(self._writing()), diff=diff)

    def _writing(self) -> Iterator[Action]:
        if self.check:
            # Not beside the file: a folder of drop-ins would be read with it.
            tried = f"/run/deskside/check{self.path.replace('/', '-')}"
            yield WriteFile(tried, self.content, self.mode, self.owner, self.group)
            yield RunCommand(tuple(word.replace("{}", tried) for word in self.check), timeout=60.0)
            yield RemovePath(tried)
        yield WriteFile(self.path, self.content, self.mode, self.owner, self.group)

    def _diff(self, found: PathFound) -> str:
        if not isinstance(self.content, str) or not self._shown:
            return ""
        if found.kind == "absent":
            return text_diff(self.path, "", self.content, absent=True)
        old = _as_text(found.content or b"")
        if found.kind != "file" or old is None or found.content is None:
            return ""
        # What only root may read now may be a secret, whatever it is to become.
        return text_diff(self.path, old, self.content) if found.mode & READABLE_BY_OTHERS else ""

    def _summary(self, found: PathFound, diff: str) -> str:
        if found.kind == "absent":
            return "write (new)"
        if found.kind == "link":
            return f"write (replaces a link to {found.target})"
        if found.kind in _IN_THE_WAY:
            return f"write ({_IN_THE_WAY[found.kind]})"
        return f"write ({_differing(diff)})"

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


@dataclass(frozen=True)
class Directory:
    """A directory with mode and owner; what is in it is not looked at."""

    path: str
    mode: int | None = 0o755
    """None: it is made, and whoever uses it decides on mode and owner."""
    owner: str = "root"
    group: str = "root"

    @property
    def subject(self) -> str:
        """`directory PATH`."""
        return f"directory {self.path}"

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """The path."""
        return (ReadPath(self.path),)

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """Make it, or set its attributes."""
        there = found[0]
        if there.kind == "directory":
            if self.mode is None:
                return None
            summary = ", ".join(_attributes(there, self.mode, self.owner, self.group))
            if not summary:
                return None
        else:
            summary = "make" if there.kind == "absent" else f"make (a {there.kind} is in the way)"
        make = MakeDirectory(self.path, 0o755 if self.mode is None else self.mode, self.owner, self.group)
        return Change(self.subject, summary, (make,))

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str

    @property
    def subject(self) -> str:
        """`link PATH`."""
        return f"link {self.path}"

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """The path."""
        return (ReadPath(self.path),)

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """Make it, or point it elsewhere."""
        there = found[0]
        if there.kind == "link" and there.target == self.target:
            return None
        was = {"absent": "", "link": f" (is {there.target})"}.get(there.kind, f" (replaces a {there.kind})")
        return Change(self.subject, f"link to {self.target}{was}", (MakeLink(self.path, self.target),))

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


@dataclass(frozen=True)
class Absent:
    """Nothing at this path. Removes a file, a link or an empty directory, never a tree."""

    path: str

    @property
    def subject(self) -> str:
        """`absent PATH`."""
        return f"absent {self.path}"

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """The path."""
        return (ReadPath(self.path),)

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """Remove what is there."""
        if found[0].kind == "absent":
            return None
        return Change(self.subject, f"remove the {found[0].kind}", (RemovePath(self.path),))

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


@dataclass(frozen=True)
class Block:
    """A block of lines between two marker lines in a text file that others own; the rest is untouched.

    An empty text removes the block. Mode and owner of the file stay; a file that is not there becomes 0644.
    """

    path: str
    name: str
    text: str
    first: bool = False
    """At the top of the file, for files whose first match counts; else where it is, or at the end."""
    instead: str = ""
    """Lines of others that match this as a whole (a regular expression) contradict the block, and go."""

    @property
    def subject(self) -> str:
        """`block NAME in PATH`."""
        return f"block {self.name} in {self.path}"

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """The whole file: what surrounds the block has to be written back."""
        return (ReadPath(self.path, content=True),)

    @property
    def _markers(self) -> tuple[str, str]:
        return f"# BEGIN deskside {self.name}", f"# END deskside {self.name}"

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """Raises StepFailed for a file that is too large to be edited."""
        there = found[0]
        if there.kind == "file" and there.content is None:
            raise StepFailed(f"planning {self.subject}: the file is larger than 1 MiB and is not edited")
        raw = there.content or b""
        # surrogateescape brings back the bytes of others exactly, whatever their encoding is.
        old = raw.decode("utf-8", "surrogateescape")
        new = self.within(old)
        if new == old:
            return None
        content = new.encode("utf-8", "surrogateescape")
        write = WriteFile(self.path, content)
        if there.kind == "file":
            write = WriteFile(self.path, content, there.mode, there.owner, there.group)
        absent = there.kind == "absent"
        diff = text_diff(self.path, *map(_printable, (old, new)), absent=absent)
        summary = "write (new)" if absent else f"write ({_differing(diff)})"
        return Change(self.subject, summary, (write,), diff=diff if self._may_show(there) else "")

    @staticmethod
    def _may_show(found: PathFound) -> bool:
        return found.kind != "file" or bool(found.mode & READABLE_BY_OTHERS)

    def within(self, old: str) -> str:
        """The file's text with the block in its place, or at the end (`first`: the top) if it has none."""
        begin, end = self._markers
        lines = _lines(old)
        names = [line.rstrip("\r\n") for line in lines]
        start = names.index(begin) if begin in names else len(lines)
        stop = names.index(end, start) + 1 if end in names[start:] else min(start + 1, len(lines))
        body = self.text if self.text.endswith("\n") else f"{self.text}\n"
        block = [f"{begin}\n", body, f"{end}\n"] if self.text else []
        before, after = self._without(lines[:start]), self._without(lines[stop:])
        if self.first:
            return "".join([*block, *before, *after])
        if block and before and not before[-1].endswith("\n"):
            before[-1] += "\n"
        return "".join([*before, *block, *after])

    def _without(self, lines: Sequence[str]) -> list[str]:
        """Lines of others, without those that contradict the block."""
        return [line for line in lines if not (self.instead and re.fullmatch(self.instead, line.strip()))]

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
