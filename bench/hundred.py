"""What a plan with nothing to do costs on many hosts: fake ones, behind real SSH servers on the loopback.

    .venv/bin/python -m bench.hundred [--hosts 100] [--runs 3]

The hosts are those of the matrices (tests/matrix), modelled in one process, with every step that needs no
cluster. They are brought about by one apply; then whole processes of `deskside plan` are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from dataclasses import astuple
from pathlib import Path
from statistics import median
from unittest.mock import patch

from bench.plan import Cost, cost

ROOT = Path(__file__).resolve().parents[1]
NET = "127.33.0"


def controlled(words: list[str]) -> None:
    """The shipped command line with the steps that fake hosts know."""
    from deskside import cli
    from deskside.app import runs
    from deskside.catalog import all_steps
    from matrix.world import EVERY

    steps = tuple(step for step in all_steps() if step.name in EVERY)
    sys.argv = ["deskside", *words]
    with patch.object(runs, "steps_for", lambda _platform: steps):
        cli.main()


async def measured(count: int, runs: int) -> list[Cost]:
    """Of each run."""
    from deskside.store.lock import LOCK_NAME, read_lock
    from matrix.served import Servers
    from matrix.world import addresses, bare_hosts, environment, write_site

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Servers(folder, addresses(NET, count)).listening() as servers:
            site = write_site(folder, NET, servers.port, servers.key, count)
            servers.hosts = bare_hosts(NET, read_lock(folder / LOCK_NAME), count)
            variables = [f"{name}={value}" for name, value in environment(folder).items()]
            program = [*("env", "-i", *variables, "PYTHONPATH=tests"), sys.executable, "-m", "bench.hundred"]

            async def run(*words: str) -> Cost:
                return await asyncio.to_thread(cost, [*program, "--", "-f", str(site), *words], words[0])

            await run("apply", "--yes")
            return [await run("plan", "--exit-code") for _ in range(runs)]


def main() -> int:
    """Measure and print."""
    if sys.argv[1:2] == ["--"]:
        controlled(sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description="A plan with nothing to do on many fake hosts.")
    parser.add_argument("--hosts", type=int, default=100, help="1 to 100 (default 100)")
    parser.add_argument("--runs", type=int, default=3, help="measured runs (default 3)")
    given = parser.parse_args()
    if not 0 < given.hosts <= 100 or given.runs < 1:
        parser.error("--hosts: 1 to 100; --runs: at least 1")
    sys.path.insert(0, str(ROOT / "tests"))
    load, today = os.getloadavg()[0], time.strftime("%Y-%m-%d")
    found = asyncio.run(measured(given.hosts, given.runs))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {today}, load {load:.1f} before")
    wall, cpu, mib = (median(values) for values in zip(*map(astuple, found), strict=True))
    print(f"{given.hosts} hosts: wall {wall:.2f} s; the controller: CPU {cpu:.2f} s, {mib:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
