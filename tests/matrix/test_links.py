"""F2 to F5: the connection of a host is dropped, reset, half closed or stalled at seeded bytes.

Questions, a run of three actions and a file go over one connection that breaks once. Each case ends as *done
once* (nobody noticed), *resumed* (on another connection), or, where it broke before the login was through,
*refused*: then nothing was done, and the same again does it once. None hangs, and none passes with less.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, islice
from pathlib import Path

import asyncssh
import pytest

from deskside.errors import Unreachable
from deskside.hosts import login
from deskside.hosts.fake import FakeHost
from deskside.hosts.login import Target
from deskside.hosts.pins import Pins
from deskside.hosts.session import Session
from deskside.hosts.ssh import Link
from deskside.model.action import MakeDirectory, RunCommand, WriteFile
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.query import ReadPath

from .conftest import Shown
from .relay import Break, Fault, Relay, relaying
from .served import Served, Servers

SEED = 20261126
ADDRESS = "127.0.0.1"
AT_ONCE = 24
PATIENCE = 60.0
"""Seconds within which every case ends; one that does not hangs."""
LOGIN_BYTES = 3000
CONTENT = random.Random(SEED).randbytes(60_000)
ARTIFACT = Locked(
    Artifact("tool", "1", Kind.BINARY), sha256(CONTENT).hexdigest(), len(CONTENT), "upstream", ""
)
ACTIONS = (
    MakeDirectory("/etc/deskside"),
    WriteFile("/etc/deskside/a", "one\n" * 400),
    RunCommand(("count",)),
)


@dataclass
class Bench:
    """The server, the file that is sent, and how much an undisturbed conversation weighs."""

    servers: Servers
    folder: Path
    weight: dict[bool, int]

    async def fetch(self, _: Locked) -> Path:
        return self.folder / "tool"

    async def converse(self, user: str, relay: Relay) -> Session:
        """All that is done in one case. Raises Unreachable."""
        keys = (Path(f"{self.servers.key}.pub"),)
        link = Link(Target("ws1", ADDRESS, user, relay.port, keys), Pins(self.servers.pins))
        await link.open()
        async with Session(link, self.fetch) as session:
            assert (await session.read(ReadPath("/etc/hostname", content=True))).content == b"ws1\n"
            done = await session.perform(ACTIONS, title="Three things", deadline=30)
            assert [result.status for result in done] == [0, 0, 0]
            await session.send(ARTIFACT)
            assert (await session.read(ReadPath("/etc/deskside/a", content=True))).content is not None
        return session


def done_once(served: Served) -> bool:
    counted = Counter(str(action["op"]) for action in served.host.done)
    return counted == {"make_directory": 1, "write_file": 1, "run_command": 1} and served.host.files.exists(
        f"/var/lib/deskside/staging/{ARTIFACT.sha256}"
    )


async def outcome_of(bench: Bench, user: str, at: Break | None) -> str:
    """How a case ended. Raises AssertionError for one that ended ill."""
    host = FakeHost("ws1")
    host.effect("count")
    served = bench.servers.hosts[user] = Served(host)
    what = f"{user}: {at}"
    async with relaying((ADDRESS, bench.servers.port), at) as relay:
        try:
            async with asyncio.timeout(PATIENCE):
                await bench.converse(user, relay)
        except TimeoutError:
            raise AssertionError(f"{what}: it hangs") from None
        except Unreachable as error:
            if not relay.broken or host.done:
                raise AssertionError(f"{what}: {error}, after {len(host.done)} actions") from None
            await bench.converse(user, relay)
            assert done_once(served), f"{what}: {host.done}"
            return "refused"
        assert done_once(served), f"{what}: passed, with {host.done}"
        if at is None:
            bench.weight |= relay.passed
        return "resumed" if relay.connections > 1 else "done once"


def breaks(bench: Bench, seed: str) -> Iterator[Break]:
    """Every fault in turn, in either direction, at any byte."""
    chance = random.Random(seed)
    for number in count():
        fault, upwards = tuple(Fault)[number % len(Fault)], chance.random() < 0.5
        yield Break(fault, upwards, chance.randrange(bench.weight[upwards]), chance.uniform(0.05, 3.0))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # As in life, only sooner: what is asked for is that it is noticed, and how often was asked before that.
    monkeypatch.setattr(login, "KEEPALIVE", (0.4, 3))
    monkeypatch.setattr(login, "LOGIN_SECONDS", 3.0)
    (tmp_path / "tool").write_bytes(CONTENT)
    return Bench(Servers(tmp_path, {"ws1": ADDRESS}), tmp_path, {})


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cases", [1000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_f2_to_f4_a_connection_that_breaks_at_any_byte(bench: Bench, cases: int, shown: Shown) -> None:
    ended: Counter[tuple[str, str]] = Counter()
    async with bench.servers.listening():
        assert await outcome_of(bench, "undisturbed", None) == "done once"
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, at: Break) -> None:
            async with turn:
                ended[at.fault.value, await outcome_of(bench, f"case{number}", at)] += 1
                del bench.servers.hosts[f"case{number}"]

        async with asyncio.TaskGroup() as group:
            for number, at in enumerate(islice(breaks(bench, f"{SEED}-{cases}"), cases)):
                group.create_task(one(number, at))
    for (fault, how), times in sorted(ended.items()):
        shown(f"link matrix: {fault}: {how}: {times}")
    shown(f"link matrix: {sum(ended.values())} offsets in {sum(bench.weight.values())} bytes, 0 violations")
    assert sum(ended.values()) == cases
    # Both happen, or nothing was broken.
    assert all(ended[fault.value, "resumed"] > cases // 40 for fault in Fault)


SHIPPED = login.KEEPALIVE


async def test_f4_a_silent_host_is_noticed_within_fifteen_seconds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    question = asyncssh.SSHClientConnection._make_keepalive_request

    async def counted(connection: asyncssh.SSHClientConnection) -> None:
        asked.append(asyncio.get_running_loop().time())
        await question(connection)

    monkeypatch.setattr(asyncssh.SSHClientConnection, "_make_keepalive_request", counted)
    monkeypatch.setattr(login, "KEEPALIVE", (0.4, SHIPPED[1]))
    async with bench.servers.listening():
        outcome = await outcome_of(bench, "silence", Break(Fault.DROP, upwards=True, offset=40_000))
    assert outcome == "resumed"
    # One interval before each question, and one more before nobody is believed to answer any more.
    assert len(asked) <= SHIPPED[1]
    assert SHIPPED[0] * (len(asked) + 1) <= 15
