"""The lease on a host, over a real SSH server: one apply at a time, and nothing to clean up after a death."""

from __future__ import annotations

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from deskside.errors import Locked
from deskside.hosts import lease
from deskside.hosts.lease import Owner
from deskside.hosts.session import Opened
from deskside.model.action import RunCommand
from hosts.loopback import Loopback, serving, session_on

pytestmark = pytest.mark.timeout(120)

ANN = Owner("run-a", "apply", "ann", "laptop", 4711, 1_700_000_000.0)
BOB = Owner("run-b", "apply", "bob", "tower", 4712, 1_700_000_100.0)


@pytest.fixture
async def loopback(tmp_path: Path) -> AsyncIterator[Loopback]:
    async with serving(tmp_path) as found:
        yield found


def holders(loopback: Loopback) -> int:
    return sum(request["mode"] == "lease" for request in loopback.requests)


async def test_f7_the_second_is_refused_by_name_until_the_first_has_ended(
    loopback: Loopback,
) -> None:
    async with await session_on(loopback) as first, await session_on(loopback) as second:
        await first.hold(ANN)
        asked = second.round_trips
        with pytest.raises(Locked) as refused:
            await second.hold(BOB)
        assert second.round_trips == asked + 1
        assert refused.value.exit_code == 7
        for word in ("ws1", "ann on laptop", "deskside apply since 2023-11-14", "run run-a", "process 4711"):
            assert word in str(refused.value)
        written = json.loads((loopback.root / "run/deskside/lease").read_text())
        assert {"run", "user", "machine", "command", "since", "boot", "pid"} <= set(written)
        assert (loopback.root / "run/deskside").stat().st_mode & 0o777 == 0o700
    async with await session_on(loopback) as third:
        await third.hold(BOB)


async def test_f7_a_dead_owner_is_taken_over_without_a_word(loopback: Loopback) -> None:
    first = await session_on(loopback)
    await first.hold(ANN)
    await first.perform([RunCommand(("true",))], title="Work", deadline=30)
    assert first._lease is not None
    assert first._lease._keeping is not None
    first._lease._keeping.cancel()  # a dead process does not connect again
    loopback.cut()
    async with await session_on(loopback) as second:
        await taken(lambda: second.hold(BOB))
        await second.perform([RunCommand(("true",))], title="Work", deadline=30)
    await first.close()


async def taken(hold: Callable[[], Awaitable[None]]) -> None:
    """The server hears of a broken cable a moment later."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await hold()
            except Locked:
                await asyncio.sleep(0.02)


async def test_f7_what_a_killed_holder_wrote_names_nobody_while_somebody_looks(loopback: Loopback) -> None:
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    place = loopback.root / "run/deskside/lease"
    place.parent.mkdir(mode=0o700)
    place.write_text(json.dumps({"run": "run-a", "user": "ann", "pid": gone.pid}))
    async with await session_on(loopback) as session:
        with place.open() as looking:
            fcntl.flock(looking, fcntl.LOCK_SH)
            holding = asyncio.create_task(session.hold(BOB))
            await asyncio.wait((holding,), timeout=0.5)
            assert not holding.done()
        await holding
        assert json.loads(place.read_text())["run"] == BOB.run


async def test_f7_a_cut_owner_holds_on_over_its_next_connection(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "AGAIN", 0.05)
    async with await session_on(loopback) as first, await session_on(loopback) as second:
        await first.hold(ANN)
        loopback.cut()
        async with asyncio.timeout(60):
            while holders(loopback) < 2:
                await asyncio.sleep(0.02)
        await first.perform([RunCommand(("true",))], title="Work", deadline=30)
        await second._link.reopen()
        await taken_by(ANN, loopback)
        with pytest.raises(Locked, match="ann on laptop"):
            await second.hold(BOB)


async def taken_by(owner: Owner, loopback: Loopback) -> None:
    async with asyncio.timeout(60):
        while owner.run not in (loopback.root / "run/deskside/lease").read_text():
            await asyncio.sleep(0.02)


async def test_f7_a_connection_that_the_host_believes_in_gives_way_to_its_owner(
    loopback: Loopback,
) -> None:
    async with await session_on(loopback) as old, await session_on(loopback) as new:
        await old.hold(ANN)
        assert old._lease is not None
        await new.hold(ANN)
        with pytest.raises(Locked):
            async with await session_on(loopback) as other:
                await other.hold(BOB)


async def test_f7_an_owner_that_slept_changes_nothing_once_another_has_begun(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SILENCE", 0.2)
    monkeypatch.setattr(lease, "BEAT", 3600.0)
    monkeypatch.setattr(lease, "AGAIN", 3600.0)
    async with await session_on(loopback) as sleeper, await session_on(loopback) as other:
        await sleeper.hold(ANN)
        monkeypatch.setattr(lease, "SILENCE", 30.0)
        await taken(lambda: other.hold(BOB))
        mark = loopback.root / "tmp/mark"
        with pytest.raises(Locked, match="bob on tower"):
            await sleeper.perform([RunCommand(("touch", str(mark)))], title="Work", deadline=30)
        assert not mark.exists()
        await other.perform([RunCommand(("touch", str(mark)))], title="Work", deadline=30)
        assert mark.exists()


async def test_f7_of_two_that_begin_at_once_one_goes_on(loopback: Loopback) -> None:
    async with await session_on(loopback) as one, await session_on(loopback) as two:
        ended = await asyncio.gather(
            Opened({"ws1": one}).hold(ANN), Opened({"ws1": two}).hold(BOB), return_exceptions=True
        )
    assert sum(isinstance(item, Locked) for item in ended) == 1
    assert ended.count(None) == 1


async def test_f7_who_only_looks_holds_nothing_and_is_not_refused(loopback: Loopback) -> None:
    async with await session_on(loopback) as first, await session_on(loopback) as second:
        await first.hold(ANN)
        await second.settle(5)
        await second.perform([RunCommand(("true",))], title="Look", deadline=30)
