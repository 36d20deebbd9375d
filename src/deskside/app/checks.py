"""Everything that is looked at before a change: hosts that answer, preflight checks, the directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from deskside.app.knocking import knock
from deskside.app.prepare import Prepared
from deskside.app.workspace import Workspace
from deskside.model.finding import Finding, Outcome
from deskside.steps.checks import fact_checks, probe_checks
from deskside.steps.crossings import crossings
from deskside.steps.network_check import NETWORK_JUDGES, network_probes

SILENT = "reachable"
"""Name of the check that a host answers; one that does not is a finding, and its reason an error."""


async def look_around(workspace: Workspace, found: Prepared) -> tuple[Finding, ...]:
    """All findings at once, in the order of the checks; hosts that did not answer come first."""
    site, platform = workspace.site, found.platform
    findings = [_silent(name, str(error), error.hint) for name, error in found.silent.items()]
    findings += fact_checks(site, platform.hosts)
    probes: list[Awaitable[Iterable[Finding]]] = [probe_checks(site, platform, found.sessions)]
    if platform.servers:
        leader = found.sessions[platform.leader.name]
        probes.append(platform.directory.check(site, platform.given, leader))
    answers: list[Iterable[Finding]] = list(await asyncio.gather(*probes))
    for answer in answers:
        findings += answer
    return tuple(findings)


async def look_at_network(workspace: Workspace, found: Prepared) -> tuple[Finding, ...]:
    """What the hosts see on the wire, held against the plan of addresses."""
    site, platform = workspace.site, found.platform
    if site.network.firewall.enabled:  # without it no host keeps who came
        await knock(crossings(site, platform.doors))
    findings = [_silent(name, str(error), error.hint) for name, error in found.silent.items()]
    findings += [one for one in fact_checks(site, platform.hosts) if one.check in ("address", "identity")]
    wanted = network_probes(site, platform)
    return (*findings, *await probe_checks(site, platform, found.sessions, wanted, NETWORK_JUDGES))


def _silent(name: str, message: str, hint: str) -> Finding:
    return Finding(SILENT, name, Outcome.FAILED, message, hint)
