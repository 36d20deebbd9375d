"""Sessions against a real SSH server: questions go out together, runs outlive their connection."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from deskside.errors import PythonMissing, StepFailed, Unreachable
from deskside.hosts import login, remote
from deskside.hosts.login import Lost
from deskside.hosts.pins import HostKey, host_key, scan_host_key
from deskside.hosts.session import Session
from deskside.hosts.ssh import Link
from deskside.model.action import MakeDirectory, RunCommand, WriteFile
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.query import PathFound, ReadOutput, ReadPackages, ReadPath, ReadSysctls
from deskside.site.secrets import Secret
from hosts.loopback import Loopback, no_artifact, pins, serving, session_on, target

pytestmark = pytest.mark.timeout(120)


ME = (str(os.geteuid()), str(os.getegid()))


@pytest.fixture
async def loopback(tmp_path: Path) -> AsyncIterator[Loopback]:
    async with serving(tmp_path) as found:
        yield found


@pytest.fixture
async def session(loopback: Loopback) -> AsyncIterator[Session]:
    async with await session_on(loopback) as found:
        yield found


async def test_questions_of_nested_gathers_go_out_as_one_script(loopback: Loopback, session: Session) -> None:
    (loopback.root / "etc/a").write_text("one")

    async def resource(path: str) -> PathFound:
        return await session.read(ReadPath(path, content=True))

    async def step(count: int) -> list[PathFound]:
        return await asyncio.gather(*(asyncio.create_task(resource("/etc/a")) for _ in range(count)))

    found = await asyncio.gather(*(asyncio.create_task(step(3)) for _ in range(3)))
    assert {item.content for items in found for item in items} == {b"one"}
    assert session.round_trips == 1
    assert len(loopback.requests[0]["queries"]) == 1  # type: ignore[arg-type]


KNOCK = """
import asyncio, select, socket, sys
from pathlib import Path
from deskside.hosts.login import Target, connected
from deskside.hosts.pins import Pins

server = socket.create_server(("127.0.0.1", 0))

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "asyncssh":
            print("called" if select.select([server], [], [], 0)[0] else "not called")
            sys.exit()

sys.meta_path.insert(0, Watch())
asyncio.run(connected(Target("ws1", "127.0.0.1", "root", server.getsockname()[1]), Pins(Path("none"))))
"""


@pytest.mark.parametrize(("config", "found"), [(False, "called"), (True, "not called")])
async def test_a_server_is_called_before_asyncssh_is_imported(
    tmp_path: Path, config: bool, found: str
) -> None:
    """Where ~/.ssh/config may lead elsewhere, nobody is."""
    (tmp_path / ".ssh").mkdir()
    if config:
        (tmp_path / ".ssh/config").write_text("Host *\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KNOCK),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    said, errors = await process.communicate()
    assert said.decode().strip() == found, errors.decode()


async def test_the_port_of_ssh_config_counts(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir(exist_ok=True)
    (tmp_path / ".ssh/config").write_text(f"Host 127.0.0.1\n  Port {loopback.port}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    link = Link(replace(target(loopback), port=None), pins(loopback))
    await link.open()
    assert (await link.heard("echo here")).strip() == "here"
    await link.close()


async def test_one_bad_question_fails_its_askers_only(session: Session) -> None:
    good, bad = await asyncio.gather(
        session.read(ReadPath("/etc"), ReadSysctls(("no.such",))),
        session.read(ReadPackages(("bash",))),
        return_exceptions=True,
    )
    assert isinstance(good, tuple)
    assert good[0].kind == "directory"
    assert isinstance(bad, StepFailed)
    assert "package database" in str(bad)
    assert session.round_trips == 1


async def test_the_program_starts_once_for_all_questions_and_is_sent_once(
    loopback: Loopback, session: Session
) -> None:
    assert (await session.read(ReadPath("/etc"))).kind == "directory"
    assert (await session.read(ReadPath("/tmp"))).kind == "directory"
    assert (await session.read(ReadOutput(("echo", "hello")))).stdout == "hello\n"
    assert (await session.read(ReadPath("/nowhere"))).kind == "absent"
    assert len(loopback.conversations) == 1
    first, again, other, last = loopback.programs
    assert (again, last) == (0, 0)
    assert 0 < other < first, "only what answers the new kind"
    assert session.round_trips == 4


async def test_questions_wait_for_no_long_answer(loopback: Loopback, session: Session) -> None:
    slow = asyncio.create_task(session.read(ReadOutput(("sleep", "3"))))
    async with asyncio.timeout(20):
        while not loopback.requests:
            await asyncio.sleep(0.01)
        assert (await session.read(ReadPath("/etc"))).kind == "directory"
    assert len(loopback.conversations) == 2, "one is busy with what takes long"
    assert (await slow).status == 0


async def test_a_program_that_died_or_was_given_up_is_started_again(
    loopback: Loopback, session: Session
) -> None:
    await session.read(ReadPath("/etc"))
    os.killpg(loopback.running[-1].pid, signal.SIGKILL)
    assert (await session.read(ReadPath("/etc"))).kind == "directory"
    assert len(loopback.conversations) == 2
    loopback.cut()
    assert (await session.read(ReadPath("/etc"))).kind == "directory"
    assert len(loopback.conversations) == 3
    first, *others = [sent for sent in loopback.programs if sent]
    assert others == [first, first]


async def test_a_cancelled_asker_takes_nobody_along(session: Session) -> None:
    one = asyncio.create_task(session.read(ReadPath("/etc")))
    other = asyncio.create_task(session.read(ReadPath("/etc")))
    await asyncio.sleep(0)
    one.cancel()
    assert (await other).kind == "directory"


async def test_a_big_answer_comes_whole(loopback: Loopback, session: Session) -> None:
    content = os.urandom(1 << 20)
    (loopback.root / "etc/big").write_bytes(content)
    found = await session.read(ReadPath("/etc/big", content=True, digest=True))
    assert found.content == content
    assert found.sha256 == sha256(content).hexdigest()


async def test_perform_acts_in_order_and_stops_at_the_first_failure(
    loopback: Loopback, session: Session
) -> None:
    actions = [
        MakeDirectory("/etc/x", 0o750, *ME),
        WriteFile("/etc/x/y", Secret("hidden"), 0o600, *ME),
        RunCommand(("sh", "-c", "echo out; echo no such thing >&2; exit 3")),
        WriteFile("/etc/never", "x"),
    ]
    with pytest.raises(
        StepFailed, match=r"Set it up on ws1: sh -c .* ended with status 3: no such thing"
    ) as failed:
        await session.perform(actions, title="Set it up", deadline=30)
    assert failed.value.detail == "out\n\nno such thing\n"
    assert (loopback.root / "etc/x/y").read_text() == "hidden"
    assert (loopback.root / "etc/x/y").stat().st_mode & 0o777 == 0o600
    assert (loopback.root / "etc/x").stat().st_mode & 0o777 == 0o750
    assert not (loopback.root / "etc/never").exists()
    assert session.writes == 1
    left = [path for path in (loopback.root / "run/deskside/runs").rglob("*") if path.is_file()]
    assert not [path for path in left if b"hidden" in path.read_bytes()]


async def test_results_and_progress_come_back(loopback: Loopback) -> None:
    reports: list[str] = []
    async with await session_on(loopback, reports) as session:
        first, second = await session.perform(
            [RunCommand(("echo", "hello")), RunCommand(("cat",), stdin="typed", ok=(0, 1))],
            title="t",
            deadline=30,
        )
    assert (first.status, first.stdout, second.stdout) == (0, "hello\n", "typed")
    assert reports == ["echo hello", "cat"]


async def until(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():
            await asyncio.sleep(0.02)


async def test_f2_a_run_outlives_its_connection_and_is_joined_again(loopback: Loopback) -> None:
    reports: list[str] = []
    root = loopback.root
    async with await session_on(loopback, reports) as session:
        script = f"touch {root}/tmp/begun; sleep 1; echo x >> {root}/tmp/count; echo done"
        run = asyncio.create_task(
            session.perform([RunCommand(("sh", "-c", script))], title="Long work", deadline=60)
        )
        await until(root / "tmp/begun")
        loopback.cut()
        (result,) = await run
    assert result.stdout == "done\n"
    assert (root / "tmp/count").read_text() == "x\n"
    assert any("connection was lost" in line for line in reports)
    assert [request["mode"] for request in loopback.requests] == ["perform", "perform"]
    assert loopback.requests[1]["rejoin"] is True


async def test_f3_an_answer_without_its_end_is_asked_again_and_then_an_error(
    loopback: Loopback, session: Session
) -> None:
    loopback.end_silently = 1
    assert (await session.read(ReadPath("/etc"))).kind == "directory"
    loopback.end_silently = 2
    with pytest.raises(Unreachable, match="ws1 was lost while it was asked"):
        await session.read(ReadPath("/etc"))


async def test_a_killed_run_is_unknown_and_never_done(loopback: Loopback, session: Session) -> None:
    run = asyncio.create_task(session.perform([RunCommand(("sleep", "30"))], title="Long work", deadline=60))
    runs = loopback.root / "run/deskside/runs"
    await until(runs)
    async with asyncio.timeout(60):
        while not (marks := list(runs.glob("*/process"))) or not list(runs.glob("*/progress")):
            await asyncio.sleep(0.02)
    os.kill(int(marks[0].read_text().split()[0]), 9)
    with pytest.raises(StepFailed, match="how it ended is not known"):
        await run


async def told(reports: list[str], line: str) -> None:
    async with asyncio.timeout(60):
        while line not in reports:
            await asyncio.sleep(0.05)


async def test_a_run_waits_for_another_run_and_says_so(loopback: Loopback) -> None:
    reports: list[str] = []
    tmp = loopback.root / "tmp"
    async with await session_on(loopback, reports) as one, await session_on(loopback, reports) as two:
        script = f"touch {tmp}/begun; while [ ! -e {tmp}/go ]; do sleep 0.1; done; echo first >> {tmp}/order"
        first = asyncio.create_task(
            one.perform([RunCommand(("sh", "-c", script))], title="First", deadline=60)
        )
        await until(tmp / "begun")
        settled = asyncio.create_task(two.settle(60))
        await told(reports, "waiting for what an earlier run began: First")
        action = RunCommand(("sh", "-c", f"echo second >> {tmp}/order"))
        second = asyncio.create_task(two.perform([action], title="Second", deadline=60))
        await told(reports, "waiting for another run on this host: First")
        (tmp / "go").touch()
        await asyncio.gather(first, second, settled)
    assert (tmp / "order").read_text() == "first\nsecond\n"


async def test_a_run_ends_at_its_deadline(session: Session) -> None:
    with pytest.raises(StepFailed, match="sleep 30 was killed or ran out of time"):
        await session.perform([RunCommand(("sleep", "30"))], title="Long work", deadline=1)


async def test_an_artifact_is_sent_once_and_verified(loopback: Loopback, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    source = tmp_path / "artifact"
    source.write_bytes(data)
    digest = sha256(data).hexdigest()
    locked = Locked(Artifact("tool", "1", Kind.BINARY), digest, len(data), "recipe", "x")

    async def fetch(_: Locked) -> Path:
        return source

    async with await session_on(loopback) as session:
        session._fetch = fetch
        await asyncio.gather(session.send(locked), session.send(locked))
        assert session.writes == 1
        staged = loopback.root / "var/lib/deskside/staging" / digest
        assert staged.read_bytes() == data
        staged.unlink()
        source.write_bytes(data[:-1] + b"?")
        with pytest.raises(StepFailed, match="the digest of what arrived is"):
            await session.send(locked)
        assert list(staged.parent.iterdir()) == []


async def test_an_unknown_key_is_refused_with_its_fingerprint(loopback: Loopback) -> None:
    link = Link(target(loopback), pins(loopback))
    fingerprint = host_key(loopback.key).fingerprint
    with pytest.raises(Unreachable, match="is not pinned: it shows") as refused:
        await link.open()
    assert fingerprint in refused.value.message
    assert "deskside trust" in refused.value.hint
    assert (await scan_host_key("127.0.0.1", loopback.port)).fingerprint == fingerprint


async def test_f6_a_changed_key_is_refused_with_both_fingerprints(loopback: Loopback, tmp_path: Path) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    pins(loopback).put("ws1", "127.0.0.1", HostKey(other, ""))
    with pytest.raises(Unreachable, match="has changed") as refused:
        await Link(target(loopback), pins(loopback)).open()
    for fingerprint in (host_key(loopback.key).fingerprint, *pins(loopback).fingerprints("ws1", "127.0.0.1")):
        assert fingerprint in refused.value.message


async def test_a_key_that_nobody_knows_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "id").write_bytes(b"")
    pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    with pytest.raises(Unreachable, match="refuses the login of root") as refused:
        await Link(target(loopback), pins(loopback)).open()
    assert "ssh-copy-id root@127.0.0.1" in refused.value.hint


async def test_f5_a_reset_before_the_banner_is_tried_again(loopback: Loopback) -> None:
    loopback.hang_up_first = 2
    async with await session_on(loopback) as session:
        assert (await session.read(ReadPath("/etc"))).kind == "directory"


async def test_f5_where_few_sessions_are_allowed_what_runs_is_waited_for(
    loopback: Loopback, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = asyncssh.connection.SSHServerConnection._process_session_open

    def strict(connection: Any, packet: Any) -> Any:
        if any(not one.is_closing() for one in connection._channels.values()):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "MaxSessions")
        return opened(connection, packet)

    monkeypatch.setattr(asyncssh.connection.SSHServerConnection, "_process_session_open", strict)
    monkeypatch.setattr(login, "BACK_OFF", (0.02, 0.02, 0.02))
    wait = RunCommand(("sh", "-c", f"until [ -e {loopback.root}/etc/go ]; do sleep 0.02; done"))
    running = asyncio.create_task(session.perform((wait,), title="Wait", deadline=30))
    while not (loopback.root / "run/deskside/runs").exists():
        await asyncio.sleep(0.01)
    link = session._link
    question, _ = remote.questions([ReadPath("/etc").wire()])
    asked = [asyncio.create_task(link.converse(question)) for _ in range(6)]
    await asyncio.wait(asked, timeout=0.3)
    assert not any(conversation.done() for conversation in asked)
    (loopback.root / "etc/go").touch()
    assert all("ok" in json.dumps(answer) for answer in await asyncio.gather(*asked))
    await running


async def test_refused_sudo_and_missing_python_say_what_to_do(loopback: Loopback, session: Session) -> None:
    loopback.refuse_sudo = True
    with pytest.raises(Unreachable, match="may not use sudo without a password") as sudo:
        await session.read(ReadPath("/etc"))
    assert "NOPASSWD" in sudo.value.hint
    loopback.refuse_sudo, loopback.no_python = False, True
    with pytest.raises(PythonMissing, match="has no python3"):
        await session.read(ReadPath("/etc"))


async def test_python_that_cannot_be_installed_says_what_to_do(loopback: Loopback) -> None:
    loopback.no_python = True
    pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    link = Link(target(loopback, bootstrap=True), pins(loopback))
    await link.open()
    async with Session(link, no_artifact) as session:
        with pytest.raises(Unreachable, match="python3 could not be installed on ws1") as refused:
            await session.read(ReadPath("/etc"))
    assert refused.value.hint == "run on ws1: sudo apt-get install python3"
    assert not isinstance(refused.value, PythonMissing)


async def test_a_plain_command_is_heard_without_the_program(loopback: Loopback) -> None:
    pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    link = Link(target(loopback), pins(loopback))
    await link.open()
    try:
        assert await link.heard('echo "it\'s $((1 + 1))"; exit 3') == "it's 2\n"
        assert loopback.requests == []
        link.cut()
        with pytest.raises(Lost):
            await link.heard("true")
    finally:
        await link.close()


async def test_a_silent_host_is_unreachable(tmp_path: Path) -> None:
    async with serving(tmp_path) as loopback:
        pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    with pytest.raises(Unreachable, match="does not answer") as silent:
        await Link(target(loopback), pins(loopback)).open()
    assert "ping" in silent.value.hint


async def test_programs_are_run_without_a_shell(session: Session) -> None:
    found, missing = await session.read(ReadOutput(("echo", "$HOME; `id`")), ReadOutput(("no-such-program",)))
    assert found.stdout == "$HOME; `id`\n"
    assert missing.status == 127


def test_importing_hosts_loads_no_ssh_library() -> None:
    import subprocess
    import sys

    code = "import deskside.hosts.session, deskside.hosts.fake, sys; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_server_that_never_speaks_is_waited_for_once(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection, as a host does whose disk hangs, and that is all."""
    came: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: came.append(writer), "127.0.0.1", 0)
    monkeypatch.setattr(login, "LOGIN_SECONDS", 0.3)
    monkeypatch.setattr(login, "SUDDEN_SECONDS", 0.2)
    pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    silent = replace(target(loopback), port=server.sockets[0].getsockname()[1])
    with pytest.raises(Unreachable, match="does not answer"):
        await Link(silent, pins(loopback)).open()
    assert len(came) == 1
    for writer in came:
        writer.close()
    server.close()
    await server.wait_closed()
