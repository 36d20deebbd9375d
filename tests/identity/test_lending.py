"""The token that a real hub lends to the acceptance test: of one person, for a desk, and taken back."""

from __future__ import annotations

import pytest

from deskside.errors import CheckFailed
from deskside.identity.lending import (
    lending_answer,
    lending_input,
    lending_program,
    lending_scopes,
    taken_back,
)
from identity.realhub import LENDER, TOKEN, Hub


def borrowed(hub: Hub, name: str, token: str = TOKEN) -> tuple[str, str]:
    lent = lending_answer(name, hub.run(lending_program(), lending_input(name), token))
    assert lent.token.reveal() not in repr(lent)
    return lent.token.reveal(), lent.id


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_it_is_good_for_one_persons_desk_and_nothing_else(hub: Hub) -> None:
    hub.add(LENDER, "bob")
    token, number = borrowed(hub, LENDER)
    assert hub.ask("GET", f"/users/{LENDER}", token).json()["name"] == LENDER
    assert hub.ask("POST", f"/users/{LENDER}/server", token).status_code == 201
    assert hub.ask("DELETE", f"/users/{LENDER}/server", token).status_code == 204
    for method, path in (
        ("GET", "/users/bob"),
        ("POST", "/users/bob/server"),
        ("GET", "/users"),
        ("DELETE", f"/users/{LENDER}"),
        ("POST", f"/users/{LENDER}/tokens"),
    ):
        assert hub.ask(method, path, token).status_code in (403, 404), path
    taken_back(LENDER, hub.run(lending_program(), lending_input(LENDER, number)))
    assert hub.ask("GET", f"/users/{LENDER}", token).status_code == 403
    taken_back(LENDER, hub.run(lending_program(), lending_input(LENDER, number)))


@pytest.mark.rack
@pytest.mark.timeout(300)
def test_nobody_elses_token_is_lent(hub: Hub) -> None:
    hub.add("bob")
    with pytest.raises(CheckFailed, match="HTTP 403"):
        borrowed(hub, "bob")
    with pytest.raises(CheckFailed, match="does not know ann"):
        borrowed(hub, LENDER)
    with pytest.raises(CheckFailed, match="HTTP 403"):
        borrowed(hub, LENDER, "wrong")


def test_an_answer_that_is_none_is_no_token() -> None:
    for printed in ("", "deskside ", 'deskside {"token": "", "id": ""}', 'deskside {"token": 1, "id": ""}'):
        with pytest.raises(CheckFailed, match="no answer"):
            lending_answer("ann", printed)
        with pytest.raises(CheckFailed, match="no answer"):
            taken_back("ann", printed)
    assert lending_scopes("ann") == ("tokens!user=ann",)
