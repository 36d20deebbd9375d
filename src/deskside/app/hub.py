"""A user's way through JupyterHub's public interface: log in, pick a desk, run a cell.

It does what a browser does, with the same cookies and the same forms, over the address that users have; it
holds no administrator's token and knows nothing of the cluster. Where nobody can log in without a browser, it
does what a script of the person's would do, with a token of the person's own.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookiejar import Cookie
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from deskside.errors import CheckFailed
from deskside.site.secrets import Secret

if TYPE_CHECKING:
    import httpx
    from websockets.asyncio.client import connect

REQUEST_SECONDS = 30.0
# The hub puts time and type before what the cluster said: `2026-11-23T23:19:34Z [Normal] Container created`.
_EVENT_PREFIX = re.compile(r"^\S+Z \[\w+\] ")


@dataclass(frozen=True)
class Choice:
    """A profile as the hub offers it on its spawn page."""

    slug: str
    name: str


class _Profiles(HTMLParser):
    """Collects the profile radio buttons of the spawn page and the bold name that follows each."""

    def __init__(self) -> None:
        super().__init__()
        self.choices: list[Choice] = []
        self._slug = ""
        self._bold = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "input" and values.get("name") == "profile":
            self._slug = values.get("value") or ""
        self._bold = tag in ("strong", "b", "h3")

    def handle_data(self, data: str) -> None:
        if self._slug and self._bold and data.strip():
            self.choices.append(Choice(self._slug, data.strip()))
            self._slug = ""


class HubUser:
    """One person at the hub. Use as an async context manager; leaving closes the connections."""

    def __init__(self, url: str, name: str) -> None:
        import httpx

        self.name = name
        self._url = url.rstrip("/")
        self._proof: dict[str, str] = {}
        self._client: httpx.AsyncClient = httpx.AsyncClient(base_url=self._url, timeout=REQUEST_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def log_in(self, password: Secret) -> int:
        """Fill in the log-in form; returns the HTTP status of the answer: 302 means accepted."""
        await self._get("/hub/login")
        form = {"username": self.name, "password": password.reveal(), "_xsrf": self._xsrf("/hub/")}
        answer = await self._client.post("/hub/login", data=form)
        return answer.status_code

    async def log_in_page(self) -> tuple[int, str]:
        """Where the log-in button of a provider leads: HTTP status and place; the place empty without one."""
        answer = await self._get("/hub/oauth_login")
        return answer.status_code, answer.headers.get("location", "")

    async def version(self) -> str:
        """The hub's version; raises httpx.HTTPError when it does not answer."""
        answer = await self._get("/hub/api/")
        answer.raise_for_status()
        return str(answer.json()["version"])

    async def is_logged_in(self) -> bool:
        """Whether the hub knows this client as the user."""
        return (await self._get("/hub/home")).status_code == 200

    def take(self, token: Secret) -> None:
        """Be the user by a token from now on."""
        self._proof = {"Authorization": f"token {token.reveal()}"}
        self._client.headers.update(self._proof)

    async def status(self) -> int:
        """HTTP status of what the hub says about the user; 200 when it knows who is asking."""
        return (await self._call("GET", f"/hub/api/users/{self.name}")).status_code

    async def has_desk(self) -> bool:
        """Whether the user has a desk that runs, starts or stops."""
        await self._arrive()
        model = await self._user()
        return bool(model.get("servers") or model.get("pending"))

    async def profiles(self) -> tuple[Choice, ...]:
        """The desks that the spawn page offers; empty when the hub has no list."""
        page = await self._get("/hub/spawn", follow=True)
        parser = _Profiles()
        parser.feed(page.text)
        return tuple(parser.choices)

    async def start(self, slug: str, report: Callable[[str], None]) -> None:
        """Start a desk and wait until it answers. Raises CheckFailed with what the hub last said."""
        await self._arrive()
        answer = await self._call("POST", f"/hub/api/users/{self.name}/server", json={"profile": slug})
        if answer.status_code not in (201, 202):
            raise CheckFailed(f"the hub refused to start a desk for {self.name}: {_said(answer)}")
        async for message, failed, ready in self._progress():
            report(message)
            if failed:
                raise CheckFailed(f"the desk of {self.name} did not start: {message}")
            if ready:
                return
        raise CheckFailed(f"the hub stopped telling how the desk of {self.name} starts")

    async def stop(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Stop the desk, and wait until it is gone; nothing when there is none."""
        import asyncio

        await self._arrive()
        answer = await self._call("DELETE", f"/hub/api/users/{self.name}/server")
        if answer.status_code == 404:
            return
        while (model := await self._user()).get("servers") or model.get("pending"):
            report("waiting for the desk to stop")
            await asyncio.sleep(0.5)

    async def run_cell(self, code: str, seconds: float = 60.0) -> str:
        """Run `code` in a new kernel of the desk, over the websocket; returns what it printed.

        Raises CheckFailed when the cell raised, TimeoutError when nothing came for `seconds`.
        """
        prefix = f"/user/{self.name}"
        await self._get(f"{prefix}/lab", follow=True)
        answer = await self._call(
            "POST", f"{prefix}/api/kernels", json={"name": "python3"}, xsrf=f"{prefix}/"
        )
        if answer.status_code != 201:
            raise CheckFailed(f"the desk of {self.name} started no kernel: {_said(answer)}")
        kernel = str(answer.json()["id"])
        try:
            return await self._execute(f"{prefix}/api/kernels/{kernel}/channels", code, seconds)
        finally:
            await self._call("DELETE", f"{prefix}/api/kernels/{kernel}", xsrf=f"{prefix}/")

    async def _execute(self, path: str, code: str, seconds: float) -> str:
        import asyncio

        request = _execute_request(code)
        text: list[str] = []
        async with self._socket(path) as socket, asyncio.timeout(seconds):
            await socket.send(json.dumps(request))
            while True:
                message = json.loads(await socket.recv())
                if message.get("parent_header", {}).get("msg_id") != request["header"]["msg_id"]:
                    continue
                content, kind = message.get("content", {}), message.get("msg_type")
                if kind == "stream":
                    text.append(content.get("text", ""))
                elif kind == "error":
                    raise CheckFailed(f"the cell failed: {content.get('ename')}: {content.get('evalue')}")
                elif kind == "status" and content.get("execution_state") == "idle":
                    return "".join(text)

    def _socket(self, path: str) -> connect:
        from websockets.asyncio.client import connect

        url = self._url.replace("http", "ws", 1) + path
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies_for(path))
        headers = {"Cookie": cookies, "Origin": self._url, **self._proof}
        return connect(url, additional_headers=headers, max_size=None, proxy=None)

    async def _progress(self) -> AsyncIterator[tuple[str, bool, bool]]:
        path = f"/hub/api/users/{self.name}/server/progress"
        headers = {"Accept": "text/event-stream", "Referer": f"{self._url}/hub/home"}
        async with self._client.stream("GET", path, headers=headers, timeout=None) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    event = json.loads(line.removeprefix("data:"))
                    said = _EVENT_PREFIX.sub("", str(event.get("message") or ""))
                    yield said, bool(event.get("failed")), bool(event.get("ready"))

    async def _arrive(self) -> None:
        """Get the cookies that the hub's interface wants of a browser."""
        if not self._proof:
            await self._get("/hub/home", follow=True)

    async def _user(self) -> dict[str, object]:
        answer = await self._call("GET", f"/hub/api/users/{self.name}")
        found: dict[str, object] = answer.json() if answer.status_code == 200 else {}
        return found

    async def _get(self, path: str, follow: bool = False) -> httpx.Response:
        return await self._client.get(path, follow_redirects=follow)

    async def _call(
        self, method: str, path: str, json: object | None = None, xsrf: str = "/hub/"
    ) -> httpx.Response:
        headers = {"X-XSRFToken": self._xsrf(xsrf), "Referer": f"{self._url}/hub/home"}
        return await self._client.request(method, path, json=json, headers=headers)

    def _cookies_for(self, path: str) -> list[Cookie]:
        found = [cookie for cookie in self._client.cookies.jar if path.startswith(cookie.path)]
        return sorted(found, key=lambda cookie: -len(cookie.path))

    def _xsrf(self, path: str) -> str:
        return next((cookie.value or "" for cookie in self._cookies_for(path) if cookie.name == "_xsrf"), "")


def _execute_request(code: str) -> dict[str, Any]:
    header: dict[str, object] = {
        "msg_id": uuid.uuid4().hex,
        "username": "verify",
        "session": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "version": "5.3",
    }
    content: dict[str, object] = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}


def _said(answer: httpx.Response) -> str:
    try:
        message = answer.json().get("message", "")
    except ValueError:
        message = ""
    return f"HTTP {answer.status_code}" + (f" ({message})" if message else "")
