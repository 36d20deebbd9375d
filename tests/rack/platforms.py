"""A rack as tests use it: the real command line in a process of its own, hosts from inside, logs of failures.

Nothing here helps the product along: whatever a test does on a host it does as a person at its console.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deskside.lab import rack as racks
from deskside.lab.bringup import bring_up
from deskside.lab.process import Ran
from deskside.lab.rack import Rack
from deskside.lab.spec import RackSpec

T = TypeVar("T")
COMMAND = str(Path(sys.executable).parent / "deskside")
KUBECTL = ("/opt/deskside/bin/kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")
PATIENCE = 900.0
"""Seconds for any one command: never what a test measures, only the end of one that hangs."""
KEEP = bool(os.environ.get("DESKSIDE_KEEP_RACK"))
"""Leave racks up after the tests, and use again those that are: for whoever works on these tests."""

RACKS = os.environ.get("DESKSIDE_TEST_RACKS", "t")
"""How the names of the tests' racks begin: two checkouts can be tested side by side."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a rack needs root")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The first line of its output, as JSON."""
        return json.loads(self.out.splitlines()[0])

    @property
    def lines(self) -> list[Any]:
        """Every line of its output, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def assert_said_well(text: str) -> None:
    """No traceback and no fault of ours ever reaches a person."""
    assert "Traceback" not in text, text
    assert "a fault of Deskside" not in text, text


def until(what: str, seconds: float, check: Callable[[], bool]) -> None:
    """Wait until something holds that tells nobody; `what` is said when it does not in time."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, also while a browser is open, whose driver has a loop of its own."""
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, work).result()


def folder_for_logs() -> Path:
    """Where what failures need is kept."""
    given = os.environ.get("CI_ARTIFACTS")
    return Path(given) if given else Path(__file__).parents[2] / "build/rack-logs"


@dataclass
class OnRack:
    """A rack, and the command line run against its site file."""

    rack: Rack
    logs: Path
    site_file: Path
    _count: list[int] = field(default_factory=lambda: [0])

    @property
    def environment(self) -> dict[str, str]:
        """Of every command: runs are kept beside the logs, not in the home of who tests."""
        return {**os.environ, "XDG_STATE_HOME": str(self.logs / "state")}

    def with_site(self, name: str, *changes: tuple[str, str]) -> OnRack:
        """The same rack by another site file beside the first: each change is (old text, new text)."""
        text = self.rack.site_file.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        other = self.rack.folder / f"{name}.yaml"
        other.write_text(text)
        return OnRack(self.rack, self.logs, other, self._count)

    def private(self, name: str, text: str) -> str:
        """A file for its owner alone, beside the site file; its path."""
        path = self.rack.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)

    def argv(self, *words: str) -> list[str]:
        """A command line."""
        return [COMMAND, "-f", str(self.site_file), *words]

    def log(self, words: Sequence[str]) -> Path:
        """A fresh file for what a command says."""
        self._count[0] += 1
        name = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())[:40]
        return self.logs / f"{self._count[0]:03}-{name}.txt"

    def deskside(self, *words: str, code: int | None = 0, stdin: str | None = None) -> Ended:
        """Run a command to its end; its exit status must be `code` (None: any)."""
        done = subprocess.run(
            self.argv(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        self.log(words).write_text(f"{words}\nexit {ended.code}\n--- out\n{ended.out}\n--- err\n{ended.err}")
        assert_said_well(ended.out + ended.err)
        if code is not None:
            assert ended.code == code, f"{words} ended with {ended.code}, not {code}\n{ended.out}{ended.err}"
        return ended

    def changes(self) -> set[tuple[str, str]]:
        """(host, subject) of everything that a plan would change now."""
        nodes = self.deskside("plan", "--json").document["plan"]["nodes"]
        return {(node["host"], change["subject"]) for node in nodes for change in node["changes"]}

    def run(self, host: str, *argv: str, stdin: str = "", check: bool = True, timeout: float = 300.0) -> Ran:
        """Run a program on a host, as root at its console."""
        ran = finished(self.rack.host(host).run(argv, stdin=stdin, timeout=timeout))
        assert ran.ok or not check, f"{argv} on {host}: {ran.out}{ran.err}"
        return ran

    def shell(self, host: str, script: str) -> str:
        """Run a shell script on a host; what it printed."""
        return self.run(host, "sh", "-ec", script).out

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Ask or change the cluster, from its first server."""
        return self.run("ws1", *KUBECTL, *words, stdin=stdin).out

    @contextmanager
    def broken(self, kind: str, host: str, what: str = "") -> Iterator[None]:
        """Break something while the block lasts."""
        finished(self.rack.make_break(kind, host, what))
        try:
            yield
        finally:
            finished(self.rack.mend(kind, host, what))

    def keep_logs(self) -> None:
        """Copy what explains a failure: the cluster's view, and every host's journal and console."""
        for host in self.rack.hosts:
            place = self.rack.layout.place(host.spec)
            for file in ("supervisor.log", "console.log"):
                if (place / file).exists():
                    shutil.copyfile(place / file, self.logs / f"{host.name}-{file}")
            units = ("kubelet", "deskside-kubelet", "deskside-containerd", "slapd")
            self._keep(host.name, "journal", ("journalctl", "--no-pager", "--lines=3000"))
            chosen = [word for unit in units for word in ("--unit", unit)]
            self._keep(host.name, "services", ("journalctl", "--no-pager", "--lines=3000", *chosen))
        for what in ("nodes", "pods", "events"):
            self._keep("ws1", what, (*KUBECTL, "get", what, "-A", "-o", "wide"))
        for namespace, pods in (("jupyterhub", "component=hub"), ("kube-system", "k8s-app=kube-dns")):
            words = ("logs", "-n", namespace, "-l", pods, "--tail=500", "--prefix")
            self._keep("ws1", pods.partition("=")[2], (*KUBECTL, *words))
        self._keep("ws1", "descriptions", (*KUBECTL, "describe", "pods", "-A"))
        print(f"\nlogs of rack {self.rack.name}: {self.logs}", file=sys.stderr)

    def _keep(self, host: str, name: str, argv: tuple[str, ...]) -> None:
        try:
            ran = self.run(host, *argv, check=False, timeout=60)
            text = ran.out + ran.err
        except Exception as error:  # a host that is off has no more to say
            text = f"{type(error).__name__}: {error}"
        (self.logs / f"{host}-{name}.txt").write_text(text)


def _report(who: str, line: str) -> None:
    print(f"{who}: {line}", file=sys.stderr)


@contextmanager
def rack_up(spec: RackSpec, failed: list[str]) -> Iterator[OnRack]:
    """A bare rack with its artifacts; down at the end, its logs kept when `failed` names a test by then."""
    logs = folder_for_logs() / spec.name
    if not (KEEP and asyncio.run(racks.is_up(spec.name, spec))):
        asyncio.run(racks.down(spec.name, _report))
        shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True, exist_ok=True)
    rack: OnRack | None = None
    try:
        found = asyncio.run(bring_up(spec, "recipe", _report)).rack
        rack = OnRack(found, logs, found.site_file)
        yield rack
    except BaseException:
        failed.append("the fixture itself")
        raise
    finally:
        if rack is not None and failed:
            rack.keep_logs()
        if not KEEP:
            asyncio.run(racks.down(spec.name, _report))
