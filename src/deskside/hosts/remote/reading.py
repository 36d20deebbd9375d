"""Reading mode: questions in, answers out, as few programs as possible. Remote program; reads only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from deskside.hosts.remote.core import GROUPS, MODES, SINGLE, TOGETHER, QuestionFailed, Raw, finish, text_of

SLOW = ("output", "tls", "cluster", "facts", "unit")
AT_ONCE = 8


def guarded(make: Callable[[], object]) -> Raw:
    """An answer as `ok`, or what went wrong as `error`: one bad question spoils no other."""
    try:
        return {"ok": make()}
    except QuestionFailed as failed:
        return {"error": str(failed)}
    except OSError as error:
        return {"error": f"{error.filename or 'the question'}: {error.strerror or error}"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def answer_together(op: str, queries: Sequence[Mapping[str, object]]) -> list[Raw]:
    """Answers of one kind; when they fail together, each is asked alone to find the one at fault."""
    found = guarded(lambda: TOGETHER[op](queries))
    answers = found.get("ok")
    if isinstance(answers, list):
        return [{"ok": answer} for answer in answers]
    if len(queries) == 1:
        return [found]
    return [answer_together(op, [query])[0] for query in queries]


def answer_group(op: str, queries: Sequence[Mapping[str, object]]) -> list[Raw]:
    """Answers to questions of one kind, in their order."""
    if op in TOGETHER:
        return answer_together(op, queries)
    if op not in SINGLE:
        return [{"error": f"this host cannot answer questions of kind {op!r}"} for _ in queries]
    return [guarded(lambda query=query: SINGLE[op](query)) for query in queries]  # type: ignore[misc]


def grouped(queries: Sequence[Mapping[str, object]]) -> list[tuple[str, list[int]]]:
    """Places of the questions that are answered together: those of one kind, slow ones each alone."""
    groups: dict[str, list[int]] = {}
    alone: list[tuple[str, list[int]]] = []
    for place, query in enumerate(queries):
        op = text_of(query, "op")
        op = GROUPS.get(op, op)
        if op in SLOW and op not in TOGETHER:
            alone.append((op, [place]))
        else:
            groups.setdefault(op, []).append(place)
    return [*alone, *groups.items()]


def answers_to(queries: Sequence[Mapping[str, object]]) -> list[Raw]:
    """All answers in order; what waits for a program waits beside the others."""
    answers: list[Raw] = [{"error": "not answered"} for _ in queries]
    gate = threading.Semaphore(AT_ONCE)

    def work(op: str, places: Sequence[int]) -> None:
        with gate:
            found = answer_group(op, [queries[place] for place in places])
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer

    threads = []
    for op, places in grouped(queries):
        if op in SLOW:
            threads.append(threading.Thread(target=work, args=(op, places)))
            threads[-1].start()
        else:
            work(op, places)
    for thread in threads:
        thread.join()
    return answers


def read_mode(payload: Mapping[str, object]) -> None:
    """Mode `read`: answer all questions."""
    queries = payload.get("queries")
    wanted = [query for query in queries if isinstance(query, dict)] if isinstance(queries, list) else []
    finish({"answers": answers_to(wanted)})


MODES["read"] = read_mode
