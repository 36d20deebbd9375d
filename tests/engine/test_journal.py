from __future__ import annotations

import errno
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deskside.engine.journal import JOURNAL, RESERVE, RESERVE_SIZE, Journal, last_run, make_run_id
from deskside.errors import DesksideError, StepFailed
from deskside.model.event import NodeChanged, NodeStatus, OutputLine, RunEnded, RunStarted

from .world import World, declare, make_platform, run


def changed(node: str, status: NodeStatus, reason: str = "") -> NodeChanged:
    step, _, host = node.partition("@")
    return NodeChanged(node, step, host, step, status, changes=2, reason=reason)


def test_run_ids_sort_by_time_and_differ_within_a_second() -> None:
    early = make_run_id(datetime(2026, 11, 23, 21, 45, 1, tzinfo=UTC))
    late = make_run_id(datetime(2026, 11, 23, 21, 45, 2, tzinfo=UTC))
    assert early.startswith("20261123T214501-")
    assert early < late
    # Four digits clashed once in the kill matrix: two runs of one second.
    assert len({make_run_id(datetime(2026, 11, 23, tzinfo=UTC)) for _ in range(300)}) == 300


def test_a_journal_of_a_real_run_is_private_and_readable(tmp_path: Path) -> None:
    world = World([declare("a"), declare("b", "a")], make_platform("ws1"))
    with Journal(tmp_path / "site") as journal:
        result = run(world.apply(journal=journal))
    assert result.log == str(journal.log)
    for path, mode in [
        (journal.directory, 0o700),
        (journal.log, 0o600),
        (journal.directory / "journal.jsonl", 0o600),
    ]:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    events = [json.loads(line) for line in (journal.directory / "journal.jsonl").read_text().splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("RunStarted", "RunEnded")
    assert "a@ws1 done, 1 changes" in journal.log.read_text()
    past = last_run(tmp_path / "site")
    assert past is not None
    assert (past.run, past.ok, past.changes, past.counts) == (journal.run, True, 2, {"done": 2})
    assert past.ended is not None
    assert past.ended >= past.started


def test_failures_and_their_full_output_are_in_the_log(tmp_path: Path) -> None:
    world = World([declare("a")], make_platform("ws1"))
    world.hosts["ws1"].trouble = [StepFailed("apt failed", detail="E: line 1\nE: line 2")]
    with Journal(tmp_path) as journal:
        run(world.apply(journal=journal))
    assert "E: line 1\nE: line 2\n" in journal.log.read_text()
    past = last_run(tmp_path)
    assert past is not None
    assert past.failures == {"a@ws1": "apt failed"}


def test_f1_a_run_that_was_killed_while_it_wrote_is_read_as_far_as_it_went(tmp_path: Path) -> None:
    with Journal(tmp_path, "20261123T214501-aaaa"):
        pass
    with Journal(tmp_path, "20261123T214502-bbbb") as journal:
        journal(RunStarted(journal.run, "apply", 3, ("ws1",), at=5.0))
        journal(changed("a@ws1", NodeStatus.RUNNING))
        journal(changed("a@ws1", NodeStatus.DONE))
        journal(changed("b@ws1", NodeStatus.RUNNING))
    path = journal.directory / "journal.jsonl"
    for cut in range(len(path.read_bytes())):
        torn = tmp_path / "torn" / "runs" / "r"
        torn.mkdir(parents=True, exist_ok=True)
        (torn / "journal.jsonl").write_bytes(path.read_bytes()[:cut])
        last_run(tmp_path / "torn")
    path.write_bytes(path.read_bytes() + b'{"event": "NodeChan')
    past = last_run(tmp_path)
    assert past is not None
    assert (past.run, past.command, past.started, past.ended) == (journal.run, "apply", 5.0, None)
    assert (past.ok, past.changes, past.unfinished) == (False, 2, ("b@ws1",))


def test_no_runs_is_none(tmp_path: Path) -> None:
    assert last_run(tmp_path / "nowhere") is None
    Journal(tmp_path).close()
    assert last_run(tmp_path) is None


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DesksideError, match=r"the journal of the run cannot be written to .*: Not a directory"
    ):
        Journal(tmp_path / "file")


def test_a_full_disk_stops_the_journal_and_not_the_run(tmp_path: Path) -> None:
    world = World([declare("a")], make_platform("ws1"))
    with Journal(tmp_path) as journal:
        os.close(journal._events)
        journal._events = os.open("/dev/full", os.O_WRONLY)
        assert run(world.apply(journal=journal)).ok
        assert "No space left" in journal.trouble


class Disk:
    """A disk on which some bytes are left, and as many as the reserve held once that is gone."""

    def __init__(self, left: int, reserve: Path) -> None:
        self.left, self.reserve, self.write = left, reserve, os.write

    def __call__(self, handle: int, data: memoryview) -> int:
        free = self.left + (0 if self.reserve.exists() else RESERVE_SIZE)
        if not free:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= min(free, len(data))
        return self.write(handle, data[:free])


def test_f37_the_journal_goes_on_with_its_reserve_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path) as journal:
        reserve = tmp_path / RESERVE
        assert reserve.stat().st_size == RESERVE_SIZE
        monkeypatch.setattr(os, "write", Disk(400, reserve))
        for number in range(100):
            journal(changed(f"step{number}@ws1", NodeStatus.DONE))
        assert not reserve.exists()
        for _ in range(RESERVE_SIZE // 100):
            journal(changed("more@ws1", NodeStatus.DONE))
        assert "No space left" in journal.trouble
        monkeypatch.undo()
        lines = [json.loads(line) for line in journal.log.with_name(JOURNAL).read_text().splitlines()[:100]]
        assert [line["node"] for line in lines] == [f"step{number}@ws1" for number in range(100)]
    Journal(tmp_path).close()
    assert reserve.stat().st_size == RESERVE_SIZE, "the next run keeps some again"


def test_f37_no_run_begins_where_there_is_no_room_for_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("deskside.engine.journal.write_whole", full)
    with pytest.raises(DesksideError, match=r"cannot be written to .*: No space left") as refused:
        Journal(tmp_path)
    assert "df -h" in refused.value.hint


def test_boundaries_are_on_disk_at_once_and_output_lines_are_only_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    with Journal(tmp_path) as journal:
        monkeypatch.setattr(os, "fsync", synced.append)
        journal(OutputLine("ws1", "reading package lists"))
        assert (synced, (journal.directory / "journal.jsonl").read_text()) == ([], "")
        journal(changed("a@ws1", NodeStatus.DONE))
        journal(RunEnded(journal.run, True))
    assert len(synced) == 2
    assert "ws1: reading package lists" in journal.log.read_text()
