"""F1: the controller is killed at every boundary of its journal and at seeded instants, then run again.

Wherever it dies, a plain rerun ends in the very state of a run that nobody disturbed, byte for byte;
no action was carried out more often than there, and nothing is left to do.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deskside.distros.kubeadm_run import CA_FILE, KUBEADM
from deskside.resources import firewall

from .conftest import Shown
from .controller import Death, Nursery
from .place import Place, Undisturbed, place_in
from .world import EVERY, SLICES

SEED = 20261126
NETS = ("127.20.1", "127.20.2")
"""As many places work side by side."""
AGAIN = (firewall.TRIAL, firewall.PROGRAM, CA_FILE, f"{KUBEADM} token create")
"""In what may be done again: rules on trial, which go back by themselves when nobody has kept them, and
tickets for who has not joined, which every run makes for itself."""


def assert_ended_as_ever(place: Place, wanted: Undisturbed, what: str) -> None:
    """The state is that of an undisturbed run, and nothing was done twice that must not be."""
    found, end = place.now(), wanted.end
    assert found.state == end.state, f"{what}: another state\n{place.output.read_text()[-4000:]}"
    assert set(found.done) >= set(end.done), what
    for done, times in found.done.items():
        allowed = end.done.get(done, 0)
        if not any(word in done for word in AGAIN):
            assert times <= allowed, f"{what}: {times} times, not {allowed}: {done[:300]}"


async def killed_and_run_again(
    place: Place, wanted: Undisturbed, what: str, *, death: Death | None = None, after: float | None = None
) -> bool:
    """Whether it was killed; False where it had ended before."""
    place.make_bare(wanted.steps)
    status = await place.run(death=death, until=None if after is None else place.after(after))
    assert status in (-9, 0), f"{what}: ended with {status}\n{place.output.read_text()[-4000:]}"
    again = await place.run()
    assert again == 0, f"{what}: run again, it ended with {again}\n{place.output.read_text()[-4000:]}"
    await place.settled()
    assert_ended_as_ever(place, wanted, what)
    left = await place.plan()
    assert left.empty, f"{what}: {[node.node for node in left.nodes]} are left to do"
    return status == -9


async def side_by_side(folder: Path, work: Callable[[Place], Coroutine[None, None, None]]) -> None:
    """The same work at every place."""
    nursery = Nursery()

    async def there(net: str) -> None:
        async with place_in(folder / net, net, nursery) as place:
            await work(place)

    async with asyncio.TaskGroup() as group:
        for net in NETS:
            group.create_task(there(net))


@pytest.mark.matrix
@pytest.mark.timeout(600)
async def test_f1_killed_at_every_boundary_of_the_journal(tmp_path: Path, shown: Shown) -> None:
    counted: Counter[str] = Counter()
    left: list[Death] = []

    async def work(place: Place) -> None:
        wanted = await place.undisturbed(EVERY)
        if not counted["places"]:
            left.extend(Death(n, before) for n in range(wanted.boundaries) for before in (True, False))
            counted["boundaries"] = wanted.boundaries
        counted["places"] += 1
        while left:
            death = left.pop()
            killed = await killed_and_run_again(place, wanted, str(death), death=death)
            counted["kills"] += killed

    await side_by_side(tmp_path, work)
    shown(f"kill matrix: {counted['boundaries']} boundaries, {counted['kills']} kills, 0 violations")
    assert counted["boundaries"] >= 2 + 2 * len(EVERY)
    assert counted["kills"] == 2 * counted["boundaries"]


def instants(seed: str) -> Iterator[tuple[int, float]]:
    """A part of the steps, and how far into its run it is killed."""
    chance = random.Random(seed)
    while True:
        # The whole takes as long as the others together.
        yield chance.choices(range(len(SLICES)), (5, 5, 5, 2))[0], chance.random()


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [1000, pytest.param(3000, marks=pytest.mark.long)])
async def test_f1_killed_at_seeded_instants(tmp_path: Path, kills: int, shown: Shown) -> None:
    counted: Counter[str] = Counter()
    cases = enumerate(instants(f"{SEED}-{kills}"))

    async def work(place: Place) -> None:
        # The first run of a place is slower than those to come.
        wanted = [[await place.undisturbed(steps) for _ in range(2)][-1] for steps in SLICES]
        while counted["kills"] < kills:
            number, (part, share) = next(cases)
            run = wanted[part]
            what = f"case {number} of seed {SEED}-{kills}, {share:.3f} of {', '.join(run.steps)}"
            killed = await killed_and_run_again(place, run, what, after=share * run.seconds)
            counted["kills" if killed else "ended before"] += 1
            if not killed:  # the machine has less to do than it had
                wanted[part] = replace(run, seconds=0.98 * run.seconds)

    await side_by_side(tmp_path, work)
    shown(
        f"kill matrix: {counted['kills']} kills at seeded instants, {counted['ended before']} came too late"
    )
    assert counted["kills"] >= kills
