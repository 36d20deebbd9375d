"""The cluster, from bare hosts to Ready nodes. Names and edges only; the distribution knows how."""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.platform import Host, JoinTicket, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.site.schema import Role, Site


@step(needs=("container_runtime",), on={Role.SERVER, Role.WORKER}, deadline=900.0)
def cluster_software(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Bring Kubernetes to the host."""
    yield from platform.distro.software(site, platform, host)


@step(needs=("cluster_software",), deadline=900.0)
def first_server(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Begin the cluster on its first server."""
    yield from platform.distro.first_server(site, platform, host)


@step(needs=("first_server",), gives=JoinTicket, deadline=300.0)
def join_ticket(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Make a ticket for the hosts that have not joined."""
    yield from platform.distro.ticket(site, platform, host)


@step(needs=("join_ticket",), on={Role.SERVER}, serial=True, takes=JoinTicket, deadline=900.0)
def join_servers(site: Site, platform: Platform, host: Host, ticket: JoinTicket | None) -> Iterator[Resource]:
    """Join further servers, one at a time."""
    yield from platform.distro.join(site, platform, host, ticket)


@step(needs=("join_ticket",), on={Role.WORKER}, takes=JoinTicket, deadline=600.0)
def join_workers(site: Site, platform: Platform, host: Host, ticket: JoinTicket | None) -> Iterator[Resource]:
    """Join the workers."""
    if not host.spec.is_server:
        yield from platform.distro.join(site, platform, host, ticket)


@step(needs=("join_servers", "join_workers", "pod_network"), deadline=600.0)
def cluster_settled(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Settle the cluster: names inside it, no tickets left, all nodes ready."""
    yield from platform.distro.settled(site, platform, host)
