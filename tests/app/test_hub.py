"""The hub's client does what a browser does, against a FAKE hub that is strict about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.fakehub import FakeHub, serving
from deskside.app.hub import Choice, HubUser
from deskside.errors import CheckFailed
from deskside.site.secrets import Secret

pytestmark = pytest.mark.timeout(60)
RIGHT, WRONG = Secret("right"), Secret("wrong")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[FakeHub]:
    made = FakeHub(tmp_path, {"ann": "right", "bob": "of bob"}, {"ann"}, ("Small desk", "Large desk"))
    async with serving(made) as found:
        yield found


@pytest.fixture
async def ann(hub: FakeHub) -> AsyncIterator[HubUser]:
    async with HubUser(hub.url, "ann") as user:
        assert await user.log_in(RIGHT) == 302
        yield user


async def test_who_may_log_in(hub: FakeHub) -> None:
    for name, password, status in (("ann", RIGHT, 302), ("ann", WRONG, 403), ("bob", Secret("of bob"), 403)):
        async with HubUser(hub.url, name) as user:
            assert await user.version() == "5.5.0"
            assert not await user.is_logged_in()
            assert await user.log_in(password) == status
            assert await user.is_logged_in() == (status == 302)


async def test_profiles_are_those_of_the_page_in_its_order(ann: HubUser) -> None:
    assert await ann.profiles() == (Choice("small-desk", "Small desk"), Choice("large-desk", "Large desk"))


async def test_a_desk_starts_tells_how_and_stops(hub: FakeHub, ann: HubUser) -> None:
    told: list[str] = []
    assert not await ann.has_desk()
    await ann.start("small-desk", told.append)
    assert told == ["Server requested", "Ready"]
    assert await ann.has_desk()
    await ann.stop()
    assert not await ann.has_desk()
    await ann.stop()
    assert hub.happened == ["start on ws1", "stop", "stop"]


async def test_a_refused_start_says_what_the_hub_said(ann: HubUser) -> None:
    with pytest.raises(CheckFailed, match=r"HTTP 400 \(no profile huge\)"):
        await ann.start("huge", print)


async def test_a_failed_start_says_what_the_hub_said(hub: FakeHub, ann: HubUser) -> None:
    hub.spawn_fails = "Insufficient memory"
    with pytest.raises(CheckFailed, match="did not start: Insufficient memory"):
        await ann.start("small-desk", print)


async def test_a_stream_that_ends_early_is_no_start(
    hub: FakeHub, ann: HubUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeHub, "progress", lambda _: [{"message": "Server requested"}])
    with pytest.raises(CheckFailed, match="stopped telling"):
        await ann.start("small-desk", print)


async def test_a_cell_prints_its_own_output_only(ann: HubUser) -> None:
    await ann.start("small-desk", print)
    assert await ann.run_cell("print(6 * 7)\nprint('end')") == "42\nend\n"


async def test_a_cell_that_raises_is_said(hub: FakeHub, ann: HubUser) -> None:
    await ann.start("small-desk", print)
    hub.cell_raises = True
    with pytest.raises(CheckFailed, match="OSError: No space left on device"):
        await ann.run_cell("print(1)")


async def test_without_a_desk_there_is_no_kernel(ann: HubUser) -> None:
    with pytest.raises(CheckFailed, match="no kernel"):
        await ann.run_cell("print(1)")


async def test_a_kernel_that_says_nothing_is_not_waited_for_ever(
    ann: HubUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fakehub.messages", lambda *_: [])
    await ann.start("small-desk", print)
    with pytest.raises(TimeoutError):
        await ann.run_cell("print(1)", seconds=0.3)
