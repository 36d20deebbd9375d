"""plan() and apply(): values in, values out. Asking a person and showing things are the caller's.

async with proposed(workspace, store, report) as proposal:     # two rounds a host, nothing written
    ...                                                        # show it, ask
    result = await carry_out(proposal, approval, listener, cancel)
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deskside.app.checks import SILENT, look_around
from deskside.app.prepare import Prepared, Report, prepared
from deskside.app.workspace import Workspace
from deskside.catalog import steps_for
from deskside.engine.graph import Graph, make_graph
from deskside.engine.planner import Plan, make_plan
from deskside.errors import CheckFailed, DesksideError, Locked
from deskside.model.event import Listener, RunEnded, RunStarted
from deskside.model.finding import Finding
from deskside.store.store import Store

if TYPE_CHECKING:
    # What carries out is imported where it is needed: a plan is quicker without it.
    from deskside.engine.agreement import Agreement
    from deskside.engine.approval import Approval
    from deskside.engine.outcome import RunResult
    from deskside.hosts.lease import Owner


@dataclass(frozen=True)
class Proposal:
    """What was found and what would change: everything that a person needs to say yes."""

    workspace: Workspace
    prepared: Prepared
    findings: tuple[Finding, ...]
    graph: Graph
    plan: Plan
    run: str = ""
    """Id of the run for which the hosts are held."""

    @property
    def refusal(self) -> DesksideError | None:
        """Why apply may not start, or None. A silent worker refuses nothing, a silent server does."""
        servers = {spec.name for spec in self.workspace.site.servers}
        for name, error in self.prepared.silent.items():
            if name in servers:
                return error
        refusing = [finding for finding in self.findings if finding.refuses and finding.check != SILENT]
        if not refusing:
            return None
        first, more = refusing[0], len(refusing) - 1
        others = f" (and {more} more)" if more else ""
        return CheckFailed(f"{first.subject}: {first.message}{others}", hint=first.hint)

    @property
    def silent_error(self) -> DesksideError | None:
        """The reason of the first host that could not be worked on."""
        return next(iter(self.prepared.silent.values()), None)


@asynccontextmanager
async def proposed(
    workspace: Workspace,
    store: Store,
    report: Report,
    *,
    owner: Owner | None = None,
    write_lock: bool = False,
) -> AsyncIterator[Proposal]:
    """Look at every host and plan. With an `owner`, the hosts are held for it (see `prepared`).

    Raises what `prepared` raises, and DesksideError for steps that do not fit together.
    """
    async with prepared(workspace, store, report, owner=owner, write_lock=write_lock) as found:
        graph = make_graph(steps_for(found.platform), found.platform)
        # Both ask in the same turns, so that checks cost no round trip of their own.
        plan, findings = await asyncio.gather(
            make_plan(graph, workspace.site, found.platform, found.sessions),
            look_around(workspace, found),
        )
        yield Proposal(workspace, found, findings, graph, plan, owner.run if owner else "")


async def carry_out(
    proposal: Proposal,
    approval: Approval,
    listener: Listener,
    cancel: asyncio.Event,
    agreement: Agreement | None = None,
) -> RunResult:
    """Make it so. Raises Locked when another run of this site goes on; a failed node is in the result."""
    from deskside.engine.executor import execute
    from deskside.engine.journal import Journal

    workspace, found = proposal.workspace, proposal.prepared
    with only_run(workspace), Journal(workspace.state, proposal.run) as journal:
        return await execute(
            proposal.graph,
            workspace.site,
            found.platform,
            found.sessions,
            approval=approval,
            journal=journal,
            listener=listener,
            cancel=cancel,
            agreement=agreement,
        )


def new_owner(command: str) -> Owner:
    """Who holds the hosts for a run that begins now."""
    from deskside.engine.journal import make_run_id
    from deskside.hosts.lease import Owner

    return Owner(make_run_id(), command)


def record_nothing(workspace: Workspace, command: str) -> None:
    """Note that a run found nothing to do: one that was killed before it has been finished by its hosts.

    Raises Locked when another run of this site goes on.
    """
    from deskside.engine.journal import Journal

    with only_run(workspace), Journal(workspace.state) as journal:
        journal(RunStarted(journal.run, command))
        journal(RunEnded(journal.run, ok=True, log=str(journal.log)))


@contextmanager
def only_run(workspace: Workspace) -> Iterator[None]:
    """Hold the site on this machine. Raises Locked naming the process that does; a dead one holds nothing."""
    workspace.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(workspace.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 64).decode(errors="replace").strip() or "unknown"
            raise Locked(
                f"another run on {workspace.site.name} goes on (process {holder} on this machine)",
                hint="wait for it; nothing was changed",
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)
