"""The lock says for each artifact which version, digest and source, and refuses what is not a lock."""

from pathlib import Path

import pytest

from deskside.errors import SiteError, StepFailed
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.store.lock import read_lock, write_lock
from deskside.store.store import Store

WANTED = Artifact("runc", "1.5.2", Kind.BINARY)
DIGEST = "ab" * 32


def locked(artifact: Artifact = WANTED, digest: str = DIGEST) -> Locked:
    return Locked(artifact, digest, 7, "memory", "here", ("a/b:1",), "bin/runc")


class MemorySource:
    """Serves one file, and counts what is asked of it."""

    name = "memory"

    def __init__(self, path: Path, digest: str = DIGEST) -> None:
        self.path, self.digest = path, digest
        self.locks: list[str] = []
        self.fetches = 0

    async def lock(self, artifacts, report):  # type: ignore[no-untyped-def]
        self.locks += [item.name for item in artifacts]
        return tuple(locked(item, self.digest) for item in artifacts)

    async def fetch(self, locked: Locked) -> Path:
        self.fetches += 1
        return self.path


def quiet(name: str, line: str) -> None:
    del name, line


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_lock(tmp_path / "deskside.lock", "2026-11", {"runc": locked()})
    assert read_lock(tmp_path / "deskside.lock") == {"runc": locked()}
    assert [path.name for path in tmp_path.iterdir()] == ["deskside.lock"]


def test_no_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "deskside.lock") == {}


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "\x00",
        "a list",
        "train: x\nartifacts: {runc: {kind: binary, version: '1', sha256: short}}",
        "- 1",
    ],
)
def test_what_is_no_lock_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deskside.lock"
    path.write_text(text)
    with pytest.raises(SiteError, match=r"deskside\.lock"):
        read_lock(path)


async def test_a_locked_artifact_is_not_asked_for_again(tmp_path: Path) -> None:
    source = MemorySource(tmp_path / "file")
    store = Store(tmp_path / "deskside.lock", {"memory": source}, "memory")
    first = await store.resolve("t", [WANTED], quiet, write=True)
    second = await store.resolve("t", [WANTED], quiet, write=True)
    assert first == second
    assert source.locks == ["runc"]


async def test_another_version_is_locked_anew_and_what_is_unwanted_is_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path / "deskside.lock", {"memory": MemorySource(tmp_path)}, "memory")
    await store.resolve("t", [WANTED, Artifact("old", "1", Kind.BINARY)], quiet, write=True)
    newer = Artifact("runc", "1.6.0", Kind.BINARY)
    await store.resolve("t", [newer], quiet, write=True)
    assert {name: item.artifact for name, item in read_lock(tmp_path / "deskside.lock").items()} == {
        "runc": newer
    }


async def test_planning_writes_no_lock(tmp_path: Path) -> None:
    store = Store(tmp_path / "deskside.lock", {"memory": MemorySource(tmp_path)}, "memory")
    await store.resolve("t", [WANTED], quiet, write=False)
    assert not (tmp_path / "deskside.lock").exists()


async def test_a_file_that_is_not_what_the_lock_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else")
    store = Store(tmp_path / "deskside.lock", {"memory": MemorySource(tmp_path / "file")}, "memory")
    with pytest.raises(StepFailed, match="but the lock says abababababab"):
        await store.file(locked())


async def test_a_source_that_is_not_here_is_named(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="'memory'"):
        await Store(tmp_path / "deskside.lock", {}, "upstream").file(locked())
