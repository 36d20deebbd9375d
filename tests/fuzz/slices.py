"""The loader of site files against a million of them, in slices that can be cut short and gone on with.

    ./test fuzz                   what is left of 1,000,000 cases, on every core
    ./test fuzz --cases 50000     the next 50,000 of them

What is done stands in a file, slice by slice; a case that breaks a rule is kept with its number.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deskside.errors import SiteError
from deskside.site.load import load
from deskside.site.whole import write_whole
from fuzz.site_files import SEED, case

ALL = 1_000_000
SLICE = 1_000
MOST_SECONDS = 2.0
"""Of processor time, for one file."""
MOST_MIB = 256
STATE = Path(__file__).parents[2] / "build" / "fuzz" / f"site-files-{SEED}.json"


@dataclass
class Tally:
    """What came of some cases."""

    cases: int = 0
    accepted: int = 0
    slowest: float = 0.0
    """Seconds of processor time of the slowest case."""
    slowest_case: int = -1
    mib: int = 0
    """Most memory that a process of them had."""
    violations: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another's cases too."""
        self.cases += other.cases
        self.accepted += other.accepted
        self.violations += other.violations
        self.mib = max(self.mib, other.mib)
        if other.slowest > self.slowest:
            self.slowest, self.slowest_case = other.slowest, other.slowest_case

    def __str__(self) -> str:
        return (
            f"{self.cases:,} site files of seed {SEED}: {self.accepted:,} accepted,"
            f" {len(self.violations)} violations; slowest {self.slowest:.2f} s of processor time"
            f" (case {self.slowest_case}), {self.mib} MiB"
        )


def run(numbers: Iterable[int]) -> Tally:
    """Load each of these cases."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        for number in numbers:
            content = case(number)
            path.write_bytes(content)
            began = time.process_time()
            accepted, wrong = judged(path, content)
            took = time.process_time() - began
            if took > MOST_SECONDS:
                wrong = wrong or f"took {took:.1f} s of processor time"
            if wrong:
                tally.violations.append(f"case {number}: {wrong}")
            tally.add(Tally(1, accepted, took, number))
    return tally


def judged(path: Path, content: bytes) -> tuple[bool, str]:
    """Whether the file is accepted, and what is wrong with how that was said; empty for nothing."""
    try:
        try:
            accepted, found = True, load(path).warnings
        except SiteError as error:
            accepted, found = False, tuple(error.problems)
        if accepted != all(problem.warning for problem in found):
            return accepted, "is accepted with errors, or refused without any"
        for problem in found:
            text = str(problem)
            text.encode("utf-8")
            if not text.isprintable() or not problem.message or not problem.remedy:
                return False, f"says {text!r}"
            if not 0 <= problem.line <= content.count(b"\n") + content.count(b"\r") + 2:
                return False, f"names line {problem.line}"
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"[:300]
    return accepted, ""


def in_slice(numbers: range) -> tuple[int, Tally]:
    """Run these cases in a process that does nothing else, so that its memory is theirs."""
    tally = run(numbers)
    tally.mib = most_memory()
    if tally.mib > MOST_MIB:
        tally.violations.append(f"cases {numbers.start} to {numbers.stop - 1}: {tally.mib} MiB of memory")
    return numbers.start, tally


def most_memory() -> int:
    """MiB that this program had at once. Of rusage a process inherits its parent's most (execve(2))."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def go_on(cases: int, state: Path = STATE, among: range = range(ALL), size: int = SLICE) -> Tally:
    """Run at most so many cases that have not been run yet; returns what came of all that ever were."""
    kept = json.loads(state.read_text()) if state.exists() else {"done": [], "tally": {}}
    tally, done = Tally(**kept["tally"]), set(kept["done"])
    ahead = [range(first, first + size) for first in among[::size] if first not in done]
    state.parent.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=5) as pool:
        for first, found in pool.imap_unordered(in_slice, ahead[: -(-cases // size)]):
            tally.add(found)
            done.add(first)
            write_whole(state, json.dumps({"done": sorted(done), "tally": asdict(tally)}))
    return tally


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases", type=int, default=ALL, metavar="N", help="run at most N cases (default: all)"
    )
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="FILE", help="what is done (default: %(default)s)"
    )
    asked = parser.parse_args()
    tally = go_on(asked.cases, asked.state)
    sys.stdout.write("\n".join([str(tally), *tally.violations]) + "\n")
    return 1 if tally.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
