"""F37 on real file systems that are full: a host that is a folder, with small file systems mounted in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from deskside.engine.journal import JOURNAL, Journal
from deskside.errors import StepFailed
from deskside.hosts.session import Session
from deskside.model.action import RunCommand, WriteFile
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.event import NodeChanged, NodeStatus
from hosts.loopback import Loopback, serving, session_on
from rack.platforms import needs_root

pytestmark = [pytest.mark.rack, needs_root]


@contextmanager
def small(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory at that place while the block lasts."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
async def loopback(tmp_path: Path) -> AsyncIterator[Loopback]:
    async with serving(tmp_path) as found:
        yield found


@pytest.fixture
async def session(loopback: Loopback, sent: Locked, tmp_path: Path) -> AsyncIterator[Session]:
    async def fetch(_: Locked) -> Path:
        return tmp_path / "image"

    async with await session_on(loopback, fetch=fetch) as found:
        yield found


@pytest.fixture
def sent(tmp_path: Path) -> Locked:
    content = os.urandom(1 << 20)
    (tmp_path / "image").write_bytes(content)
    artifact = Artifact("desk", "1", Kind.IMAGE)
    return Locked(artifact, sha256(content).hexdigest(), len(content), "recipe", "desk")


@pytest.mark.parametrize(
    ("where", "options", "said"),
    [
        (
            "staging",
            "size=200m",
            r"the disk of /var/lib/deskside/staging has 200 MiB free, 257 MiB are needed",
        ),
        ("staging", "size=2g,nr_inodes=50", r"staging has 4\d inodes free, 1001 are needed"),
        (
            "containerd",
            "size=200m",
            r"the disk of /var/lib/deskside/containerd has 200 MiB free, 258 MiB are",
        ),
        ("containerd", "size=2g,nr_inodes=1100", r"containerd has 10\d\d inodes free, 1128 are needed"),
        ("", "size=258m", r"the disk of /var/lib/deskside/staging has 258 MiB free, 259 MiB are needed"),
        ("", "size=2g,nr_inodes=1100", r"staging has 10\d\d inodes free, 1129 are needed"),
    ],
)
async def test_f37_bytes_and_inodes_are_counted_before_an_image_is_sent(
    loopback: Loopback, session: Session, sent: Locked, where: str, options: str, said: str
) -> None:
    base = loopback.root / "var/lib/deskside"
    with small(base / where, options):
        writes = session.writes
        with pytest.raises(StepFailed, match=rf"desk could not be sent to ws1: .*{said}") as refused:
            await session.send(sent)
        assert session.writes == writes, "bytes were sent"
        assert refused.value.hint.endswith("ssh ws1 'df -h; df -i'")
    await session.send(sent)
    assert (base / "staging" / sent.sha256).stat().st_size == sent.size


async def test_f37_a_disk_that_fills_in_mid_step_ends_in_one_sentence(
    loopback: Loopback, session: Session
) -> None:
    with small(loopback.root / "data", "size=2m") as data:
        fill = RunCommand(("sh", "-c", f"echo begun >&2; head -c 9m /dev/zero > {data}/fill"))
        with pytest.raises(StepFailed) as failed:
            await session.perform([fill], title="Copy", deadline=20)
        assert failed.value.message.startswith("Copy on ws1: sh -c echo begun")
        assert failed.value.message.endswith(f" failed, the disk is full: {data} (0 KiB free)")
        assert "\n" not in failed.value.message
        with pytest.raises(StepFailed, match="write file /data/x failed, the disk is full: ") as failed:
            await session.perform([WriteFile("/data/x", b"x" * 9999)], title="Write", deadline=20)
        assert "df -i" in failed.value.hint
        assert sorted(path.name for path in data.iterdir()) == ["fill"], "half a file was left"


async def test_f37_a_run_tells_how_it_ended_where_there_is_no_room_to_tell(
    loopback: Loopback, session: Session
) -> None:
    with small(loopback.root / "run", "size=2m") as place:
        fill = RunCommand(("sh", "-c", f"head -c 9m /dev/zero > {place}/fill; true"))
        (done,) = await session.perform([fill], title="Fill", deadline=20)
        assert (done.status, done.stdout) == (0, "")
        with pytest.raises(StepFailed, match=r"Go on on ws1 could not start: the disk is full: .*/run"):
            await session.perform([fill], title="Go on", deadline=20)
        (place / "fill").unlink()
        long = f"head -c 60k /dev/zero | tr '\\0' x; head -c 9m /dev/zero > {place}/fill; true"
        many = [RunCommand(("sh", "-c", long)) for _ in range(6)]
        with pytest.raises(StepFailed, match=r"what it printed could not be kept, the disk is full: .*/run"):
            await session.perform(many, title="Print", deadline=20)
        (place / "fill").unlink()


def test_f37_the_journal_can_still_be_written(tmp_path: Path) -> None:
    with small(tmp_path / "state", "size=4m") as place, Journal(place) as journal:
        full = subprocess.run(
            ["dd", "if=/dev/zero", f"of={place}/fill"], check=False, capture_output=True, text=True
        )
        assert "No space left" in full.stderr
        for number in range(300):
            journal(NodeChanged(f"a{number}@ws1", "a", "ws1", "a", NodeStatus.FAILED, reason="no space"))
        assert journal.trouble == ""
        assert journal.log.with_name(JOURNAL).read_text().count("\n") == 300
