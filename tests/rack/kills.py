"""A bring-up that is killed inside every step and run again each time, until a run ends by itself."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rack.platforms import PATIENCE, OnRack, assert_said_well

MOST_RUNS = 60
LATEST, LATEST_ONCE = 1.5, 0.3
"""Seconds after the beginning of its work at which a step is killed, at most; one that runs on one host alone
may be over soon."""
NO_WORK = ("waiting", "finished", "trying again")
"""How progress begins that is no work on a host."""


@dataclass
class BringUp:
    """What happened."""

    seed: int
    steps: set[str] = field(default_factory=set)
    """All steps of the plan."""
    worked: set[str] = field(default_factory=set)
    """Steps that had something to do."""
    killed: set[str] = field(default_factory=set)
    """Steps that were at work when a run was killed."""
    runs: int = 0
    seconds: float = 0.0


@dataclass
class _Run:
    """One run of apply, as its events tell it."""

    process: subprocess.Popen[str]
    record: BringUp
    chance: random.Random
    running: dict[str, str] = field(default_factory=dict)
    """Host -> the step that runs there."""
    working: dict[str, str] = field(default_factory=dict)
    """The same, once it has begun to change something."""
    timer: threading.Timer | None = None

    def take(self, line: str) -> None:
        event: dict[str, Any] = json.loads(line)
        if "plan" in event:
            self.record.steps |= {node["step"] for node in event["plan"]["nodes"]}
        elif event["event"] == "NodeChanged":
            self._take_node(event)
        elif event["event"] == "Progress" and not event["text"].startswith(NO_WORK):
            step = self.running.get(event["host"])
            if step:
                self.working[event["host"]] = step
                self.record.worked.add(step)
                self._aim_at(step)

    def _take_node(self, event: dict[str, Any]) -> None:
        host = event["host"]
        if event["status"] == "running":
            self.running[host] = event["step"]
        elif self.running.get(host) == event["step"]:
            del self.running[host]
            self.working.pop(host, None)

    def _aim_at(self, step: str) -> None:
        if step in self.record.killed or self.timer is not None:
            return
        once = sum(at == step for at in self.running.values()) == 1
        delay = self.chance.uniform(0, LATEST_ONCE if once else LATEST)
        self.timer = threading.Timer(delay, self.process.kill)
        self.timer.start()


def bring_up_by_kills(rack: OnRack) -> BringUp:
    """Apply to bare hosts, over and over: each run is killed inside a step that was not killed before."""
    kept = rack.rack.folder / "brought-up.json"
    if kept.exists():  # a rack that was kept from an earlier session
        found: dict[str, Any] = json.loads(kept.read_text())
        lists = ("steps", "worked", "killed")
        return BringUp(**{**found, **{name: set(found[name]) for name in lists}})
    seed = int(os.environ.get("DESKSIDE_SEED") or random.randrange(10**6))
    record, chance, begun = BringUp(seed), random.Random(seed), time.monotonic()
    print(f"killing with DESKSIDE_SEED={seed}")
    while record.runs < MOST_RUNS:
        record.runs += 1
        log = rack.log((f"killed-{seed}", str(record.runs)))
        code = _run_once(rack, record, chance, log)
        said = log.read_text()
        assert_said_well(said)
        if code == 0:
            record.seconds = time.monotonic() - begun
            kept.write_text(json.dumps(asdict(record), default=sorted))
            return record
        assert code == -9, f"run {record.runs} ended with {code} (seed {seed}): {said[-3000:]}"
    raise AssertionError(f"no end after {MOST_RUNS} runs (seed {seed}); killed were {sorted(record.killed)}")


def _run_once(rack: OnRack, record: BringUp, chance: random.Random, log: Path) -> int:
    with (
        log.open("w") as file,
        subprocess.Popen(
            rack.argv("apply", "--yes", "--json"),
            env=rack.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        run = _Run(process, record, chance)
        last = threading.Timer(PATIENCE, process.terminate)
        last.start()
        try:
            for line in process.stdout:
                if line.endswith("\n"):
                    file.write(line)
                    file.flush()
                    run.take(line)
            code = process.wait()
        finally:
            last.cancel()
            if run.timer is not None:
                run.timer.cancel()
            process.kill()
    if code == -9:
        inside = set(run.working.values())
        record.killed |= inside
        with log.open("a") as file:
            file.write(f"killed inside {sorted(inside)}\n")
    return code
