"""What `deskside plan` costs on a finished site, beside a minimal program over the same connections.

    python -m bench.plan SITE [--runs N]

Prints a table: wall time and CPU seconds of both, and their ratio. Changes nothing on any host.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from deskside.app.workspace import Workspace
from deskside.errors import DesksideError
from deskside.site.secrets import located

HERE = Path(__file__).resolve().parent
SOMETHING_TO_DO = 10


@dataclass(frozen=True)
class Cost:
    """Of one process, from start to exit."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, with children."""
    mib: float = 0.0
    """Most memory that the process had at once."""


def cost(argv: Sequence[str], name: str) -> Cost:
    """Run a program to its end. Raises SystemExit with what it said when it failed."""
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if process.returncode == SOMETHING_TO_DO:
        raise SystemExit("the plan is not empty: run deskside apply first")
    if process.returncode != 0:
        raise SystemExit(f"{name} ended with status {process.returncode}: {text}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def minimal_input(workspace: Workspace, folder: Path) -> Path:
    """The managed hosts as the minimal program takes them: the same addresses, keys and pins."""
    admin = workspace.site.admin
    public = [located(workspace.folder, key) for key in admin.keys]
    private = [key.with_suffix("") for key in public if key.suffix == ".pub"]
    hosts = [
        {
            "host": str(spec.address),
            "port": admin.port,
            "user": admin.user,
            "keys": [str(key) for key in private if key.exists()],
            "known_hosts": str(workspace.pins),
        }
        for spec in workspace.site.managed_hosts
    ]
    path = folder / "hosts.json"
    path.write_text(json.dumps(hosts))
    return path


def measured(programs: dict[str, list[str]], runs: int) -> dict[str, list[Cost]]:
    """`runs` costs of each program, in turn; one more of each goes before, unmeasured."""
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for number in range(runs + 1):
        for name, argv in programs.items():
            found = cost(argv, name)
            if number:
                costs[name].append(found)
    return costs


def table(costs: dict[str, list[Cost]], *, measured_name: str, against: str) -> str:
    """Minimum, median and maximum of each, and the ratio of the medians."""
    lines = [f"{'':<16}{'wall min':>10}{'median':>9}{'max':>9}{'CPU min':>10}{'median':>9}{'max':>9}"]
    sides: tuple[Callable[[Cost], float], ...] = (lambda one: one.wall, lambda one: one.cpu)
    for name, found in costs.items():
        cells = [name.ljust(16)]
        for side in sides:
            values = [side(one) for one in found]
            cells.append(f"{min(values):>8.2f} s{median(values):>7.2f} s{max(values):>7.2f} s")
        lines.append("".join(cells))
    ratios = [
        median(side(one) for one in costs[measured_name]) / median(side(one) for one in costs[against])
        for side in sides
    ]
    lines.append(f"{measured_name} / {against}: wall {ratios[0]:.2f}, CPU {ratios[1]:.2f} (medians)")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What deskside plan costs on a finished site.")
    parser.add_argument("site", type=Path, help="the site file")
    parser.add_argument("--runs", type=int, default=5, help="runs of each program (default 5)")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs: at least 1")
    try:
        workspace = Workspace.open(arguments.site)
    except DesksideError as error:
        raise SystemExit(f"{error.message}; {error.hint}") from None
    program = [sys.executable, "-c", "from deskside.cli import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        given = minimal_input(workspace, Path(folder))
        programs = {
            "deskside plan": [*program, "-f", str(arguments.site), "plan", "--exit-code"],
            "minimal": [sys.executable, str(HERE / "minimal.py"), str(given)],
        }
        before = os.getloadavg()[0]
        costs = measured(programs, arguments.runs)
    hosts = len(workspace.site.managed_hosts)
    print(
        f"{hosts} hosts, {arguments.runs} runs each in turn; {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, load {before:.1f} before"
    )
    print(table(costs, measured_name="deskside plan", against="minimal"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
