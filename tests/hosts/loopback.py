"""A real SSH server on the loopback whose host is a folder: what it runs gets that folder as its root.

Only the root is put into what is sent; program, framing, detached runs and cuts are the product's own.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import asyncssh

from deskside.hosts.login import Target
from deskside.hosts.pins import Pins, host_key
from deskside.hosts.session import Fetch, Session
from deskside.hosts.ssh import Link
from deskside.model.artifact import Locked


@dataclass
class Loopback:
    """The server, and switches for what can go wrong."""

    folder: Path
    port: int = 0
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    conversations: list[asyncssh.SSHServerProcess[bytes]] = field(default_factory=list)
    requests: list[dict[str, object]] = field(default_factory=list)
    running: list[asyncio.subprocess.Process] = field(default_factory=list)
    """Programs that were started, those that have ended included."""
    programs: list[int] = field(default_factory=list)
    """Bytes of the program in each request."""
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    tasks: list[asyncio.Future[None]] = field(default_factory=list)
    refuse_sudo: bool = False
    no_python: bool = False
    end_silently: int = 0
    """So many answers lose their end."""
    hang_up_first: int = 0
    """So many connections are reset before the banner."""

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def cut(self) -> None:
        """Break every connection, as a cable does."""
        for connection in self.connections:
            connection.abort()
        self.connections.clear()


class Server(asyncssh.SSHServer):
    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        if self.loopback.hang_up_first > 0:
            self.loopback.hang_up_first -= 1
            conn.abort()
            return
        self.loopback.connections.append(conn)


async def rooted(loopback: Loopback, stdin: asyncssh.SSHReader[bytes]) -> AsyncIterator[bytes]:
    """What comes, each request with the server's folder as root."""
    questions = True
    while questions and (first := await stdin.readline()):
        head = json.loads(first)
        source = await stdin.readexactly(head["program"])
        payload = json.loads(await stdin.readexactly(head["payload"]))
        loopback.requests.append(payload)
        loopback.programs.append(len(source))
        body = json.dumps({**payload, "root": str(loopback.root)}).encode()
        head = {"program": len(source), "payload": len(body), "sha256": sha256(source + body).hexdigest()}
        yield json.dumps(head).encode() + b"\n" + source + body
        questions = payload["mode"] == "read"
    while data := await stdin.read(1 << 16):
        yield data


async def run_there(loopback: Loopback, process: asyncssh.SSHServerProcess[bytes]) -> None:
    loopback.conversations.append(process)
    if loopback.refuse_sudo:
        process.stderr.write(b"sudo: a password is required\n")
        process.exit(1)
        return
    if loopback.no_python:
        process.exit(96)
        return
    program = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 26,
        start_new_session=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    loopback.running.append(program)

    async def feed() -> None:
        assert program.stdin is not None
        with suppress(Exception):
            async for data in rooted(loopback, process.stdin):
                program.stdin.write(data)
                await program.stdin.drain()
        with suppress(Exception):
            program.stdin.close()

    feeding = asyncio.create_task(feed())
    try:
        while line := await program.stdout.readline():
            if loopback.end_silently and line.startswith(b"deskside-end"):
                loopback.end_silently -= 1
                program.stdin.close()
                continue
            process.stdout.write(line)
            await process.stdout.drain()
        process.stderr.write(await program.stderr.read())
        status = await program.wait()
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)
    except (OSError, asyncssh.Error):
        program.kill()
        await program.wait()
    finally:
        feeding.cancel()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Loopback]:
    """A server with one user key at `folder/id`, and its host key pinned in `folder/known_hosts`."""
    loopback = Loopback(folder)
    for name in ("tmp", "etc", "var/lib", "run", "opt"):
        (loopback.root / name).mkdir(parents=True, exist_ok=True)
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key.write_private_key(str(folder / "id"))
    user_key.write_public_key(str(folder / "id.pub"))
    (folder / "id").chmod(0o600)
    server = await listening(loopback)
    try:
        yield loopback
    finally:
        server.close()
        left = list(loopback.connections)
        loopback.cut()
        for connection in left:
            await connection.wait_closed()
        await server.wait_closed()
        await asyncio.wait_for(asyncio.gather(*loopback.tasks, return_exceptions=True), 20)
        # The loop closes a subprocess's pipes one turn after it was waited for.
        await asyncio.sleep(0)


async def listening(loopback: Loopback) -> asyncssh.SSHAcceptor:
    """Start (or start again) the server, with `loopback.key`."""

    async def process(process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.ensure_future(run_there(loopback, process))
        loopback.tasks.append(task)
        await task

    server = await asyncssh.create_server(
        lambda: Server(loopback),
        "127.0.0.1",
        loopback.port,
        server_host_keys=[loopback.key],
        authorized_client_keys=str(loopback.folder / "id.pub"),
        process_factory=process,
        encoding=None,
    )
    loopback.port = server.get_port()
    return server


async def no_artifact(_: Locked) -> Path:
    raise AssertionError("no artifact is wanted here")


def target(loopback: Loopback, *, bootstrap: bool = False) -> Target:
    keys = (loopback.folder / "id.pub",)
    return Target("ws1", "127.0.0.1", "root", loopback.port, keys, bootstrap)


def pins(loopback: Loopback) -> Pins:
    return Pins(loopback.folder / "known_hosts")


async def session_on(
    loopback: Loopback, reports: list[str] | None = None, fetch: Fetch = no_artifact
) -> Session:
    """A connected session that trusts the server."""
    pins(loopback).put("ws1", "127.0.0.1", host_key(loopback.key))
    link = Link(target(loopback), pins(loopback))
    await link.open()
    return Session(link, fetch, (reports if reports is not None else []).append)
