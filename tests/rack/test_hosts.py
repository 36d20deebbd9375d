"""A real host of the rack: the suite of every host, facts, and runs that outlive their connection."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deskside.errors import Busy, StepFailed
from deskside.hosts import remote
from deskside.hosts.lease import Owner
from deskside.hosts.login import Target
from deskside.hosts.pins import Pins
from deskside.hosts.session import Session
from deskside.hosts.ssh import Link
from deskside.model.action import InstallPackages, RemovePath, RunCommand
from deskside.model.artifact import Locked
from deskside.model.facts import Facts
from deskside.model.query import ReadFacts, ReadOutput, ReadPath
from deskside.model.resource import HostWriter
from hosts import suite
from rack.platforms import OnRack

pytestmark = [
    pytest.mark.rack,
    pytest.mark.skipif(os.geteuid() != 0, reason="a rack needs root"),
    pytest.mark.timeout(300, func_only=True),
]

NARROW = "/etc/ssh/sshd_config.d/05-narrow.conf"
HOLD_LOCK = """
import fcntl, time
with open("/var/lib/dpkg/lock-frontend", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", file=open("/run/suite-held", "w"))
    time.sleep(12)
"""
HALF = "/^Package: hello$/,/^$/s/^Status: .*/Status: install ok half-configured/"


@asynccontextmanager
async def opened(bare: OnRack, tmp_path: Path) -> AsyncIterator[tuple[Link, Session]]:
    """A connection to ws1."""
    tool = tmp_path / "tool"
    tool.write_bytes(suite.TOOL)

    async def fetch(_: Locked) -> Path:
        return tool

    host = bare.rack.host("ws1")
    target = Target("ws1", host.address, "ops", None, (Path(f"{bare.rack.layout.key}.pub"),))
    link = Link(target, Pins(Path(bare.rack.layout.known_hosts)))
    await link.open()
    async with Session(link, fetch) as found:
        await found.settle(60)
        yield link, found


@pytest.fixture
async def session(bare: OnRack, tmp_path: Path) -> AsyncIterator[Session]:
    async with opened(bare, tmp_path) as (_, found):
        yield found


@pytest.mark.parametrize("case", suite.CASES)
async def test_a_real_host_passes_the_suite(
    session: Session, case: Callable[[HostWriter], Awaitable[None]]
) -> None:
    try:
        await case(session)
    finally:
        await session.perform([RunCommand(("rm", "-rf", suite.TOP))], title="Clean up", deadline=30)


async def test_facts_of_a_real_host(session: Session, bare: OnRack) -> None:
    facts = Facts.from_raw(await session.read(ReadFacts(("/", "/var/lib"))))
    assert (facts.hostname, facts.os_id, facts.os_version) == ("ws1", "debian", "12")
    assert facts.container == "systemd-nspawn"
    assert facts.clock_shared
    assert facts.modules_shared
    assert facts.interface_with(bare.rack.host("ws1").address) is not None
    assert facts.route_interface
    assert facts.networkd
    assert any(item.port == 22 and item.program in ("sshd", "systemd") for item in facts.listeners)
    disk = facts.disk("/var/lib")
    assert disk is not None
    assert disk.filesystem == "ext4"
    assert len(facts.machine_id) == 32
    pinned = Pins(Path(bare.rack.layout.known_hosts)).fingerprints("ws1", bare.rack.host("ws1").address)
    assert set(pinned) <= set(facts.host_keys)
    assert abs(facts.clock - facts.booted_at) < 86400 * 30
    assert session.round_trips <= 2


async def test_f2_a_detached_run_survives_a_killed_connection(session: Session) -> None:
    script = "touch /run/suite-begun; sleep 3; echo x >> /run/suite-count; echo finished"
    work = asyncio.create_task(
        session.perform([RunCommand(("sh", "-c", script))], title="Long work", deadline=60)
    )
    await until_there(session, "/run/suite-begun")
    listed = await session.read(ReadOutput(("systemctl", "list-units", "--no-legend", "deskside-run-*")))
    assert "Deskside: Long work" in listed.stdout
    session._link.cut()
    (result,) = await work
    assert result.stdout == "finished\n"
    assert (await session.read(ReadPath("/run/suite-count", content=True))).content == b"x\n"
    assert not (await session.read(ReadOutput(("systemctl", "is-active", "deskside-run-*")))).stdout.strip()
    clean = RunCommand(("rm", "-f", "/run/suite-begun", "/run/suite-count"))
    await session.perform([clean], title="Clean up", deadline=30)


async def test_a_killed_run_is_unknown(session: Session) -> None:
    work = asyncio.create_task(session.perform([RunCommand(("sleep", "60"))], title="Long work", deadline=90))
    async with asyncio.timeout(20):
        while not (facts := Facts.from_raw(await session.read(ReadFacts(ports=False)))).runs:
            await asyncio.sleep(0.1)
    await session.read(ReadOutput(("systemctl", "kill", "--signal=KILL", f"deskside-run-{facts.runs[0]}")))
    with pytest.raises(StepFailed, match="how it ended is not known"):
        await work


async def until_there(session: Session, path: str) -> None:
    async with asyncio.timeout(20):
        while (await session.read(ReadPath(path))).kind == "absent":
            await asyncio.sleep(0.1)


async def test_f9_a_held_package_lock_is_busy_and_names_the_holder(session: Session, bare: OnRack) -> None:
    holder = asyncio.create_task(bare.rack.host("ws1").run(["python3", "-c", HOLD_LOCK]))
    await until_there(session, "/run/suite-held")
    with pytest.raises(Busy, match=r"held by process \d+ \(.*python3"):
        await session.perform([InstallPackages(("cowsay",), lock_timeout=2)], title="Packages", deadline=60)
    await holder
    await session.perform([RemovePath("/run/suite-held")], title="Clean up", deadline=30)


async def test_f10_an_interrupted_dpkg_is_repaired(session: Session, bare: OnRack) -> None:
    await session.perform([InstallPackages(("hello",))], title="Packages", deadline=200)
    await bare.rack.host("ws1").run(["sed", "-i", HALF, "/var/lib/dpkg/status"])
    assert "hello" in (await session.read(ReadOutput(("dpkg", "--audit")))).stdout
    await session.perform([InstallPackages(("sl",))], title="Packages", deadline=200)
    assert (await session.read(ReadOutput(("dpkg", "--audit")))).stdout == ""


@asynccontextmanager
async def narrow_door(bare: OnRack, *lines: str) -> AsyncIterator[None]:
    """Settings of the real server for a while. Its children keep those that they began with."""
    bare.run("ws1", "tee", NARROW, stdin="".join(f"{line}\n" for line in lines))
    bare.run("ws1", "systemctl", "restart", "ssh")
    try:
        yield
    finally:
        bare.run("ws1", "rm", NARROW)
        bare.run("ws1", "systemctl", "restart", "ssh")


async def test_f5_a_server_of_two_sessions_is_slower_and_works(bare: OnRack, tmp_path: Path) -> None:
    """One is held by the lease: a run, all questions, and the reader while nobody asks it share the other."""
    async with narrow_door(bare, "MaxSessions 2"), opened(bare, tmp_path) as (link, session):
        await session.hold(Owner("20261128T000000-f5f5", "apply"))
        # The reader stays open, and has to give way.
        assert (await session.read(ReadPath("/etc"))).kind == "directory"
        question, _ = remote.questions([ReadPath("/etc").wire()])
        work = session.perform([RunCommand(("sleep", "1"))], title="Sleep", deadline=30)
        run = asyncio.ensure_future(work)
        answers = await asyncio.gather(*(link.converse(question) for _ in range(6)))
        assert (await run)[0].status == 0
        assert len(answers) == 6
        assert all("ok" in json.dumps(answer) for answer in answers)
        assert (await session.read(ReadPath("/nowhere"))).kind == "absent"


async def test_f5_a_server_that_lets_one_in_at_a_time_is_waited_for(bare: OnRack, tmp_path: Path) -> None:
    address = bare.rack.host("ws1").address
    async with narrow_door(bare, "MaxStartups 1:100:1"):
        reader, writer = await asyncio.open_connection(address, 22)
        assert (await reader.readline()).startswith(b"SSH-2.0-")
        asyncio.get_running_loop().call_later(1.0, writer.close)
        async with opened(bare, tmp_path) as (_, session):
            assert (await session.read(ReadPath("/etc"))).kind == "directory"
