"""One screen of how a site is: hosts, nodes, releases, certificates, last run, drift. Changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deskside.app.prepare import Prepared, Report, prepared
from deskside.app.workspace import Workspace
from deskside.catalog import steps_for
from deskside.engine.graph import make_graph
from deskside.engine.journal import PastRun, last_run
from deskside.engine.planner import Plan, make_plan
from deskside.model.platform import Certificate
from deskside.model.query import Json, Output, ReadOutput
from deskside.store.store import Store

if TYPE_CHECKING:
    from deskside.hosts.session import Session

KUBECTL = ("/opt/deskside/bin/kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--request-timeout=10s")
HELM = ("/opt/deskside/bin/helm", "--kubeconfig", "/etc/kubernetes/admin.conf")


@dataclass(frozen=True)
class HostStatus:
    """A managed host."""

    name: str
    address: str
    roles: tuple[str, ...]
    answers: bool
    system: str = ""
    reason: str = ""
    node: str = ""
    """Ready, NotReady, cordoned, or `-` when it is no node."""
    version: str = ""
    changes: int = 0
    """Changes that a plan would make."""


@dataclass(frozen=True)
class ReleaseStatus:
    """A Helm release."""

    namespace: str
    name: str
    status: str
    chart: str


@dataclass(frozen=True)
class SiteStatus:
    """Everything that the screen shows."""

    site: str
    train: str
    hosts: tuple[HostStatus, ...]
    releases: tuple[ReleaseStatus, ...]
    certificates: tuple[Certificate, ...]
    """Soonest first."""
    plan: Plan
    last: PastRun | None
    address: str
    """Where people reach the hub; empty when it has no address yet."""

    def to_json(self, now: datetime | None = None) -> dict[str, Json]:
        """For scripts."""
        moment = (now or datetime.now(UTC)).timestamp()
        return {
            "site": self.site,
            "train": self.train,
            "address": self.address,
            "hosts": [vars(host) | {"roles": list(host.roles)} for host in self.hosts],
            "releases": [dict(vars(release)) for release in self.releases],
            "certificates": [
                {"host": cert.host, "name": cert.name, "days_left": cert.days_left(moment)}
                for cert in self.certificates
            ],
            "drift": {
                "changes": self.plan.changes,
                "deferred": self.plan.deferred,
                "failures": len(self.plan.failures),
            },
            "last_run": None
            if self.last is None
            else {"run": self.last.run, "command": self.last.command, "ok": self.last.ok},
        }


async def site_status(workspace: Workspace, store: Store, report: Report) -> SiteStatus:
    """Look at everything in the two rounds of a plan. Raises what `prepared` raises."""
    async with prepared(workspace, store, report) as found:
        graph = make_graph(steps_for(found.platform), found.platform)
        plan, cluster, certificates = await asyncio.gather(
            make_plan(graph, workspace.site, found.platform, found.sessions),
            _cluster(found),
            _certificates(found),
        )
    nodes = _items(cluster["nodes"])
    return SiteStatus(
        site=workspace.site.name,
        train=workspace.train.name,
        hosts=_hosts(workspace, found, plan, nodes),
        releases=_releases(cluster["releases"]),
        certificates=tuple(sorted(certificates, key=lambda cert: cert.not_after)),
        plan=plan,
        last=last_run(workspace.state),
        address=_address(cluster["services"]),
    )


async def _cluster(found: Prepared) -> Mapping[str, Output]:
    questions = {
        "nodes": ReadOutput((*KUBECTL, "get", "nodes", "-o", "json")),
        "services": ReadOutput((*KUBECTL, "get", "services", "-A", "-o", "json")),
        "releases": ReadOutput((*HELM, "list", "-A", "-o", "json")),
    }
    session = found.sessions[found.platform.leader.name]
    return dict(zip(questions, await session.read_all(tuple(questions.values())), strict=True))


async def _certificates(found: Prepared) -> tuple[Certificate, ...]:
    distro = found.platform.distro

    async def of(name: str, session: Session) -> tuple[Certificate, ...]:
        host = found.platform.hosts[name]
        return distro.certificates(host, await session.read_all(distro.certificate_questions(host)))

    lists = await asyncio.gather(*(of(name, session) for name, session in found.sessions.items()))
    return tuple(cert for certificates in lists for cert in certificates)


def _hosts(
    workspace: Workspace, found: Prepared, plan: Plan, nodes: Mapping[str, Mapping[str, Json]]
) -> tuple[HostStatus, ...]:
    statuses = []
    for spec in workspace.site.managed_hosts:
        roles, address = tuple(role.value for role in spec.roles), str(spec.address)
        if (host := found.platform.hosts.get(spec.name)) is None:
            reason = str(found.silent.get(spec.name, ""))
            statuses.append(HostStatus(spec.name, address, roles, False, reason=reason))
            continue
        node = nodes.get(spec.name)
        statuses.append(
            HostStatus(
                spec.name,
                address,
                roles,
                True,
                system=host.facts.os_name or f"{host.facts.os_id} {host.facts.os_version}",
                node=_node_word(node),
                version=str(_at(node, "status", "nodeInfo", "kubeletVersion") or ""),
                changes=len(plan.changes_of(spec.name)),
            )
        )
    return tuple(statuses)


def _node_word(node: Mapping[str, Json] | None) -> str:
    if node is None:
        return "-"
    conditions = _at(node, "status", "conditions")
    ready = isinstance(conditions, list) and any(
        isinstance(item, Mapping) and item.get("type") == "Ready" and item.get("status") == "True"
        for item in conditions
    )
    word = "Ready" if ready else "NotReady"
    return f"{word}, cordoned" if _at(node, "spec", "unschedulable") else word


def _releases(output: Output) -> tuple[ReleaseStatus, ...]:
    if output.status != 0:
        return ()
    return tuple(
        ReleaseStatus(str(item["namespace"]), str(item["name"]), str(item["status"]), str(item["chart"]))
        for item in json.loads(output.stdout)
    )


def _address(output: Output) -> str:
    for service in _items(output).values():
        if _at(service, "metadata", "name") == "proxy-public":
            given = _at(service, "status", "loadBalancer", "ingress")
            if isinstance(given, list) and given and isinstance(given[0], Mapping):
                return f"http://{given[0].get('ip')}"
    return ""


def _items(output: Output) -> dict[str, Mapping[str, Json]]:
    """Objects of a kubectl list by name; empty when the cluster did not answer."""
    if output.status != 0:
        return {}
    return {str(item["metadata"]["name"]): item for item in json.loads(output.stdout)["items"]}


def _at(value: Json, *path: str) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
