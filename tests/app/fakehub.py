"""A FAKE hub: JupyterHub's public interface as far as a user's browser needs it, in this process.

It keeps cookies, forms, XSRF tokens, the spawn page, the progress stream and a kernel's websocket as the real
one does, and can be told to be wrong in one way at a time. A cell is really run, here, with a folder as home.
What the real hub does is tested in the rack.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from unittest.mock import patch
from urllib.parse import parse_qs

from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol

PROFILE = (
    '<label><input type="radio" name="profile" value="{slug}"/><div><strong>{name}</strong></div></label>'
)
WORKERS = ("ws1", "ws2", "ws3")


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def cookies(self) -> dict[str, str]:
        return {name: item.value for name, item in SimpleCookie(self.headers.get("cookie", "")).items()}


@dataclass
class Reply:
    status: int = 200
    body: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class FakeHub:
    """Switches for what can be wrong, and what happened."""

    folder: Path
    accounts: dict[str, str]
    allowed: set[str]
    profiles: tuple[str, ...]
    accepts_every_password: bool = False
    directory_is_off: bool = False
    allows_everybody: bool = False
    spawn_fails: str = ""
    spawn_hangs: bool = False
    cell: Callable[[str], str] | None = None
    """What a cell prints, instead of running it."""
    cell_raises: bool = False
    uid: int = 1000
    homes_are_shared: bool = True
    ignores_cordons: bool = False
    desk_of: dict[str, str] = field(default_factory=dict)
    """User -> node."""
    cordoned: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    starts: int = 0
    port: int = 0
    sessions: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """Token -> user."""
    spawning: asyncio.Event = field(default_factory=asyncio.Event)
    before: Callable[[Asked], None] = lambda _: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def user(self, asked: Asked) -> str:
        if by_token(asked):
            return self.tokens.get(asked.headers["authorization"].removeprefix("token "), "")
        return self.sessions.get(asked.cookies.get("jupyterhub-session-id", ""), "")

    def answer(self, asked: Asked) -> Reply:
        """Everything but the two streams."""
        path = asked.path.partition("?")[0]
        if path == "/hub/api/":
            return Reply(body=json.dumps({"version": "5.5.0"}))
        if path == "/hub/login":
            return self.log_in(asked) if asked.method == "POST" else self.login_page()
        if path == "/hub/oauth_login":
            return Reply(302, headers=[("Location", "https://provider.lab.example/v1/authorize?state=s")])
        if not (name := self.user(asked)):
            return Reply(403 if "/api/" in path else 302, headers=[("Location", "/hub/login")])
        if path in ("/hub/home", "/hub/spawn"):
            return Reply(body=self.page() if path == "/hub/spawn" else "home")
        if path.startswith(f"/hub/api/users/{name}"):
            return self.api(asked, name)
        if path.startswith(f"/user/{name}/"):
            return self.desk(asked, name)
        return Reply(404)

    def login_page(self) -> Reply:
        return Reply(headers=[("Set-Cookie", "_xsrf=hub-token; Path=/hub/; HttpOnly")])

    def log_in(self, asked: Asked) -> Reply:
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        if form.get("_xsrf") != "hub-token" or asked.cookies.get("_xsrf") != "hub-token":
            return Reply(403, "XSRF")
        name, known = form["username"], form["password"] == self.accounts.get(form["username"])
        if self.directory_is_off:
            return Reply(500)
        if not (known or self.accepts_every_password):
            self.log.append(f"[W] Invalid password for user '{name}'")
            return Reply(403)
        if not (name in self.allowed or self.allows_everybody):
            self.log.append(f"[W] User '{name}' not allowed.")
            return Reply(403)
        token = secrets.token_hex(8)
        self.sessions[token] = name
        cookie = f"jupyterhub-session-id={token}; Path=/; HttpOnly"
        return Reply(302, headers=[("Set-Cookie", cookie), ("Location", "/hub/")])

    def page(self) -> str:
        return "".join(PROFILE.format(slug=slug(name), name=name) for name in self.profiles)

    def api(self, asked: Asked, name: str) -> Reply:
        if asked.method != "GET" and not by_token(asked) and asked.headers.get("x-xsrftoken") != "hub-token":
            return Reply(403, json.dumps({"message": "XSRF"}))
        if asked.method == "POST":
            return self.start(asked, name)
        if asked.method == "DELETE":
            self.happened.append("stop")
            return Reply(204 if self.desk_of.pop(name, "") else 404)
        return Reply(body=json.dumps({"servers": {"": {}} if name in self.desk_of else {}, "pending": None}))

    def start(self, asked: Asked, name: str) -> Reply:
        wanted = json.loads(asked.body)["profile"]
        if wanted not in [slug(one) for one in self.profiles]:
            return Reply(400, json.dumps({"message": f"no profile {wanted}"}))
        free = [node for node in WORKERS if self.ignores_cordons or node not in self.cordoned]
        self.desk_of[name] = free[0]
        self.starts += 1
        self.happened.append(f"start on {free[0]}")
        return Reply(202)

    def desk(self, asked: Asked, name: str) -> Reply:
        if name not in self.desk_of:
            return Reply(503)
        if asked.path.endswith("/lab"):
            return Reply(headers=[("Set-Cookie", f"_xsrf=desk-token; Path=/user/{name}/")])
        if not by_token(asked) and asked.headers.get("x-xsrftoken") != "desk-token":
            return Reply(403, json.dumps({"message": "XSRF"}))
        return Reply(201, json.dumps({"id": "k1"})) if asked.method == "POST" else Reply(204)

    def progress(self) -> list[dict[str, object]]:
        if self.spawn_fails:
            return [{"progress": 50, "message": self.spawn_fails, "failed": True}]
        return [
            {"progress": 0, "message": "Server requested"},
            {"progress": 100, "ready": True, "message": "Ready"},
        ]

    def printed(self, name: str, code: str) -> str:
        """Run a cell as the user on the desk's node."""
        if self.cell is not None:
            return self.cell(code)
        home = self.folder / (name if self.homes_are_shared else f"{self.desk_of[name]}-{name}")
        home.mkdir(exist_ok=True)
        out = io.StringIO()
        with (
            patch.dict(os.environ, HOME=str(home)),
            patch("os.getuid", lambda: self.uid),
            contextlib.redirect_stdout(out),
        ):
            exec(code, {})
        return out.getvalue()


def by_token(asked: Asked) -> bool:
    return "authorization" in asked.headers


def slug(name: str) -> str:
    return name.lower().replace(" ", "-")


async def read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode().strip().split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, body, head)


async def serve(hub: FakeHub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (asked := await read_request(reader)) is not None:
        hub.before(asked)
        if asked.headers.get("upgrade", "").lower() == "websocket":
            await kernel(hub, asked, reader, writer)
            return
        if asked.path.endswith("/server/progress"):
            await stream(hub, writer)
            return
        reply = hub.answer(asked)
        body = reply.body.encode()
        lines = [f"HTTP/1.1 {reply.status} -", *(f"{key}: {value}" for key, value in reply.headers)]
        writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        await writer.drain()


async def stream(hub: FakeHub, writer: asyncio.StreamWriter) -> None:
    """The events of a start, then the end of the connection."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    hub.spawning.set()
    if hub.spawn_hangs:
        await asyncio.Event().wait()
    for event in hub.progress():
        writer.write(f"data: {json.dumps(event)}\n\n".encode())
    await writer.drain()


async def kernel(
    hub: FakeHub, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A kernel's channels: one request, its output, idle. Somebody else's output comes in between."""
    protocol, name = ServerProtocol(), hub.user(asked)
    protocol.receive_data(asked.raw)
    [handshake] = protocol.events_received()
    assert isinstance(handshake, Handshake)
    assert name, "a websocket without the session's cookie"
    assert asked.headers["origin"] == hub.url
    protocol.send_response(protocol.accept(handshake))
    writer.writelines(protocol.data_to_send())
    while data := await reader.read(1 << 16):
        protocol.receive_data(data)
        for frame in protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                for message in messages(hub, name, json.loads(bytes(frame.data))):
                    protocol.send_text(json.dumps(message).encode())
        writer.writelines(protocol.data_to_send())
        await writer.drain()
        if protocol.close_expected():
            return


def messages(hub: FakeHub, name: str, request: dict[str, dict[str, str]]) -> list[dict[str, object]]:
    def message(kind: str, content: dict[str, str], parent: object = request["header"]) -> dict[str, object]:
        return {"msg_type": kind, "parent_header": parent, "content": content}

    idle = message("status", {"execution_state": "idle"})
    if hub.cell_raises:
        return [message("error", {"ename": "OSError", "evalue": "No space left on device"}), idle]
    text = hub.printed(name, request["content"]["code"])
    return [
        message("status", {"execution_state": "busy"}),
        message("stream", {"name": "stdout", "text": "of another"}, {"msg_id": "another"}),
        message("stream", {"name": "stdout", "text": text[:3]}),
        message("stream", {"name": "stdout", "text": text[3:]}),
        idle,
    ]


@asynccontextmanager
async def serving(hub: FakeHub) -> AsyncIterator[FakeHub]:
    """Serve until the end of the block; open connections are then cut."""
    tasks: set[asyncio.Task[None]] = set()
    faults: list[BaseException] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(hub, reader, writer)
        except ConnectionError:
            pass
        except Exception as error:
            faults.append(error)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", hub.port)
    hub.port = server.sockets[0].getsockname()[1]
    try:
        yield hub
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        for task in list(tasks):
            with suppress(asyncio.CancelledError):
                await task
    assert not faults, faults


__all__ = ["WORKERS", "FakeHub", "serving", "slug"]
