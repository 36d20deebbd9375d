"""One step on one host, as an apply carries it out, without the steps before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deskside.app.workspace import Workspace
from deskside.catalog import make_platform
from deskside.hosts.session import Session, connect
from deskside.model.artifact import Locked
from deskside.model.facts import Facts
from deskside.model.query import ReadFacts
from deskside.model.resource import Change
from deskside.model.step import Step
from rack.platforms import OnRack


@asynccontextmanager
async def working_on(rack: OnRack, name: str) -> AsyncIterator[tuple[Workspace, Session]]:
    """The site of the rack, and a connection to one of its hosts that sends no artifact."""
    workspace = Workspace.open(rack.site_file)
    site = workspace.site

    async def nothing(_: Locked) -> Path:
        raise AssertionError("this step sends nothing")

    async with await connect(
        site.host(name), site, workspace.pins, nothing, folder=workspace.folder
    ) as session:
        yield workspace, session


def carried_out(rack: OnRack, name: str, step: Step) -> list[str]:
    """Bring a host to what a step wants; what was said of each change."""

    async def done() -> list[str]:
        async with working_on(rack, name) as (workspace, session):
            facts = Facts.from_raw(await session.read(ReadFacts(("/", "/var"))))
            made = make_platform(workspace.site, workspace.train, {}, {name: facts}, workspace.given())
            said = []
            for resource in step.resources(workspace.site, made, made.hosts[name]):
                change = await resource.plan(session)
                if isinstance(change, Change):
                    said.append(f"{change.subject}: {change.summary}\n{change.diff}")
                    await session.perform(change.actions, title=step.title, deadline=300)
            return said

    return asyncio.run(done())
