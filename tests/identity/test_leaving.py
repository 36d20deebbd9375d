"""Who has left: how the hub sees it, whom it never puts out, and the program that puts people out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import pytest

from deskside.identity.hub_programs import hub_code
from deskside.identity.leaving import (
    PUT_OUT,
    UNKNOWN,
    forgetting_answer,
    forgetting_input,
    forgetting_program,
)
from identity.realhub import ADMINISTRATOR, LOCAL, TOKEN, Hub, free_port

FORGET: Any = ModuleType("forget")
exec(hub_code("api", "forget"), FORGET.__dict__)


@dataclass
class Api:
    """The hub's API as an HTTP server that answers each request as it is told, in turn."""

    answers: Mapping[str, list[tuple[int, object]]]
    """By method and path; the last one for ever."""
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        what = f"{handler.command} {handler.path.removeprefix('/hub/api/')}"
        self.asked.append(what)
        self.tokens.add(handler.headers["Authorization"])
        turns = self.answers[what]
        status, document = turns.pop(0) if len(turns) > 1 else turns[0]
        body = b"" if document is None else json.dumps(document).encode()
        handler.send_response(status)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def api(answers: Mapping[str, list[tuple[int, object]]]) -> Iterator[Api]:
    found = Api(answers)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            found.answer(self)

        do_DELETE = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/hub/api"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The function, which does not pause between two attempts, and has a proxy in its environment."""
    monkeypatch.setattr(FORGET, "PAUSE", 0.0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    found: Callable[..., str] = FORGET.forget
    return found


EVE = {"name": "eve", "servers": {}}
WITH_DESKS = {"name": "eve", "servers": {"": {"ready": True}, "big desk": {"ready": True}}}
GONE: tuple[int, object] = (404, {"status": 404})
BUSY: tuple[int, object] = (400, {"status": 400, "message": "eve's server is not stopped"})


def test_desks_are_stopped_before_the_person_is_deleted(forget: Callable[..., str]) -> None:
    answers: dict[str, list[tuple[int, object]]] = {
        "GET users/eve": [(200, WITH_DESKS)],
        "DELETE users/eve/servers/": [(204, None)],
        "DELETE users/eve/servers/big%20desk": [(202, None)],
        "DELETE users/eve": [(204, None)],
    }
    with api(answers) as hub:
        assert forget(hub.url, "secret", "eve") == FORGET.OUT
    assert hub.asked == list(answers)
    assert hub.tokens == {"token secret"}


def test_whom_the_hub_does_not_know(forget: Callable[..., str]) -> None:
    with api({"GET users/a%2Fb": [GONE]}) as hub:
        assert forget(hub.url, "secret", "a/b") == FORGET.UNKNOWN
    assert hub.asked == ["GET users/a%2Fb"]


def test_a_desk_that_is_starting_is_tried_again(forget: Callable[..., str]) -> None:
    answers: dict[str, list[tuple[int, object]]] = {
        "GET users/eve": [(200, WITH_DESKS), (200, WITH_DESKS), (200, EVE)],
        "DELETE users/eve/servers/": [BUSY, (202, None)],
        "DELETE users/eve/servers/big%20desk": [BUSY, (204, None)],
        "DELETE users/eve": [BUSY, BUSY, (204, None)],
    }
    with api(answers) as hub:
        assert forget(hub.url, "secret", "eve") == FORGET.OUT
    assert hub.asked.count("DELETE users/eve") == 3
    assert hub.asked.count("DELETE users/eve/servers/") == 2


def test_somebody_else_was_faster(forget: Callable[..., str]) -> None:
    with api({"GET users/eve": [(200, EVE)], "DELETE users/eve": [GONE]}) as hub:
        assert forget(hub.url, "secret", "eve") == FORGET.OUT
    with api({"GET users/eve": [(200, EVE), GONE], "DELETE users/eve": [BUSY]}) as hub:
        assert forget(hub.url, "secret", "eve") == FORGET.OUT


def test_it_ends_and_says_what_the_hub_answered(forget: Callable[..., str]) -> None:
    with (
        api({"GET users/eve": [(200, EVE)], "DELETE users/eve": [BUSY]}) as hub,
        pytest.raises(OSError, match="the hub answers 400"),
    ):
        forget(hub.url, "secret", "eve", 3)
    assert hub.asked.count("DELETE users/eve") == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_no_person_that_is_gone(forget: Callable[..., str], status: int) -> None:
    with (
        api({"GET users/eve": [(status, {})]}) as hub,
        pytest.raises(OSError, match=f"refuses Deskside's token .HTTP {status}."),
    ):
        forget(hub.url, "secret", "eve")
    assert len(hub.asked) == 1


def test_a_hub_that_is_not_there(forget: Callable[..., str]) -> None:
    with pytest.raises(OSError, match="refused"):
        forget(f"http://127.0.0.1:{free_port()}/hub/api", "secret", "eve")


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_who_is_refused_is_out_and_all_others_stay(hub: Hub) -> None:
    stay = {"ann": True, "bob": "error", "cyd": "silence", "dan": None, "eva": {"name": "eva"}, "fay": 0}
    hub.add(*stay, "eve", LOCAL)
    hub.open_desk("eve")
    hub.open_desk("bob")
    theirs, anns = hub.token_of("eve"), hub.token_of("ann")
    hub.answers({**stay, "eve": False, LOCAL: False})
    hub.log.wait("eve left the directory, and was put out")
    assert hub.log.count("stopped the desk of eve") == 1
    assert not hub.knows(theirs)
    hub.look("ann")
    assert hub.names() == {*stay, LOCAL}
    assert hub.knows(anns)
    assert hub.log.count("stopped the desk of bob") == 0
    assert hub.log.count(f"asked about {LOCAL}") == 0
    hub.log.wait("Whether bob is still there is not known: LookupError")
    hub.log.wait("Whether cyd is still there is not known: TimeoutError")


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_a_directory_that_knows_nobody_any_more_puts_nobody_out(hub: Hub) -> None:
    everybody = {"ann", "bob", "eve"}
    words = "The directory seems to know nobody any more ("
    hub.add(*everybody, LOCAL)
    hub.answers(dict.fromkeys(everybody, False))
    hub.log.wait(words, hub.log.count(words) + 2)
    assert hub.names() == {*everybody, LOCAL}
    # An admin is let in by name, so that one who stays says nothing about the directory.
    hub.add(ADMINISTRATOR)
    hub.log.wait(words, hub.log.count(words) + 2)
    assert hub.names() == {*everybody, LOCAL, ADMINISTRATOR}
    hub.answers({"ann": True, "bob": False, "eve": False})
    hub.look("ann")
    assert hub.names() == {"ann", LOCAL, ADMINISTRATOR}


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_the_only_person_can_leave(hub: Hub) -> None:
    hub.add("ann", LOCAL)
    hub.answers({"ann": False})
    hub.log.wait("ann left the directory, and was put out")
    assert hub.names() == {LOCAL}


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_the_program_puts_people_out_with_the_rights_that_it_has(hub: Hub) -> None:
    hub.add("ann", "eve", "bob")
    hub.open_desk("eve")
    theirs = hub.token_of("eve")
    told = forgetting_answer(hub.run(forgetting_program(), forgetting_input(["eve", "nobody", "bob"])))
    assert told == {"eve": PUT_OUT, "nobody": UNKNOWN, "bob": PUT_OUT}
    assert hub.names() == {"ann"}
    assert not hub.knows(theirs)
    assert hub.ask("GET", "/users", TOKEN).status_code == 403


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_the_program_says_of_each_person_why_nothing_was_done(hub: Hub) -> None:
    hub.add("ann", "eve")
    told = forgetting_answer(hub.run(forgetting_program(), forgetting_input(["ann", "eve"]), "wrong"))
    assert set(told) == {"ann", "eve"}
    assert all("refuses Deskside's token" in said for said in told.values())
    assert hub.names() == {"ann", "eve"}
