"""A host over SSH as `HostWriter`: questions of one turn go out together, changes run detached on the host.

May not decide what to ask or change, and knows nothing of steps. `open_sessions` is the way in.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, strftime
from types import TracebackType
from typing import Self, TypeAlias

from deskside.errors import Busy, StepFailed, Unreachable
from deskside.hosts import remote
from deskside.hosts.asking import Asking, Raw
from deskside.hosts.layers import Layers, Part, Staged, gaps
from deskside.hosts.lease import Lease, Owner, locked_by
from deskside.hosts.login import Lost, Target
from deskside.hosts.pins import Pins
from deskside.hosts.ssh import Link
from deskside.model.action import Action, ActionResult
from deskside.model.artifact import Locked
from deskside.site.schema import HostSpec, Site
from deskside.site.secrets import located, without_secrets

Fetch: TypeAlias = Callable[[Locked], Awaitable[Path]]
"""A local file with the artifact's bytes."""
Report: TypeAlias = Callable[[str], None]
"""Told what a host is doing or waiting for."""

AWAY_SECONDS = 90.0
"""How long a host may stay away during a run before it is given up."""
QUESTION_SECONDS = 120.0
FULL_HINT = "make room, then run the same command again: ssh {name} 'df -h; df -i'"


def silent(_: str) -> None:
    """Nobody listens."""


class Session(Asking):
    """A connected host. Counts its `round_trips` and `writes`, for tests and measurements."""

    def __init__(
        self, link: Link, fetch: Fetch, report: Report = silent, layers: Layers | None = None
    ) -> None:
        super().__init__(link.target.name)
        self._link, self._fetch, self._report = link, fetch, report
        self._layers, self._staged = layers or Layers(), Staged()
        self._sending: dict[str, asyncio.Lock] = {}
        self._lease: Lease | None = None
        self.writes = 0
        """Runs that changed, or may have changed, the host."""

    @property
    def round_trips(self) -> int:
        """How often the host was asked, or something was begun there, so far."""
        return self._link.round_trips

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; questions that wait are given up, detached runs go on."""
        self.give_up_asking()
        if self._lease is not None:
            await self._lease.release()
        await self._link.close()

    async def hold(self, owner: Owner) -> None:
        """Be the only one to change this host until closed (F7). Raises Locked, Unreachable."""
        self._lease = Lease(self._link, owner)
        await self._lease.take()

    async def answers_to(self, queries: Sequence[Raw]) -> Sequence[Raw]:
        """One script for all questions; asked again once when the connection is cut."""
        timeouts = [value for query in queries if isinstance(value := query.get("timeout"), int | float)]
        limit = QUESTION_SECONDS + sum(timeouts)
        try:
            async with asyncio.timeout(limit):
                found = (await self._repeated(lambda: self._link.ask(queries, self._heard))).get("answers")
        except TimeoutError:
            raise Unreachable(f"{self.name} did not answer within {limit:.0f} s") from None
        if not isinstance(found, list) or len(found) != len(queries):
            raise StepFailed(f"the program of deskside on {self.name} gave an answer that is none")
        return found

    async def _repeated(self, ask: Callable[[], Awaitable[Raw]]) -> Raw:
        """Ask; once more on a new connection when the old one is gone. Only for what changes nothing."""
        try:
            return await ask()
        except Lost:
            await self._link.open()
        try:
            return await ask()
        except Lost as error:
            raise Unreachable(f"{self.name} was lost while it was asked: {error}") from None

    def _heard(self, message: Raw) -> None:
        if isinstance(message.get("progress"), str):
            self._report(without_secrets(str(message["progress"])))

    async def perform(
        self, actions: Sequence[Action], *, title: str, deadline: float
    ) -> tuple[ActionResult, ...]:
        """Carry out actions in order in one detached run, which ends by `deadline` (seconds).

        The run outlives the connection and is joined again. Raises StepFailed, Busy or Unreachable; Locked,
        before anything is done, when another run holds the host.
        """
        if self._lease is not None:
            self._lease.check()
        self.writes += 1
        run = f"{strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        lease = self._lease.owner.run if self._lease is not None else ""
        payload = {"mode": "perform", "run": run, "title": title, "deadline": deadline, "lease": lease}
        whole = remote.request({**payload, "actions": [action.wire() for action in actions]})
        answer = await self._joined(whole, remote.request({**payload, "rejoin": True}), deadline)
        if isinstance(holder := answer.get("held"), dict):
            raise locked_by(holder, self.name)
        if "refused" in answer:
            raise StepFailed(f"{title} on {self.name} could not start: {answer['refused']}")
        result = answer.get("result")
        if not isinstance(result, dict):
            raise StepFailed(
                f"{title} on {self.name}: how it ended is not known, its run {run} left no result",
                hint="run the same command again: it looks at the host first",
            )
        return self._results(result, title)

    async def reconnect(self) -> None:
        """Log in anew; raises Unreachable, and keeps the old connection then."""
        try:
            await self._link.renew()
        except Lost as error:
            raise Unreachable(f"{self.name} ({self._link.target.address}) does not answer: {error}") from None

    async def _joined(self, whole: bytes, rejoin: bytes, deadline: float) -> Raw:
        """The answer of a run, over as many connections as it takes."""
        started, end = False, monotonic() + deadline + 60

        def listen(message: Raw) -> None:
            nonlocal started
            started = started or "started" in message
            self._heard(message)

        while True:
            try:
                return await self._link.converse(rejoin if started else whole, listen)
            except Lost as error:
                self._report(f"the connection was lost ({error}); the work goes on there, connecting again")
            await self._returned(min(end, monotonic() + AWAY_SECONDS))

    async def _returned(self, end: float) -> None:
        """Wait until the host answers again. Raises Unreachable when it does not in time."""
        while True:
            try:
                await self._link.reopen()
                return
            except Lost as error:
                if monotonic() > end:
                    raise Unreachable(
                        f"{self.name} was lost during a run and does not come back: {error}",
                        hint="the work may go on there; run the same command again once the host answers",
                    ) from None
            await asyncio.sleep(1.0)

    def _results(self, result: Raw, title: str) -> tuple[ActionResult, ...]:
        failed, found = result.get("failed"), result.get("results")
        if isinstance(failed, dict):
            detail = "\n".join(str(failed[key]) for key in ("stdout", "stderr") if failed.get(key))
            kind = Busy if failed.get("busy") else StepFailed
            message = without_secrets(f"{title} on {self.name}: {failed.get('error')}")
            raise kind(message, detail=without_secrets(detail), hint=self._hint(failed))
        return tuple(_result(item) for item in (found if isinstance(found, list) else []))

    def _hint(self, failed: Raw) -> str:
        return FULL_HINT.format(name=self.name) if failed.get("full") else ""

    async def settle(self, deadline: float = 600.0) -> None:
        """Wait until runs that an earlier deskside began here have ended. Raises Busy when they do not."""
        request = remote.request({"mode": "settle", "deadline": deadline})
        answer = await self._repeated(lambda: self._link.converse(request, self._heard))
        if answer.get("going"):
            raise Busy(f"{self.name} is still at work for an earlier run: {answer.get('titles')}")

    async def send(self, artifact: Locked) -> None:
        """Bring an artifact into the host's staging folder, verified there; nothing when it is there."""
        if artifact.pulled:
            return
        async with self._sending.setdefault(artifact.sha256, asyncio.Lock()):
            path = await self._fetch(artifact)
            parts = await self._layers.of(artifact, path)
            answer = await self._sent(artifact, path, parts)
            if parts and "error" in answer and not answer.get("full"):
                # What the host had was not what it seemed.
                answer = await self._sent(artifact, path, ())
            if "error" not in answer:
                self._staged.add(artifact.sha256, parts)
        if "error" in answer:
            hint = FULL_HINT.format(name=self.name) if answer.get("full") else ""
            raise StepFailed(
                f"{artifact.name} could not be sent to {self.name}: {answer['error']}", hint=hint
            )

    async def _sent(self, artifact: Locked, path: Path, parts: Sequence[Part]) -> Raw:
        """The host's answer, over as many connections as it takes."""
        size = (await asyncio.to_thread(path.stat)).st_size
        kind = str(artifact.artifact.kind)
        wanted = {"mode": "receive", "sha256": artifact.sha256, "size": size, "kind": kind}
        request = remote.request({**wanted, "parts": self._staged.wire(parts)})
        sizes = {part.offset: part.size for part in parts}
        for attempt in (1, 2, 3):
            held: dict[int, int] = {}

            def listen(message: Raw, held: dict[int, int] = held) -> None:
                said = message.get("held")
                held.update({at: sizes[at] for at in said if at in sizes} if isinstance(said, list) else {})
                self._heard(message)

            try:
                return await self._link.converse(
                    request, listen, self._blocks(path, artifact.name, size, held)
                )
            except Lost as error:
                if attempt == 3:
                    raise Unreachable(f"{self.name} was lost while {artifact.name} was sent") from error
                await self._link.open()
        raise AssertionError("unreachable")

    async def _blocks(
        self, path: Path, name: str, size: int, held: Mapping[int, int]
    ) -> AsyncIterator[bytes]:
        """All of a file but the parts that the host holds: known once the first block is wanted."""
        self.writes += 1
        sent, said, whole = 0, monotonic(), size - sum(held.values())
        for begin, end in gaps(size, held):
            async for block in self._layers.blocks(path, begin, end):
                yield block
                sent += len(block)
                if monotonic() - said > 2:
                    said = monotonic()
                    self._report(f"sending {name}: {sent >> 20} of {whole >> 20} MiB")


def _result(item: object) -> ActionResult:
    raw = item if isinstance(item, dict) else {}
    status, seconds = raw.get("status"), raw.get("seconds")
    return ActionResult(
        status if isinstance(status, int) else None,
        without_secrets(str(raw.get("stdout") or "")),
        without_secrets(str(raw.get("stderr") or "")),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


@dataclass(frozen=True)
class Opened:
    """The hosts of a site: those that answered, and why the others did not."""

    sessions: Mapping[str, Session]
    unreachable: Mapping[str, Unreachable] = field(default_factory=dict)

    async def hold(self, owner: Owner) -> None:
        """Be the only one to change these hosts until they are closed (F7). Raises Locked.

        The first one is taken before the others, so that of two who begin at once one goes on. A host that is
        lost meanwhile is not waited for.
        """
        sessions = list(self.sessions.values())
        for session in sessions[:1]:
            await _held(session, owner)
        await asyncio.gather(*(_held(session, owner) for session in sessions[1:]))

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(session.close() for session in self.sessions.values()))


async def _held(session: Session, owner: Owner) -> None:
    with suppress(Unreachable):  # the next question to it says so
        await session.hold(owner)


async def connect(
    spec: HostSpec,
    site: Site,
    pins: Path,
    fetch: Fetch,
    report: Report = silent,
    *,
    folder: Path = Path(),
    bootstrap: bool = False,
    layers: Layers | None = None,
) -> Session:
    """A session of one host. `folder` is the site file's; `bootstrap` lets a missing python3 be installed.

    Raises Unreachable.
    """
    keys = tuple(located(folder, path) for path in site.admin.keys)
    target = Target(spec.name, str(spec.address), site.admin.user, site.admin.port, keys, bootstrap)
    link = Link(target, Pins(pins))
    await link.open()
    return Session(link, fetch, report, layers)


async def open_sessions(
    site: Site,
    pins: Path,
    fetch: Fetch,
    report: Callable[[str, str], None] = lambda _host, _text: None,
    *,
    folder: Path = Path(),
    bootstrap: bool = False,
    only: Sequence[str] = (),
) -> Opened:
    """Sessions of all managed hosts (or of `only`) at once; `report(host, text)`."""
    specs = [spec for spec in site.hosts if spec.managed and (not only or spec.name in only)]
    layers = Layers()

    async def opened(spec: HostSpec) -> Session | Unreachable:
        def told(text: str) -> None:
            report(spec.name, text)

        try:
            return await connect(
                spec, site, pins, fetch, told, folder=folder, bootstrap=bootstrap, layers=layers
            )
        except Unreachable as error:
            return error

    found = dict(zip((spec.name for spec in specs), await asyncio.gather(*map(opened, specs)), strict=True))
    return Opened(
        {name: item for name, item in found.items() if isinstance(item, Session)},
        {name: item for name, item in found.items() if isinstance(item, Unreachable)},
    )
