"""In which order machines are taken over."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import cast

import pytest

from deskside.app import adopt
from deskside.app.adopt import take_all_over
from deskside.app.enter import Entered, Wanted
from deskside.app.workspace import Workspace
from deskside.errors import StepFailed, Unreachable
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
    ("answers", "patience", "ends", "asked"),
    [
        ([Unreachable("nobody listens"), ["password"], []], 5.0, None, 3),
        ([Unreachable("nobody listens"), []], -1.0, Unreachable, 1),
        ([["password"], []], -1.0, StepFailed, 1),
    ],
)
async def test_a_server_that_reads_its_settings_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Exception | list[str]],
    patience: float,
    ends: type[Exception] | None,
    asked: int,
) -> None:
    left = list(answers)

    async def other_ways_in(*_: object) -> list[str]:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(adopt, "_other_ways_in", other_ways_in)
    monkeypatch.setattr(adopt, "RELOAD_SECONDS", patience)
    wanted = cast(Wanted, SimpleNamespace(spec=SimpleNamespace(name="ws1")))
    with pytest.raises(ends) if ends is not None else nullcontext():
        await adopt._password_refused(cast(Workspace, None), wanted, "installer")
    assert len(answers) - len(left) == asked
