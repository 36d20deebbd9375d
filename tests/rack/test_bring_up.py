"""Whole bring-ups with bad luck at random instants (F1): `apply` killed, a host's power cut."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deskside.lab.spec import RackSpec, workstations
from rack.conftest import FAILED
from rack.platforms import PATIENCE, RACKS, OnRack, assert_said_well, needs_root, rack_up

# Ten minutes each.
pytestmark = [
    pytest.mark.rack,
    pytest.mark.long,
    needs_root,
    pytest.mark.timeout(2 * PATIENCE, func_only=True),
]

KILLS, CUTS, MOST_RUNS = 20, 10, 40
KILL_AFTER = (0.3, 8.0)
"""Seconds after the start of a run; the first one or two are those of its plan. All of them are less than a
bring-up takes."""
CUT_AFTER, OFF_FOR = (2.0, 20.0), (0.5, 12.0)
"""Seconds from one cut's end to the next cut; seconds that power is away."""


def seed() -> int:
    found = int(os.environ.get("DESKSIDE_SEED") or random.randrange(10**6))
    print(f"DESKSIDE_SEED={found}")
    return found


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Iterator[OnRack]:
    """Two bare workstations and a NAS, for one bring-up."""
    failed = request.config.stash.setdefault(FAILED, [])
    with rack_up(RackSpec(f"{RACKS}-random", workstations(1, 1)), failed) as rack:
        yield rack


def begun(rack: OnRack, number: int) -> tuple[subprocess.Popen[str], Path]:
    """One apply."""
    log = rack.log(("apply", str(number)))
    with log.open("w") as file:
        argv = rack.argv("apply", "--yes")
        process = subprocess.Popen(
            argv, env=rack.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True
        )
    return process, log


def test_f1_twenty_kills_at_random_instants(fresh: OnRack) -> None:
    chance, kills = random.Random(seed()), 0
    while kills < KILLS:
        process, log = begun(fresh, kills)
        try:
            code = process.wait(chance.uniform(*KILL_AFTER))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            pytest.fail(f"ended with {code} after {kills} kills: {log.read_text()[-3000:]}")
        assert_said_well(log.read_text())
    fresh.deskside("apply", "--yes")
    as_wanted(fresh)


@dataclass
class Cutter:
    """Takes power from one host after the other, and gives it back."""

    rack: OnRack
    chance: random.Random
    enough: threading.Event = field(default_factory=threading.Event)
    cuts: list[str] = field(default_factory=list)

    def run(self) -> None:
        while len(self.cuts) < CUTS and not self.enough.wait(self.chance.uniform(*CUT_AFTER)):
            host = self.chance.choice(("ws1", "ws2"))
            asyncio.run(self.rack.rack.make_break("power", host))
            self.enough.wait(self.chance.uniform(*OFF_FOR))
            asyncio.run(self.rack.rack.mend("power", host))
            self.cuts.append(host)


def test_f1_ten_power_cuts_at_random_instants(fresh: OnRack) -> None:
    cutter = Cutter(fresh, random.Random(seed()))
    thread, runs, code = threading.Thread(target=cutter.run), 0, 1
    thread.start()
    try:
        while code != 0 and runs < MOST_RUNS:
            process, log = begun(fresh, runs)
            code, runs = process.wait(PATIENCE), runs + 1
            assert_said_well(log.read_text())
    finally:
        cutter.enough.set()
        thread.join()
    print(f"{runs} runs, power cut at {cutter.cuts}")
    assert code == 0
    assert len(cutter.cuts) == CUTS, f"the bring-up ended after {cutter.cuts}"
    as_wanted(fresh)


def as_wanted(rack: OnRack) -> None:
    """Nothing is left to do, and everything works."""
    assert rack.deskside("plan", "--exit-code", "--json").document["plan"]["changes"] == 0
    rack.deskside("verify")
