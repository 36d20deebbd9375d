"""Questions to a host: what is asked in one turn of the event loop goes out together, equal ones once.

Shared by the real session and the fake, so that a test counts round trips as a host would see them. May not
know how a host is reached.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar, overload

from deskside.errors import StepFailed, Unreachable
from deskside.model.query import Query, ReadOutput
from deskside.site.faults import shorten
from deskside.site.secrets import Secret, without_secrets

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Raw: TypeAlias = Mapping[str, object]

QUIET_TURNS = 6
"""Turns of the event loop without a new question before the questions go out: nested gathers join."""


class Asking:
    """The reading half of a host. Who inherits fills `answers_to`."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The host's name in the site file."""
        self._asked: dict[str, tuple[Raw, asyncio.Future[Raw]]] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._batches: set[asyncio.Task[None]] = set()

    async def answers_to(self, queries: Sequence[Raw]) -> Sequence[Raw]:
        """For each question `{"ok": answer}` or `{"error": sentence}`, in order."""
        raise NotImplementedError

    def give_up_asking(self) -> None:
        """Cancel what is on its way."""
        for task in [*self._batches, *([self._flushing] if self._flushing else [])]:
            task.cancel()

    @overload
    async def read(self, first: Query[A], /) -> A: ...
    @overload
    async def read(self, first: Query[A], second: Query[B], /) -> tuple[A, B]: ...
    @overload
    async def read(self, first: Query[A], second: Query[B], third: Query[C], /) -> tuple[A, B, C]: ...

    async def read(
        self, first: Query[A], second: Query[B] | None = None, third: Query[C] | None = None, /
    ) -> A | tuple[A, B] | tuple[A, B, C]:
        """Answers in the order of the questions; a single question gives its answer itself."""
        one = self._ask(first)
        two = self._ask(second) if second is not None else None
        three = self._ask(third) if third is not None else None
        if second is None or two is None:
            return await self._answer_to(first, one)
        if third is None or three is None:
            return await self._answer_to(first, one), await self._answer_to(second, two)
        return (
            await self._answer_to(first, one),
            await self._answer_to(second, two),
            await self._answer_to(third, three),
        )

    async def read_all(self, queries: Sequence[Query[A]], /) -> tuple[A, ...]:
        """Several questions. Raises Unreachable, or StepFailed when a question itself failed."""
        asked = [(query, self._ask(query)) for query in queries]
        return tuple([await self._answer_to(query, future) for query, future in asked])

    async def _answer_to(self, query: Query[A], future: asyncio.Future[Raw]) -> A:
        # Others may wait for the same answer.
        found = await asyncio.shield(future)
        raw = found.get("ok")
        if not isinstance(raw, dict):
            error = without_secrets(str(found.get("error")))
            raise StepFailed(f"{self.name} could not answer {_shown(query)}: {error}")
        if isinstance(query, ReadOutput) and isinstance(query.stdin, Secret):
            # A program that was given a secret may repeat it when it complains.
            raw = {key: without_secrets(text) if isinstance(text, str) else text for key, text in raw.items()}
        return query.answer(raw)

    def _ask(self, query: Query[A]) -> asyncio.Future[Raw]:
        wire = query.wire()
        key = json.dumps(wire, sort_keys=True)
        if key not in self._asked:
            self._asked[key] = (wire, asyncio.get_running_loop().create_future())
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return self._asked[key][1]

    async def _flush(self) -> None:
        known, quiet = 0, 0
        while quiet < QUIET_TURNS:
            quiet = quiet + 1 if len(self._asked) == known else 0
            known = len(self._asked)
            await asyncio.sleep(0)
        asked, self._asked, self._flushing = self._asked, {}, None
        batch = asyncio.create_task(self._answer(list(asked.values())))
        self._batches.add(batch)
        batch.add_done_callback(self._batches.discard)

    async def _answer(self, asked: Sequence[tuple[Raw, asyncio.Future[Raw]]]) -> None:
        try:
            answers = await self.answers_to([wire for wire, _ in asked])
        except BaseException as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(_for_others(error))
                    # Whoever asked may have gone away; nobody else has to hear of it.
                    future.exception()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(asked, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _shown(query: Query[A]) -> str:
    wire = query.wire()
    what = wire.get("path") or wire.get("argv") or wire.get("name") or ""
    words = " ".join(map(str, what)) if isinstance(what, tuple | list) else str(what)
    return f"{wire['op']} {' '.join(shorten(words, 80).split())}".strip()


def _for_others(error: BaseException) -> BaseException:
    """The error for those who asked; who cancelled us did not mean them."""
    return Unreachable("the session was closed") if isinstance(error, asyncio.CancelledError) else error
