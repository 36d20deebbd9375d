"""A place where runs can be disturbed: two fake hosts behind SSH servers, their site, and controllers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deskside.catalog import make_platform
from deskside.engine.graph import make_graph
from deskside.engine.planner import Plan, make_plan
from deskside.model.facts import Facts
from deskside.model.platform import Given
from deskside.model.query import ReadFacts
from deskside.site.load import load
from deskside.site.trains import load_train
from deskside.store.lock import LOCK_NAME, read_lock

from .controller import Death, Nursery, ended
from .served import Servers
from .world import EVERY, addresses, bare_hosts, done_by, environment, state_of, steps_named, write_site

PATIENCE = 60.0
"""Seconds within which a controller ends; one that does not hangs."""


@dataclass(frozen=True)
class Now:
    """What hosts have come to."""

    state: str
    done: dict[str, int]


@dataclass(frozen=True)
class Undisturbed:
    """A run from bare hosts that nobody disturbed."""

    steps: Sequence[str]
    end: Now
    boundaries: int
    """Of its journal."""
    seconds: float
    """From the first login to the end."""


@dataclass
class Place:
    """The hosts are bare until something runs."""

    folder: Path
    net: str
    site: Path
    servers: Servers
    nursery: Nursery
    steps: Sequence[str] = EVERY

    @property
    def output(self) -> Path:
        """What controllers printed."""
        return self.folder / "output"

    def make_bare(self, steps: Sequence[str] = EVERY) -> None:
        """Other hosts, as their installer left them; runs to come have these steps."""
        self.steps = steps
        self.servers.hosts = bare_hosts(self.net, read_lock(self.folder / LOCK_NAME))
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        self.output.write_text("")

    async def run(
        self, *, death: Death | None = None, until: Coroutine[object, object, object] | None = None
    ) -> int:
        """The status of `apply --yes`, which is killed once `until` is over."""
        words = ("-f", str(self.site), "apply", "--yes")
        self.servers.began.clear()
        process = self.nursery.start(words, environment(self.folder), self.output, self.steps, death)
        end = asyncio.ensure_future(ended(process))
        if until is not None:
            over = asyncio.ensure_future(until)
            await asyncio.wait((over, end), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            if not end.done():
                process.kill()
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(end)
        except TimeoutError:
            process.kill()
            await end
            raise AssertionError(f"a controller hangs: {words}\n{self.output.read_text()}") from None

    async def after(self, seconds: float) -> None:
        """So long after the next login."""
        await self.servers.began.wait()
        await asyncio.sleep(seconds)

    async def settled(self) -> None:
        """Wait until the hosts have ended what they began."""
        await self.servers.quiet()
        for served in self.servers.hosts.values():
            await served.ended()
            assert not served.refused, served.refused[0][:500]

    async def undisturbed(self, steps: Sequence[str]) -> Undisturbed:
        """What a run from bare hosts comes to."""
        self.make_bare(steps)
        loop = asyncio.get_running_loop()
        run = asyncio.ensure_future(self.run())
        with suppress(TimeoutError):
            await asyncio.wait_for(self.servers.began.wait(), PATIENCE)
        began = loop.time()
        assert await run == 0, self.output.read_text()
        seconds = loop.time() - began
        await self.settled()
        (journal,) = (self.folder / "state").rglob("journal.jsonl")
        marks = ('{"event": "RunStarted"', '{"event": "RunEnded"', '{"event": "NodeChanged"')
        boundaries = sum(line.startswith(marks) for line in journal.read_text().splitlines())
        return Undisturbed(steps, self.now(), boundaries, seconds)

    def now(self) -> Now:
        """How the hosts are."""
        return Now(state_of(self.servers.hosts), done_by(self.servers.hosts))

    async def plan(self) -> Plan:
        """What a plan would change now, asked of the hosts themselves."""
        site = load(self.site).site
        hosts = {name: served.host for name, served in self.servers.hosts.items()}
        facts = {name: Facts.from_raw(await host.read(ReadFacts(("/",)))) for name, host in hosts.items()}
        lock = read_lock(self.folder / LOCK_NAME)
        platform = make_platform(site, load_train(site.train), lock, facts, Given())
        return await make_plan(make_graph(steps_named(platform, self.steps), platform), site, platform, hosts)


@asynccontextmanager
async def place_in(folder: Path, net: str, nursery: Nursery) -> AsyncIterator[Place]:
    """A place, with servers on the loopback that end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    async with Servers(folder, addresses(net)).listening() as servers:
        place = Place(folder, net, write_site(folder, net, servers.port, servers.key), servers, nursery)
        place.make_bare()
        yield place
