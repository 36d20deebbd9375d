"""From a site file to a platform: connect to the hosts, ask for facts, lock artifacts, resolve choices.

Round one of the two that a plan takes. A host that does not answer is kept with its reason; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deskside.app.needs import Needs
from deskside.app.workspace import Workspace
from deskside.catalog import load_plugins, make_platform, wanted_artifacts
from deskside.errors import DesksideError, Unreachable
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.facts import Facts
from deskside.model.platform import Platform
from deskside.model.query import ReadFacts
from deskside.site.schema import Site

if TYPE_CHECKING:
    from deskside.hosts.lease import Owner
    from deskside.hosts.session import Session
    from deskside.store.store import Store

Report = Callable[[str, str], None]
"""`report(host or artifact, line)`: what is going on right now."""


@dataclass(frozen=True)
class Prepared:
    """Hosts that answered, and what the site comes down to on them."""

    sessions: Mapping[str, Session]
    platform: Platform
    silent: Mapping[str, DesksideError]
    """Hosts that could not be worked on, with the reason; in site-file order."""


def fact_paths(site: Site) -> tuple[str, ...]:
    """Paths whose free space decides something."""
    data = {host.data for host in site.nodes if isinstance(host.data, str)}
    return ("/", "/var", "/var/lib/deskside", "/var/lib/kubelet", *sorted(data))


@asynccontextmanager
async def prepared(
    workspace: Workspace,
    store: Store,
    report: Report,
    *,
    owner: Owner | None = None,
    write_lock: bool = False,
) -> AsyncIterator[Prepared]:
    """Connections, facts and the platform; the connections are closed at the end.

    With an `owner` the hosts are held for it, and what an interrupted command left running on them is waited
    for; `write_lock` also writes what was locked for the first time. Raises Unreachable when no host answers,
    Locked when another run holds one, CheckFailed for an unknown operating system, SiteError for the lock.
    """
    from deskside.hosts.session import open_sessions

    site = workspace.site
    needs = Needs(workspace.path)
    given = workspace.given_by(needs)
    dns_key = needs.take("network.dns.tsig.secret", workspace.dns_key, None)
    needs.settle()
    wanted = wanted_artifacts(site, workspace.train)
    opened = await open_sessions(
        site, workspace.pins, store.file, report, folder=workspace.folder, bootstrap=owner is not None
    )
    silent: dict[str, DesksideError] = dict(opened.unreachable)
    locking = asyncio.ensure_future(store.resolve(site.train, wanted, report, write=write_lock))
    try:
        if owner is not None:
            await opened.hold(owner)
            await asyncio.gather(*(session.settle() for session in opened.sessions.values()))
        # Hosts take a moment to answer, and so do the plug-ins that the answers are for.
        facts, _ = await asyncio.gather(
            _facts(site, opened.sessions, silent), asyncio.to_thread(load_plugins)
        )
        if not facts:
            raise _nobody(site, silent)
        lock = {**await locking, **await _own_charts(workspace, store, report)}
        platform = replace(make_platform(site, workspace.train, lock, facts, given), dns_key=dns_key)
        yield Prepared(
            {name: opened.sessions[name] for name in platform.hosts},
            platform,
            {spec.name: silent[spec.name] for spec in site.managed_hosts if spec.name in silent},
        )
    finally:
        locking.cancel()
        await opened.close()


async def _own_charts(workspace: Workspace, store: Store, report: Report) -> Mapping[str, Locked]:
    """Charts on this machine that the site file names stand for the train's."""
    wanted = [Artifact(name, "site", Kind.CHART) for name in workspace.own_charts()]
    found = await store.sources["site"].lock(wanted, report) if wanted else ()
    return {locked.name: locked for locked in found}


async def _facts(
    site: Site, sessions: Mapping[str, Session], silent: dict[str, DesksideError]
) -> dict[str, Facts]:
    names = [spec.name for spec in site.managed_hosts if spec.name in sessions]
    question = ReadFacts(fact_paths(site))
    answers = await asyncio.gather(*(sessions[name].read(question) for name in names), return_exceptions=True)
    facts: dict[str, Facts] = {}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, DesksideError):
            silent[name] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            facts[name] = Facts.from_raw(answer)
    return facts


def _nobody(site: Site, silent: Mapping[str, DesksideError]) -> DesksideError:
    if len(silent) == 1:
        return next(iter(silent.values()))
    reasons = "; ".join(error.message for error in silent.values())
    hints = [*dict.fromkeys(error.hint for error in silent.values() if error.hint)]
    more = ", and so for the others" if len(hints) > 1 else ""
    return Unreachable(
        f"no host of {site.name} can be worked on: {reasons}", hint=f"{''.join(hints[:1])}{more}"
    )
