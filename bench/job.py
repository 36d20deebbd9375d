"""The job of `peers/job.json` by Deskside's own resources and engine: the program that is measured.

    python -m bench.job SITE plan|apply

It has one step, and does what `deskside plan` and `deskside apply` do with theirs: connect to all hosts, ask
for facts, plan, and carry out; the checks of a site before a run are no part of the job, and are left out.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from deskside.app.workspace import Workspace
from deskside.catalog import load_plugins, make_platform
from deskside.engine.graph import make_graph
from deskside.engine.planner import make_plan
from deskside.garbage import collect_rarely
from deskside.hosts.session import open_sessions
from deskside.model.artifact import Locked
from deskside.model.facts import Facts
from deskside.model.platform import Given
from deskside.model.query import ReadFacts
from deskside.model.step import Step


def load_job() -> Step:
    """The job, loaded like plug-ins and with them."""
    load_plugins()
    from bench.items import job

    return job


async def nothing(_: Locked) -> Path:
    """The job sends no artifact."""
    raise AssertionError


async def main(path: Path, *, apply: bool) -> int:
    """Exit status: 0 nothing to do or done, 1 failed, 2 something to do."""
    workspace = Workspace.open(path)
    site = workspace.site
    opened = await open_sessions(site, workspace.pins, nothing, folder=workspace.folder)
    try:
        for error in opened.unreachable.values():
            raise error
        question = ReadFacts(("/",))
        asked = asyncio.gather(*(session.read(question) for session in opened.sessions.values()))
        raw, job = await asyncio.gather(asked, asyncio.to_thread(load_job))
        facts = {name: Facts.from_raw(one) for name, one in zip(opened.sessions, raw, strict=True)}
        platform = make_platform(site, workspace.train, {}, facts, Given())
        graph = make_graph([job], platform)
        plan = await make_plan(graph, site, platform, opened.sessions)
        if plan.empty or not apply:
            sys.stdout.write(f"{len(plan.nodes)} hosts, {'nothing' if plan.empty else 'something'} to do\n")
            return 0 if plan.empty else 2
        # As in the command line: what carries out is imported where it is needed.
        from deskside.engine.approval import Approval
        from deskside.engine.executor import execute
        from deskside.engine.journal import Journal

        with Journal(workspace.state) as journal:
            result = await execute(
                graph,
                site,
                platform,
                opened.sessions,
                approval=Approval(),
                journal=journal,
                listener=lambda event: None,
                cancel=asyncio.Event(),
            )
        if result.error is not None:
            sys.stderr.write(f"{result.error.message}\n")
        return 0 if result.ok else 1
    finally:
        await opened.close()


if __name__ == "__main__":
    collect_rarely()
    raise SystemExit(asyncio.run(main(Path(sys.argv[1]), apply=sys.argv[2] == "apply")))
