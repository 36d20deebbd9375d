"""Fake hosts behind a real SSH server on the loopback: they outlive whoever talks to them.

The server speaks the wire of `hosts/remote` for hosts that are modelled in this process. A run on such a host
is a task of this process, so it goes on when its connection, or the whole controller, is gone; `test_served`
proves it. Questions, leases and files that are sent behave as on a host.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import asyncssh

from deskside.hosts import remote
from deskside.hosts.fake import STAGING, STORE, FakeHost
from deskside.hosts.fake_files import Refused
from deskside.hosts.pins import Pins, host_key
from deskside.model.query import Json

ACTION_SECONDS = 0.0005
"""What an action takes: long enough for a death to strike within a run."""
pause = asyncio.sleep
"""How an action passes its time."""


@dataclass
class Run:
    """A detached run."""

    title: str
    work: asyncio.Task[dict[str, object]]
    progress: list[str] = field(default_factory=list)


@dataclass
class Served:
    """A fake host, and what is going on there."""

    host: FakeHost
    runs: dict[str, Run] = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    lease: Mapping[str, object] | None = None
    received: list[str] = field(default_factory=list)
    """Digests of the files that came whole."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a run has begun."""
    refused: list[str] = field(default_factory=list)
    """What nobody taught the host."""

    async def ended(self) -> None:
        """Wait until nothing runs any more."""
        await asyncio.gather(*(run.work for run in self.runs.values()))

    async def converse(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """One conversation of the remote program: one request, or questions until no more come."""
        while first := await process.stdin.readline():
            head = json.loads(first)
            source = await process.stdin.readexactly(head["program"])
            body = await process.stdin.readexactly(head["payload"])
            if sha256(source + body).hexdigest() != head["sha256"]:
                process.exit(remote.CUT_SHORT)
                return
            payload = json.loads(body)
            answer = await getattr(self, f"_{payload['mode']}")(payload, process)
            line = json.dumps(answer)
            process.stdout.write(f"{line}\n{remote.END}{sha256(line.encode()).hexdigest()}\n".encode())
            if payload["mode"] != "read":
                break
        process.exit(0)

    async def _read(self, payload: Mapping[str, object], _: object) -> dict[str, object]:
        queries = payload["queries"]
        assert isinstance(queries, list)
        return {"answers": [self._answer(query) for query in queries]}

    def _answer(self, query: Mapping[str, object]) -> Mapping[str, object]:
        try:
            return self.host.answer_of(query)
        except AssertionError as error:
            self.refused.append(str(error))
            return {"error": str(error)}

    async def _settle(self, payload: Mapping[str, object], _: object) -> dict[str, object]:
        await self.ended()
        return {"going": [], "titles": ""}

    async def _lease(
        self, payload: dict[str, object], process: asyncssh.SSHServerProcess[bytes]
    ) -> dict[str, object]:
        owner = payload["owner"]
        assert isinstance(owner, dict)
        if self.lease is not None and self.lease.get("run") != owner["run"]:
            return {"held": dict(self.lease)}
        self.lease = owner
        try:
            _say(process, {"wanted": True})
            while await process.stdin.read(1 << 12):
                pass
        finally:
            if self.lease is owner:
                self.lease = None
        return {"released": True}

    async def _perform(
        self, payload: dict[str, object], process: asyncssh.SSHServerProcess[bytes]
    ) -> dict[str, object]:
        name = str(payload["run"])
        if name not in self.runs:
            if payload.get("rejoin"):
                return {"absent": True}
            if self.lease is not None and self.lease.get("run") != payload["lease"]:
                return {"held": dict(self.lease)}
            actions = payload["actions"]
            assert isinstance(actions, list)
            title = str(payload["title"])
            self.runs[name] = Run(title, asyncio.create_task(self._carried_out(actions)))
            self.begun.set()
            _say(process, {"started": name})
        _say(process, {"progress": self.runs[name].title})
        return {"result": await asyncio.shield(self.runs[name].work)}

    async def _carried_out(self, actions: Sequence[dict[str, Json]]) -> dict[str, object]:
        results: list[dict[str, object]] = []
        async with self.writing:
            for place, action in enumerate(actions):
                await pause(ACTION_SECONDS)
                try:
                    found = self.host.carry_out(action)
                except (Refused, AssertionError) as error:
                    if isinstance(error, AssertionError):
                        self.refused.append(str(error))
                    failed = {"action": place, "what": str(action["op"]), "error": str(error), "busy": False}
                    return {"results": results, "failed": failed}
                results.append(
                    {
                        "status": found.status,
                        "stdout": found.stdout,
                        "stderr": found.stderr,
                        "seconds": found.seconds,
                    }
                )
        return {"results": results, "failed": None}

    async def _receive(
        self, payload: dict[str, object], process: asyncssh.SSHServerProcess[bytes]
    ) -> dict[str, object]:
        digest, size = str(payload["sha256"]), int(str(payload["size"]))
        staged = f"{STAGING}/{digest}"
        if self.host.files.exists(staged) or self.host.files.exists(f"{STORE}/{digest}"):
            return {"there": True}
        _say(process, {"wanted": True})
        data = await process.stdin.read(size) if size else b""
        while len(data) < size and (more := await process.stdin.read(size - len(data))):
            data += more
        if len(data) < size or sha256(data).hexdigest() != digest:
            return {"error": f"{len(data)} of {size} bytes came"}
        self.received.append(digest)
        self.host.files.put(staged, size=size)
        return {"there": True}


def _say(process: asyncssh.SSHServerProcess[bytes], message: Mapping[str, object]) -> None:
    with suppress(OSError):
        process.stdout.write(json.dumps(message).encode() + b"\n")


class Servers:
    """SSH servers of some addresses on one port; which host is behind each may change."""

    def __init__(self, folder: Path, addresses: Mapping[str, str]) -> None:
        """`addresses` by name; keys and pins are made in `folder`."""
        self.addresses = addresses
        self.hosts: dict[str, Served] = {}
        """By the name of the address, or by the user that logs in, which counts first."""
        self.port = 0
        self.key = folder / "id"
        self.pins = folder / "known_hosts"
        self.began = asyncio.Event()
        """Set at every login."""
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._talks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Servers]:
        """While the block lasts."""
        user, own = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        user.write_private_key(str(self.key))
        user.write_public_key(f"{self.key}.pub")
        self.key.chmod(0o600)
        acceptors = []
        for name, address in self.addresses.items():
            Pins(self.pins).put(name, address, host_key(own))
            acceptors.append(await self._listen(name, address, own))
            self.port = acceptors[0].get_port()
        try:
            yield self
        finally:
            for acceptor in acceptors:
                acceptor.close()
            for connection in list(self.connections):
                connection.abort()
            for acceptor in acceptors:
                await acceptor.wait_closed()
            await self.quiet()

    async def quiet(self) -> None:
        """Wait until nobody talks to the hosts any more."""
        if self._talks:
            await asyncio.wait(self._talks)

    async def _listen(self, name: str, address: str, own: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        async def process(process: asyncssh.SSHServerProcess[bytes]) -> None:
            # A task of ours: what a host does for somebody does not end with the connection.
            user = str(process.get_extra_info("username"))
            talk = asyncio.ensure_future(_talked(self.hosts.get(user) or self.hosts[name], process))
            self._talks.add(talk)
            talk.add_done_callback(self._talks.discard)
            await talk

        servers = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self.conn = conn
                servers.connections.add(conn)

            def connection_lost(self, _: Exception | None) -> None:
                servers.connections.discard(self.conn)

            def auth_completed(self) -> None:
                servers.began.set()

        return await asyncssh.create_server(
            Server,
            address,
            self.port,
            server_host_keys=[own],
            authorized_client_keys=f"{self.key}.pub",
            process_factory=process,
            encoding=None,
            reuse_address=True,
        )


async def _talked(served: Served, process: asyncssh.SSHServerProcess[bytes]) -> None:
    try:
        await served.converse(process)
    except (OSError, EOFError, asyncssh.Error, asyncio.IncompleteReadError, asyncssh.BreakReceived):
        process.close()
    except ValueError:  # half of a request's first line
        process.exit(remote.CUT_SHORT)
