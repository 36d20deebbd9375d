"""Layers of image archives: those that a host has already are not sent to it again.

An archive's larger files are known by their digests, which are those of containerd's content store too. The
host says which it has, there or in an archive that lies staged; the rest travels, and the host puts both
together and verifies the whole.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deskside.model.artifact import Kind, Locked

LEAST = 1 << 16
"""Bytes from which a file of an archive is worth asking for."""
BLOCK = 1 << 18
KEPT = 64
"""Blocks that were read last and are kept: how far one host may be ahead and still share a reading."""


@dataclass(frozen=True)
class Part:
    """A file within an archive."""

    offset: int
    size: int
    sha256: str


def parts_of(path: Path) -> tuple[Part, ...]:
    """The larger files of an archive, in their order; none of one that is compressed as a whole."""
    import tarfile  # a plan sends nothing, and is quicker without it

    found = []
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as file:
            for member in archive:
                if member.isfile() and member.size >= LEAST:
                    digest = _digest(file, member.offset_data, member.size)
                    found.append(Part(member.offset_data, member.size, digest))
    except tarfile.TarError:
        return ()
    return tuple(found)


def _digest(file: BinaryIO, offset: int, size: int) -> str:
    digest, left = hashlib.sha256(), size
    file.seek(offset)
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def _block(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(BLOCK)


class Layers:
    """Archives for all hosts of a run: each is read once to know its parts, and shared while sent."""

    def __init__(self) -> None:
        self._known: dict[str, asyncio.Future[tuple[Part, ...]]] = {}
        self._blocks: dict[tuple[Path, int, int], asyncio.Future[bytes]] = {}

    async def of(self, artifact: Locked, path: Path) -> tuple[Part, ...]:
        """The parts of an artifact that lies at `path`; none of what is no image."""
        if artifact.artifact.kind is not Kind.IMAGE:
            return ()
        if artifact.sha256 not in self._known:
            self._known[artifact.sha256] = asyncio.ensure_future(asyncio.to_thread(parts_of, path))
        return await asyncio.shield(self._known[artifact.sha256])

    async def blocks(self, path: Path, begin: int, end: int) -> AsyncIterator[bytes]:
        """A stretch of a file, piece by piece; hosts that go along share each reading. Raises OSError."""
        # One that has changed meanwhile is another file.
        changed = (await asyncio.to_thread(path.stat)).st_mtime_ns
        while begin < end:
            inner = begin % BLOCK
            piece = (await self._read(path, changed, begin - inner))[inner : inner + end - begin]
            if not piece:
                return
            yield piece
            begin += len(piece)

    async def _read(self, path: Path, changed: int, offset: int) -> bytes:
        key = path, changed, offset
        if key not in self._blocks:
            self._blocks[key] = asyncio.ensure_future(asyncio.to_thread(_block, path, offset))
            while len(self._blocks) > KEPT:
                del self._blocks[next(iter(self._blocks))]
        try:
            return await asyncio.shield(self._blocks[key])
        except OSError:
            self._blocks.pop(key, None)
            raise


class Staged:
    """Which parts lie in the staging folder of one host, within archives that were sent to it."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int]] = {}

    def add(self, archive: str, parts: Sequence[Part]) -> None:
        """An archive of that digest was received."""
        for part in parts:
            self._places.setdefault(part.sha256, (archive, part.offset))

    def wire(self, parts: Sequence[Part]) -> list[list[object]]:
        """The question which of these the host has: offset, size, digest, and where it may be staged."""
        return [
            [part.offset, part.size, part.sha256, *self._places.get(part.sha256, ("", 0))] for part in parts
        ]


def gaps(size: int, held: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """(begin, end) of what has to be sent of so many bytes, where `held` are offsets and sizes."""
    position = 0
    for offset, length in sorted(held.items()):
        if offset > position:
            yield position, offset
        position = offset + length
    if size > position:
        yield position, size
