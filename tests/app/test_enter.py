from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.test_first_look import machine
from deskside.app import enter as entering
from deskside.app.enter import Entered, Login, Person, Wanted, enter, enter_all
from deskside.app.handover import PLACE, UNFINISHED
from deskside.app.workspace import Workspace
from deskside.errors import DesksideError, LoginRefused, PythonMissing, StepFailed
from deskside.hosts.fake import FakeHost
from deskside.hosts.session import Session
from deskside.model.query import Output
from deskside.site.secrets import Secret
from steps.sites import make_site

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


class Door:
    """Stands where `adopt` connects: who gets in by what, and what was said."""

    def __init__(self, host: FakeHost, *users: str) -> None:
        self.host, self.users, self.said = host, set(users), list[str]()
        self.password: Secret | None = None
        self.bare: set[str] = set()
        self.tried: list[tuple[str, Login]] = []

    async def session(self, _: Workspace, wanted: Wanted, login: Login) -> Session:
        self.tried.append((wanted.spec.name, login))
        if login.user not in self.users or login.password != self.password:
            raise LoginRefused(f"{wanted.spec.name} refuses the login of {login.user}")
        if wanted.spec.name in self.bare and not login.bootstrap:
            raise PythonMissing(f"{wanted.spec.name} has no python3")
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
    monkeypatch.setattr(entering, "new_session", door.session)
    monkeypatch.setattr(entering, "UNDO_PAUSES", (0.0, 0.0, 0.0))
    return door


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A site with a key of its own."""
    (tmp_path / "id.pub").write_text(f"{KEY}\n")
    site = make_site(admin={"user": "ops", "keys": ["id.pub"]})
    return cast(Workspace, SimpleNamespace(site=site, folder=tmp_path, pins=tmp_path / "known_hosts"))


async def entered(door: Door, place: Workspace) -> Entered:
    return await enter(place, Wanted(place.site.host("ws1"), "10.20.0.11"), Login("ubuntu"), door.report)


@dataclass
class Answers(Person):
    """What a person says, and what was asked."""

    secret: Secret | None = None
    may_install: bool = False
    asked: list[str] = field(default_factory=list)

    def password(self, user: str) -> Secret | None:
        self.asked.append(f"password of {user}")
        return self.secret

    def python(self, hosts: Sequence[str]) -> bool:
        self.asked.append(f"python3 on {', '.join(hosts)}")
        return self.may_install


async def all_entered(
    door: Door, place: Workspace, answers: Answers
) -> tuple[Login, dict[str, Entered | DesksideError]]:
    wanted = [Wanted(place.site.host(name), str(place.site.host(name).address)) for name in ("ws1", "ws2")]
    return await enter_all(place, wanted, Login("ubuntu"), answers, door.report)


async def test_a_takeover_that_did_not_end_is_undone_before_any_look(door: Door, place: Workspace) -> None:
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
    found = await entered(door, place)
    assert found.user == "ubuntu", "the account that we came in by is gone"
    assert looked == [0]
    assert door.said == ["ws1: an earlier takeover did not end: the host is put back first"]


async def test_an_undo_that_does_not_end_is_said(door: Door, place: Workspace) -> None:
    door.host.answer(*UNFINISHED.argv, says=f"{PLACE}-undoing\n")
    door.host.effect("sh", "-ec", does="")
    with pytest.raises(StepFailed, match="undoing it does not either") as refused:
        await entered(door, place)
    assert "journalctl" in refused.value.hint


async def test_a_machine_without_an_unfinished_takeover_is_not_touched(door: Door, place: Workspace) -> None:
    await entered(door, place)
    assert door.host.writes == 0
    assert not door.said


async def test_a_password_is_asked_for_once_and_python3_after_it(door: Door, place: Workspace) -> None:
    door.users, door.password, door.bare = {"ubuntu"}, Secret("hunter2"), {"ws2"}
    answers = Answers(Secret("hunter2"), may_install=True)
    login, found = await all_entered(door, place, answers)
    assert answers.asked == ["password of ubuntu", "python3 on ws2"]
    assert (login.password, login.bootstrap) == (Secret("hunter2"), True)
    assert all(isinstance(one, Entered) for one in found.values())
    assert not [name for name, tried in door.tried if tried.bootstrap and name == "ws1"], "it has python3"


async def test_without_leave_nothing_is_installed(door: Door, place: Workspace) -> None:
    door.bare = {"ws1"}
    answers = Answers()
    _, found = await all_entered(door, place, answers)
    assert answers.asked == ["python3 on ws1"]
    refused = found["ws1"]
    assert isinstance(refused, PythonMissing)
    wanted = "the same command with --yes installs it; or run on ws1: sudo apt-get install python3"
    assert refused.hint == wanted
    assert isinstance(found["ws2"], Entered)
    assert not [tried for _, tried in door.tried if tried.bootstrap]


async def test_who_cannot_be_asked_is_asked_once(door: Door, place: Workspace) -> None:
    door.users = set()
    answers = Answers()
    _, found = await all_entered(door, place, answers)
    assert answers.asked == ["password of ubuntu"]
    assert all(isinstance(one, LoginRefused) for one in found.values())
