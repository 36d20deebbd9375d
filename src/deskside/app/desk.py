"""One user's desk on its way through the acceptance test: started, used, moved to another host, stopped."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from deskside.addons.desks import profile_list
from deskside.app.closed import cell_that_tries, closed_to_desks, judged
from deskside.app.hub import Choice, HubUser
from deskside.app.provider_login import borrowed, given_back
from deskside.errors import CheckFailed, DesksideError
from deskside.model.action import RunCommand
from deskside.model.query import ReadOutput
from deskside.resources.release import KUBECTL
from deskside.site.secrets import Secret

if TYPE_CHECKING:
    from deskside.app.verify import Acceptance

HUB_NAMESPACE = "jupyterhub"
PUT_BACK_SECONDS = 120.0


@dataclass
class Desk:
    """The user's desk on its way through the checks; what it changes is registered to be put back."""

    test: Acceptance
    user: HubUser
    put_back: AsyncExitStack
    choice: Choice | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    async def log_in(self, password: Secret) -> str:
        """The right password is accepted."""
        status = await self.user.log_in(password)
        if status != 302 or not await self.user.is_logged_in():
            raise CheckFailed(
                f"{self.user.name} may not log in (HTTP {status})",
                hint="wrong password, not in the allowed group, or no directory: run deskside check",
            )
        return f"{self.user.name} is logged in"

    async def borrow(self) -> str:
        """Instead of a log-in: the hub lends a token, and the provider still lets its person stay."""
        name = self.user.name
        lent = await borrowed(self.test.server, name)
        hint = "after half an hour it is worth nothing by itself"
        back = partial(given_back, self.test.server, name, lent)
        self.put_back.push_async_callback(self._shielded, back, hint)
        self.user.take(lent.token)
        if (status := await self.user.status()) != 200:
            raise CheckFailed(
                f"the provider does not let {name} stay, or cannot be asked (HTTP {status})",
                hint=f"let {name} log in with a browser: its page says what is wrong",
            )
        await self._stop_leftover()
        chosen = next(one for one in profile_list(self.test.site.notebooks.profiles) if one["default"])
        self.choice = Choice(str(chosen["slug"]), str(chosen["display_name"]))
        return f"the hub lends a token of {name}, and the provider lets {name} stay"

    async def profiles(self) -> str:
        """Every profile of the site file is offered, and nothing else."""
        await self._stop_leftover()
        offered = await self.user.profiles()
        wanted = [profile.name for profile in self.test.site.notebooks.profiles]
        missing = [name for name in wanted if name not in [choice.name for choice in offered]]
        if missing:
            raise CheckFailed(f"not offered: {', '.join(missing)}", hint="run: deskside plan")
        default = next(
            (profile.name for profile in self.test.site.notebooks.profiles if profile.default), wanted[0]
        )
        self.choice = next(choice for choice in offered if choice.name == default)
        return f"offered: {', '.join(choice.name for choice in offered)}"

    async def start(self) -> str:
        """A desk starts and answers."""
        assert self.choice is not None
        hint = f"stop the desk of {self.user.name} at {self.test.url}"
        self.put_back.push_async_callback(self._shielded, self.user.stop, hint)
        async with asyncio.timeout(self.test.site.notebooks.start_timeout + 60):
            await self.user.start(self.choice.slug, self.test.report)
        return f"{self.choice.name} runs on {await self._node()}"

    async def cell(self) -> str:
        """A kernel computes something that nobody could have written down before."""
        left, right = secrets.randbelow(10**6), secrets.randbelow(10**6)
        printed = await self.user.run_cell(f"import os\nprint({left} * {right}, os.getuid())")
        product, _, uid = printed.strip().partition(" ")
        if product != str(left * right):
            raise CheckFailed(f"{left} * {right} printed {printed.strip()!r}")
        if uid == "0":
            raise CheckFailed("the desk runs as root", hint="look at notebooks.values: singleuser.uid")
        return f"a cell ran (as uid {uid})"

    async def firewall(self) -> str:
        """Where it stands now, the desk reaches nothing that would let it pass for its host."""
        places = closed_to_desks(self.test.site)
        return judged(await self.user.run_cell(cell_that_tries(places)), places, await self._node())

    async def home(self) -> str:
        """A file in the home is there again after a restart on another host."""
        name = f".deskside-verify-{self.nonce}"
        written = await self.user.run_cell(_WRITE.format(name=name, nonce=self.nonce))
        if written.strip() != self.nonce:
            raise CheckFailed(f"the home could not be written: {written.strip()!r}")
        first = await self._node()
        workers = [host.name for host in self.test.site.workers]
        async with AsyncExitStack() as cordon:
            if len(workers) > 1:
                # Registered before it is done: a cordon that was cut off half-way may hold all the same.
                hint = f"run: kubectl uncordon {first}"
                cordon.push_async_callback(self._shielded, lambda: self._uncordon(first), hint)
                await self._cordon(first)
            await self.user.stop(self.test.report)
            assert self.choice is not None
            await self.user.start(self.choice.slug, self.test.report)
            second = await self._node()
            found = await self.user.run_cell(_READ.format(name=name))
        if found.strip() != self.nonce:
            raise CheckFailed(
                f"the file written on {first} is not in the home on {second}",
                hint="is the home mounted? run: deskside check",
            )
        if len(workers) > 1 and first == second:
            raise CheckFailed(
                f"the desk came back on {first}, which was cordoned", hint="run: deskside status"
            )
        return f"written on {first}, read on {second}"

    async def _stop_leftover(self) -> None:
        if await self.user.has_desk():
            raise CheckFailed(
                f"{self.user.name} has a desk already, and it is not this test's to stop",
                hint=f"stop it at {self.test.url}, or name another verify.user",
            )

    async def _node(self) -> str:
        argv = (
            *KUBECTL,
            "get",
            "pods",
            "-n",
            HUB_NAMESPACE,
            "-l",
            "component=singleuser-server",
            "-o",
            "json",
        )
        output = await self.test.server.read(ReadOutput(argv))
        if output.status != 0:
            raise CheckFailed(f"the cluster does not say where the desk runs: {output.stderr.strip()}")
        for pod in json.loads(output.stdout)["items"]:
            owner = pod["metadata"].get("annotations", {}).get("hub.jupyter.org/username")
            if owner == self.user.name and pod["status"].get("phase") == "Running":
                return str(pod["spec"]["nodeName"])
        raise CheckFailed(f"no running desk of {self.user.name} is known to the cluster")

    async def _cordon(self, node: str) -> None:
        self.test.report(f"keeping new desks off {node} for the test")
        await self._kubectl("cordon", node)

    async def _uncordon(self, node: str) -> None:
        await self._kubectl("uncordon", node)

    async def _kubectl(self, *words: str) -> None:
        title = f"kubectl {shlex.join(words)}"
        await self.test.server.perform([RunCommand((*KUBECTL, *words))], title=title, deadline=60)

    async def _shielded(self, put_back: Callable[[], Awaitable[None]], hint: str) -> None:
        # An interrupted test must still put things back: a second interruption ends this too. What cannot be
        # put back is a finding of its own, so that it hides no other.
        started = monotonic()
        try:
            async with asyncio.timeout(PUT_BACK_SECONDS):
                await asyncio.shield(asyncio.ensure_future(put_back()))
        except Exception as error:
            if not (isinstance(error, DesksideError | TimeoutError) or from_network(error)):
                raise
            self.test.not_put_back(f"{error or 'it took too long'}", hint, started)


def from_network(error: Exception) -> bool:
    """Whether an error is the network's, and so a finding and no fault of ours."""
    import httpx
    from websockets.exceptions import WebSocketException

    return isinstance(error, httpx.HTTPError | WebSocketException | OSError)


# The nonce is printed by the desk from the file itself, so that an echo of the code is no proof.
_WRITE = """
import pathlib
file = pathlib.Path.home() / {name!r}
for left in file.parent.glob(".deskside-verify-*"):
    left.unlink()
file.write_text({nonce!r})
print(file.read_text())
"""
_READ = """
import pathlib
file = pathlib.Path.home() / {name!r}
print(file.read_text() if file.exists() else "absent")
file.unlink(missing_ok=True)
"""
