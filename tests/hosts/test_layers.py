"""Layers that a host has are not sent again: over a real SSH server, to the remote program itself."""

from __future__ import annotations

import asyncio
import io
import random
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskside.hosts.layers import BLOCK, LEAST, Layers, Part, gaps, parts_of
from deskside.hosts.remote.artifacts import BLOBS, STAGING
from deskside.hosts.session import Session
from deskside.model.artifact import Artifact, Kind, Locked
from hosts.loopback import Loopback, serving, session_on

BASE = random.Random(1).randbytes(3 * LEAST)


def archive(folder: Path, name: str, *layers: bytes) -> Locked:
    """An image's archive with these layers, in a file of that name."""
    with tarfile.open(folder / name, "w") as tar:
        for number, layer in enumerate([*layers, b"{}"]):
            member = tarfile.TarInfo(f"{number}.tar")
            member.size = len(layer)
            tar.addfile(member, io.BytesIO(layer))
    content = (folder / name).read_bytes()
    return Locked(Artifact(name, "1", Kind.IMAGE), sha256(content).hexdigest(), len(content), "recipe", name)


@pytest.fixture
async def loopback(tmp_path: Path) -> AsyncIterator[Loopback]:
    async with serving(tmp_path) as found:
        yield found


@asynccontextmanager
async def sending(
    loopback: Loopback, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Session, list[int]]]:
    """A session, and how many bytes travelled for each artifact."""
    sent: list[int] = []
    blocks = Session._blocks

    async def counted(
        session: Session, path: Path, name: str, size: int, held: Mapping[int, int]
    ) -> AsyncIterator[bytes]:
        sent.append(0)
        async for block in blocks(session, path, name, size, held):
            sent[-1] += len(block)
            yield block

    async def fetch(artifact: Locked) -> Path:
        return folder / artifact.name

    monkeypatch.setattr(Session, "_blocks", counted)
    async with await session_on(loopback, fetch=fetch) as session:
        yield session, sent


async def test_what_lies_in_another_archive_is_not_sent_again(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = archive(tmp_path, "first", BASE, b"a" * LEAST)
    second = archive(tmp_path, "second", b"b" * LEAST, BASE, b"c" * 10)
    async with sending(loopback, tmp_path, monkeypatch) as (session, sent):
        await session.send(first)
        await session.send(second)
    assert sent == [first.size, second.size - len(BASE)]
    for one in (first, second):
        there = (loopback.root / f"{STAGING[1:]}/{one.sha256}").read_bytes()
        assert there == (tmp_path / one.name).read_bytes()


@pytest.mark.parametrize("there", [BASE, BASE[:-1] + b"?", BASE[:-1]], ids=["right", "spoilt", "short"])
async def test_what_the_runtime_holds_is_not_sent_and_is_verified(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes
) -> None:
    blob = loopback.root / BLOBS[1:] / sha256(BASE).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(there)
    image = archive(tmp_path, "image", BASE, b"a" * LEAST)
    async with sending(loopback, tmp_path, monkeypatch) as (session, sent):
        await session.send(image)
    less = image.size - len(BASE)
    assert sent == {BASE: [less], BASE[:-1]: [image.size]}.get(there, [less, image.size])
    found = (loopback.root / f"{STAGING[1:]}/{image.sha256}").read_bytes()
    assert sha256(found).hexdigest() == image.sha256


async def test_an_archive_is_read_for_its_parts_once_and_what_is_no_image_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, layers, read = archive(tmp_path, "image", BASE), Layers(), []

    def noted(path: Path) -> tuple[Part, ...]:
        read.append(path)
        return parts_of(path)

    monkeypatch.setattr("deskside.hosts.layers.parts_of", noted)
    for _ in range(3):
        (part,) = await layers.of(image, tmp_path / "image")
        assert (part.size, part.sha256) == (len(BASE), sha256(BASE).hexdigest())
    assert len(read) == 1
    binary = Locked(Artifact("tool", "1", Kind.BINARY), image.sha256, image.size, "recipe", "tool")
    assert await Layers().of(binary, tmp_path / "image") == ()
    (tmp_path / "packed").write_bytes(b"\x1f\x8b no tar")
    assert parts_of(tmp_path / "packed") == ()


async def test_three_hosts_that_are_sent_an_archive_at_once_share_its_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each from its own place on, as what it has is not sent."""
    content = random.Random(2).randbytes(40 * BLOCK + 17)
    (tmp_path / "image").write_bytes(content)
    layers, read = Layers(), []

    def noted(path: Path, offset: int) -> bytes:
        read.append(offset)
        return path.read_bytes()[offset : offset + BLOCK]

    async def taken(begin: int, end: int) -> bytes:
        return b"".join([block async for block in layers.blocks(tmp_path / "image", begin, end)])

    monkeypatch.setattr("deskside.hosts.layers._block", noted)
    stretches = [(0, len(content)), (BLOCK + 5, len(content)), (3, 20 * BLOCK)]
    found = await asyncio.gather(*(taken(begin, end) for begin, end in stretches))
    assert found == [content[begin:end] for begin, end in stretches]
    assert sorted(read) == [number * BLOCK for number in range(41)]


async def test_a_file_that_goes_away_is_an_error_and_one_that_comes_back_is_read(tmp_path: Path) -> None:
    layers, path = Layers(), tmp_path / "image"
    with pytest.raises(FileNotFoundError):
        await anext(layers.blocks(path, 0, 5))
    path.write_bytes(b"there")
    assert await anext(layers.blocks(path, 0, 5)) == b"there"


@given(st.integers(0, 500), st.dictionaries(st.integers(0, 50).map(lambda n: n * 10), st.integers(1, 10)))
def test_gaps_and_parts_make_up_the_whole(size: int, held: dict[int, int]) -> None:
    held = {offset: length for offset, length in held.items() if offset + length <= size}
    covered = [byte for begin, end in gaps(size, held) for byte in range(begin, end)]
    covered += [byte for offset, length in held.items() for byte in range(offset, offset + length)]
    assert sorted(covered) == list(range(size))
