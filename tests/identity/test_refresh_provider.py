"""Who may stay by the provider: the hub's own classes and database ask a small provider over TLS.

The provider is no more than two endpoints with written answers; the rack has a whole one, see
`tests/rack/test_whole_okta.py`.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from deskside.app.certificates import make_authority, make_leaf
from deskside.identity.okta import OKTA
from deskside.model.platform import Given
from deskside.site.secrets import Secret
from identity.realhub import Asked, asked_inside, free_port
from identity.test_okta import okta_site

PROGRAM = Path(__file__).parent / "at_hub/ask_provider.py"
CLIENT_SECRET = "a-secret-of-the-client"
SECONDS = 8
HANG_UP = 0
"""In the place of a status: no answer."""
CRYPT_KEY = "ab" * 32


@dataclass(frozen=True)
class Answer:
    """What an endpoint says."""

    status: int
    document: object = None
    challenge: str = ""


def tokens(access: str, refresh: str | None = None) -> Answer:
    found = {"access_token": access, "token_type": "Bearer", "scope": "openid groups"}
    return Answer(200, found if refresh is None else {**found, "refresh_token": refresh})


def person(name: str, *groups: str) -> Answer:
    return Answer(200, {"sub": "1", "preferred_username": name, "groups": list(groups)})


def refusal(code: str, status: int = 400) -> Answer:
    return Answer(status, {"error": code, "error_description": "Because."})


@dataclass
class Provider:
    """Answers by refresh token and by access token."""

    refreshing: dict[str, Answer] = field(default_factory=dict)
    people: dict[str, Answer] = field(default_factory=dict)
    issuer: str = ""
    ca: str = ""

    def of(self, path: str, headers: Mapping[str, str], body: str) -> Answer:
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if path.endswith("/v1/userinfo"):
            return self.people[headers["Authorization"].removeprefix("Bearer ")]
        assert path.endswith("/v1/token")
        assert form["grant_type"] == "refresh_token"
        if (form["client_id"], form["client_secret"]) != ("0oa1b2c3d4", CLIENT_SECRET):
            return refusal("invalid_client", 401)
        return self.refreshing.get(form["refresh_token"], refusal("invalid_grant"))


@contextmanager
def provider(folder: Path) -> Iterator[Provider]:
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            answer = found.of(self.path, dict(self.headers), body)
            if answer.status == HANG_UP:
                self.close_connection = True
                return
            text = answer.document if isinstance(answer.document, str) else json.dumps(answer.document)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            if answer.challenge:
                self.send_header("WWW-Authenticate", answer.challenge)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = with_tls(server.socket, folder)
    found.issuer = f"https://127.0.0.1:{server.server_port}/oauth2/default"
    found.ca = (folder / "ca.pem").read_text()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_tls(listening: Any, folder: Path) -> ssl.SSLSocket:
    make_authority("Test", folder / "ca.pem", folder / "ca.key")
    pair = make_leaf(folder / "ca.pem", folder / "ca.key", ("provider.lab.example",), "127.0.0.1")
    (folder / "leaf.pem").write_bytes(b"".join(pair))
    speaking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    speaking.load_cert_chain(folder / "leaf.pem")
    return speaking.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)


@dataclass(frozen=True)
class Found:
    """What came of one case."""

    answer: Any
    saved: Mapping[str, Any] | None
    said: str


def case(
    name: str, refresh: str | None = None, *, request: bool = False, **more: object
) -> dict[str, object]:
    """Somebody with a refresh token of their last log-in; with `state` something else was saved."""
    state = {"state": {"refresh_token": refresh}} if refresh else {}
    return {"name": name, "request": request, **state, **more}


def ask(hub: Asked, asked: Provider, *cases: Mapping[str, object], ca: str = "", **site: Any) -> list[Found]:
    given = Given(ca or asked.ca, client=Secret(CLIENT_SECRET))
    login = OKTA.hub_login(okta_site(**{"issuer": asked.issuer, **site}), given)
    secrets = {name: secret.reveal() for name, secret in login.secrets.items()}
    told = {
        "config": login.config,
        "code": login.code["10-deskside-provider"],
        "files": login.files,
        "environment": {**secrets, "JUPYTERHUB_CRYPT_KEY": CRYPT_KEY},
        "cases": cases,
    }
    return [Found(one["answer"], one["saved"], "\n".join(one["said"])) for one in hub.ask(told)]


pytestmark = [pytest.mark.rack, pytest.mark.timeout(300)]
HTML = "<html>Sorry</html>"
WELL = person("ann", "ai-users")
INVALID = 'Bearer error="invalid_token", error_description="The access token is revoked."'
TABLE: Sequence[tuple[str, Answer, Answer, object]] = (
    # Who, what the token endpoint says, what the provider then says of the person, who may stay.
    ("refused", refusal("invalid_grant"), WELL, False),
    ("denied", refusal("access_denied", 403), WELL, False),
    ("revoked", tokens("revoked"), Answer(401, "", INVALID), False),
    ("revoked-json", tokens("revoked-json"), Answer(401, {"error": "invalid_token"}), False),
    ("client", refusal("invalid_client", 401), WELL, True),
    ("grant", refusal("unauthorized_client"), WELL, True),
    ("later", refusal("temporarily_unavailable", 503), WELL, True),
    ("many", Answer(429, {"errorCode": "E0000047"}), WELL, True),
    ("fallen", Answer(500, HTML), WELL, True),
    ("page", Answer(200, HTML), WELL, True),
    ("list", Answer(400, ["invalid_grant"]), WELL, True),
    ("nothing", Answer(200, {}), WELL, True),
    ("hung", Answer(HANG_UP), WELL, True),
    ("plain-401", tokens("plain-401"), Answer(401, ""), True),
    ("forbidden", tokens("forbidden"), Answer(403, HTML), True),
    ("hung-later", tokens("hung-later"), Answer(HANG_UP), True),
    ("nameless", tokens("nameless"), Answer(200, {"sub": "1", "groups": ["ai-users"]}), True),
    ("renamed", tokens("renamed"), person("somebody", "ai-users"), False),
    ("outside", tokens("outside"), person("outside", "others"), False),
    ("groupless", tokens("groupless"), person("groupless"), False),
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as found:
        yield found


@pytest.fixture(scope="module")
def hub(hub_tree: Path) -> Iterator[Asked]:
    with asked_inside(hub_tree, PROGRAM) as found:
        yield found


def test_only_the_providers_no_puts_somebody_out(hub: Asked, asked: Provider) -> None:
    for name, first, then, _ in TABLE:
        asked.refreshing[f"old-{name}"] = first
        asked.people[name] = then
    found = ask(hub, asked, *(case(name, f"old-{name}") for name, *_ in TABLE))
    assert {name: one.answer for (name, *_), one in zip(TABLE, found, strict=True)} == {
        name: wanted for name, _, _, wanted in TABLE
    }
    lost = {"fallen", "page", "nothing", "hung", "later"}
    for (name, *_), one in zip(TABLE, found, strict=True):
        assert one.saved is not None
        assert one.saved["refresh_token"] == f"old-{name}"
        assert ("deskside_asked" in one.saved) == (name in lost), name
        assert one.said.count(f"{name} ") + one.said.count(f"{name}:") >= 1
        assert "Because" not in one.said


def test_who_may_stay_has_a_fresh_model_that_is_kept(hub: Asked, asked: Provider) -> None:
    asked.refreshing |= {"one": tokens("a", "two"), "two": tokens("a", "three"), "three": tokens("a", "")}
    asked.refreshing |= {"zoes": tokens("z")}
    asked.people |= {"a": person("eve", "ai-users", "others"), "z": person("zoe")}
    first, second, third, zoe = ask(
        hub, asked, case("eve", "one"), case("eve", request=True), case("eve"), case("zoe", "zoes")
    )
    for one, token in ((first, "two"), (second, "three"), (third, "three")):
        assert one.answer["name"] == "eve"
        assert one.answer["admin"] is False
        assert sorted(one.answer["groups"]) == ["ai-users", "others"]
        assert one.saved == one.answer["auth_state"]
        assert one.saved is not None
        assert one.saved["refresh_token"] == token
        assert one.saved["oauth_user"]["groups"] == ["ai-users", "others"]
        assert one.said == ""
    # An admin of the site file, in no group.
    assert (zoe.answer["name"], zoe.answer["admin"]) == ("zoe", True)


def test_a_new_refresh_token_is_kept_when_the_rest_fails(hub: Asked, asked: Provider) -> None:
    """The old one is worth nothing any more: with it the provider would refuse the person the next time."""
    asked.refreshing |= {"first": tokens("broken", "second"), "second": tokens("whole", "third")}
    asked.people |= {"broken": Answer(503, HTML), "whole": person("gus", "ai-users")}
    state = {"refresh_token": "first", "oauth_user": {"groups": ["ai-users"]}}
    failed, again = ask(hub, asked, case("gus", state=state), case("gus"))
    assert failed.answer is True
    assert failed.saved == {**state, "refresh_token": "second", "deskside_exchanges": True}
    assert again.answer["name"] == "gus"
    assert again.saved is not None
    assert again.saved["refresh_token"] == "third"


def test_a_refusal_after_an_answer_that_was_lost_says_nothing_about_the_person(
    hub: Asked, asked: Provider
) -> None:
    """The provider may have exchanged the token, and the new one never came."""
    asked.refreshing |= {"sent": Answer(HANG_UP)}
    (lost,) = ask(hub, asked, case("hal", "sent"))
    assert lost.answer is True
    asked.refreshing |= {"sent": refusal("invalid_grant")}
    stays, comes = (ask(hub, asked, case("hal", state=lost.saved, request=one))[0] for one in (False, True))
    assert (stays.answer, comes.answer) == (True, False), "the desk goes on, and hal has to log in again"
    assert "hal has to log in again" in stays.said
    # One that is still good is no harm, and the next refusal counts.
    asked.refreshing |= {"sent": tokens("h", "next")}
    asked.people |= {"h": person("hal", "ai-users")}
    (well,) = ask(hub, asked, case("hal", state=lost.saved))
    assert well.answer["name"] == "hal"
    (gone,) = ask(hub, asked, case("hal", state={**(well.saved or {}), "refresh_token": "no-more"}))
    assert gone.answer is False


def test_a_provider_that_exchanges_nothing_is_told_from_one_that_does(hub: Asked, asked: Provider) -> None:
    asked.refreshing |= {"lasting": tokens("l")}
    asked.people |= {"l": person("lee", "ai-users")}
    (same,) = ask(hub, asked, case("lee", "lasting"))
    assert same.saved is not None
    assert same.saved["deskside_exchanges"] is False
    asked.refreshing |= {"lasting": Answer(HANG_UP)}
    (lost,) = ask(hub, asked, case("lee", state=same.saved))
    asked.refreshing |= {"lasting": refusal("invalid_grant")}
    (gone,) = ask(hub, asked, case("lee", state=lost.saved))
    assert (lost.answer, gone.answer) == (True, False)


def test_who_never_logged_in_by_this_provider(hub: Asked, asked: Provider) -> None:
    old = {"access_token": "of another time"}
    found = ask(
        hub,
        asked,
        case("ivy"),
        case("ivy", request=True),
        case("jon", state=old),
        case("jon", request=True, state=old),
    )
    assert [one.answer for one in found] == [True, False, True, False]


def test_where_everybody_may_log_in_groups_do_not_matter(hub: Asked, asked: Provider) -> None:
    asked.refreshing |= {"kims": tokens("k")}
    asked.people |= {"k": person("kim")}
    kim, gone = ask(hub, asked, case("kim", "kims"), case("lea", "leas"), allow={"all": True})
    assert kim.answer["name"] == "kim"
    assert gone.answer is False


def test_a_provider_that_cannot_be_asked(hub: Asked, asked: Provider, tmp_path: Path) -> None:
    make_authority("Another", tmp_path / "ca.pem", tmp_path / "ca.key")
    (off,) = ask(hub, asked, case("ann", "x"), issuer=f"https://127.0.0.1:{free_port()}/oauth2/default")
    (strange,) = ask(hub, asked, case("ann", "x"), ca=(tmp_path / "ca.pem").read_text())
    assert (off.answer, strange.answer) == (True, True)
    assert "whether ann may stay is not known: it refuses connections" in off.said
    assert "whether ann may stay is not known: its certificate is not the one that is trusted" in strange.said
