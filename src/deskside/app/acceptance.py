"""verify(): finds the hub's address and a healthy server, then runs the acceptance test against them."""

from __future__ import annotations

from collections.abc import Callable

from deskside.app.prepare import Report, prepared
from deskside.app.verify import Acceptance, Login
from deskside.app.workspace import Workspace
from deskside.model.finding import Finding
from deskside.store.store import Store


def hub_url(workspace: Workspace) -> str:
    """Where people reach the hub: the first address of the load balancer's range, by plain HTTP."""
    return f"http://{workspace.site.network.load_balancer.first}"


async def accept(
    workspace: Workspace,
    store: Store,
    report: Report,
    *,
    told: Callable[[Finding], None],
    user: Login | None,
    outsider: Login | None,
) -> tuple[Finding, ...]:
    """All findings, each told as it comes. Raises what `prepared` raises."""
    async with prepared(workspace, store, report) as found:
        site, platform = workspace.site, found.platform
        server = found.sessions[platform.leader.name]
        test = Acceptance(
            site=site,
            url=hub_url(workspace),
            server=server,
            hosts=found.sessions,
            user=user,
            outsider=outsider,
            report=lambda line: report("verify", line),
            finding=told,
            directory=lambda: platform.directory.look(site, platform.given, server),
        )
        return await test.run()
