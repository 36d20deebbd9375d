"""The fake hosts of the matrices do what they are for: what began goes on without a controller."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from . import served
from .controller import Death, Nursery
from .place import place_in


async def test_a_run_goes_on_after_the_controller_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def carry_out_when_told(_: float) -> None:
        await go.wait()

    monkeypatch.setattr(served, "pause", carry_out_when_told)
    async with place_in(tmp_path, "127.20.3", Nursery()) as place:
        place.make_bare(("baseline",))
        hosts = place.servers.hosts.values()
        begun = asyncio.gather(*(one.begun.wait() for one in hosts))

        async def all_begun() -> None:
            await begun

        assert await place.run(until=all_begun()) == -9
        assert all(one.runs and not one.host.done for one in hosts), "it was killed while runs were going on"
        assert not any(run.work.done() for one in hosts for run in one.runs.values())
        await asyncio.gather(*(one.wait_closed() for one in list(place.servers.connections)))
        go.set()
        await place.settled()
        assert all(one.host.done for one in hosts)
        assert await place.run() == 0
        assert (await place.plan()).empty
        await place.settled()
        again = {done for done, times in place.now().done.items() if times > 1}
        assert {done for done in again if "daemon-reload" not in done} == set()


async def test_a_controller_dies_at_the_boundary_that_was_said(tmp_path: Path) -> None:
    async with place_in(tmp_path, "127.20.3", Nursery()) as place:
        place.make_bare(("baseline",))
        assert await place.run(death=Death(0, before=True)) == -9
        (journal,) = (tmp_path / "state").rglob("journal.jsonl")
        assert journal.read_text() == ""
        assert not any(one.host.done for one in place.servers.hosts.values())
