from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.test_first_look import machine
from deskside.app import adopt
from deskside.app.adopt import Login, Wanted, enter
from deskside.app.handover import PLACE, UNFINISHED
from deskside.app.workspace import Workspace
from deskside.errors import LoginRefused, StepFailed
from deskside.hosts.fake import FakeHost
from deskside.hosts.session import Session
from deskside.model.query import Output
from deskside.site.schema import Site
from steps.sites import make_site


class Door:
    """Stands where `adopt` connects: who gets in, and whom it asked."""

    def __init__(self, host: FakeHost, *users: str) -> None:
        self.host, self.users, self.said = host, set(users), list[str]()

    async def session(self, _: Workspace, wanted: Wanted, login: Login) -> Session:
        if login.user not in self.users:
            raise LoginRefused(f"{wanted.spec.name} refuses the login of {login.user}")
        return cast(Session, self.host)

    def report(self, host: str, line: str) -> None:
        self.said.append(f"{host}: {line}")


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    """A fresh machine that the installer's user and the site's account get into."""

    async def close() -> None:
        pass

    host = machine()
    host.close = close  # type: ignore[attr-defined]  # only a connection can be closed
    host.answer(*UNFINISHED.argv, says=Output(2, "", ""))
    door = Door(host, "ops", "ubuntu")
    monkeypatch.setattr(adopt, "_session", door.session)
    monkeypatch.setattr(adopt, "UNDO_PAUSES", (0.0, 0.0, 0.0))
    return door


def workspace(site: Site | None = None) -> Workspace:
    return cast(Workspace, SimpleNamespace(site=site or make_site(), folder=Path(), pins=Path()))


async def entered(door: Door, site: Site | None = None, address: str = "10.20.0.11") -> adopt.Entered:
    place = workspace(site)
    return await enter(place, Wanted(place.site.host("ws1"), address), Login("ubuntu"), door.report)


async def test_a_takeover_that_did_not_end_is_undone_before_anything_is_looked_at(door: Door) -> None:
    kept = [f"{PLACE}\n"]
    looked: list[int] = []

    def undo(_: FakeHost, argv: tuple[str, ...], __: str) -> Output:
        assert PLACE in argv
        kept.clear()
        door.users = {"ubuntu"}
        return Output(0, "", "")

    def accounts(*_: object) -> Output:
        looked.append(len(kept))
        return Output(0, "", "")

    door.host.answer(*UNFINISHED.argv, says=lambda *_: Output(0, "".join(kept), ""))
    door.host.answer("getent", "passwd", says=accounts)
    door.host.effect("sh", "-ec", does=undo)
    found = await entered(door)
    assert found.user == "ubuntu", "the account that we came in by is gone"
    assert looked == [0]
    assert door.said == ["ws1: an earlier takeover did not end: the host is put back first"]


async def test_an_undo_that_does_not_end_is_said(door: Door) -> None:
    door.host.answer(*UNFINISHED.argv, says=f"{PLACE}-undoing\n")
    door.host.effect("sh", "-ec", does="")
    with pytest.raises(StepFailed, match="undoing it does not either") as refused:
        await entered(door)
    assert "journalctl" in refused.value.hint


async def test_a_machine_without_an_unfinished_takeover_is_not_touched(door: Door) -> None:
    await entered(door)
    assert door.host.writes == 0
    assert not door.said
