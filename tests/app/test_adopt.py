"""In which order machines are taken over."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import cast

import pytest

from deskside.app import adopt
from deskside.app.adopt import take_all_over
from deskside.app.enter import Entered, Login, Wanted
from deskside.app.workspace import Workspace
from deskside.errors import LoginRefused, StepFailed, Unreachable
from steps.sites import make_site

DHCP = {"provider": "dnsmasq", "on": "ws2", "range": "10.20.0.100-10.20.0.150"}


@pytest.mark.parametrize("fails", [False, True])
async def test_the_dhcp_host_is_first_and_the_others_go_on_without_it(fails: bool) -> None:
    network = make_site().network.model_dump(mode="json", exclude_none=True)
    site = make_site(network={**network, "dhcp": DHCP})
    names = ("ws1", "ws2", "ws3")
    entered = [cast(Entered, SimpleNamespace(name=name)) for name in names]
    began: list[str] = []
    together = asyncio.Barrier(2)

    async def take(one: Entered) -> tuple[str, ...]:
        began.append(one.name)
        if one.name != "ws2":
            await together.wait()
        elif fails:
            raise StepFailed("ws2 is as it was")
        return (f"{one.name} is done",)

    async with asyncio.timeout(5):
        done = await take_all_over(entered, site, take)
    assert began == ["ws2", "ws1", "ws3"]
    assert done["ws1"] == ("ws1 is done",)
    assert done["ws3"] == ("ws3 is done",)
    assert isinstance(done["ws2"], StepFailed) is fails


@pytest.mark.parametrize(
    ("answers", "patience", "asked"),
    [
        ([Unreachable("nobody listens"), Unreachable("nobody listens"), None], 5.0, 3),
        ([Unreachable("nobody listens"), None], -1.0, 1),
        ([LoginRefused("the key"), None], 5.0, 1),
    ],
)
async def test_a_server_that_reads_its_settings_is_asked_again_and_a_refusal_is_final(
    monkeypatch: pytest.MonkeyPatch, answers: list[Exception | None], patience: float, asked: int
) -> None:
    left = list(answers)

    async def new_session(*_: object) -> str:
        if (error := left.pop(0)) is not None:
            raise error
        return "in"

    monkeypatch.setattr(adopt, "new_session", new_session)
    monkeypatch.setattr(adopt, "RELOAD_SECONDS", patience)
    last = answers[asked - 1]
    with pytest.raises(type(last)) if last is not None else nullcontext():
        await adopt._once_it_listens(cast(Workspace, None), cast(Wanted, None), Login("ops"))
    assert len(answers) - len(left) == asked
