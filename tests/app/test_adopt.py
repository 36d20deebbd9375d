"""In which order machines are taken over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from deskside.app.adopt import take_all_over
from deskside.app.enter import Entered
from deskside.errors import StepFailed
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
