"""A site gets one more host: what that costs the others. Modelled hosts, every step."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from deskside.catalog import make_platform
from deskside.engine.approval import Approval
from deskside.engine.executor import execute
from deskside.engine.graph import Graph, make_graph
from deskside.engine.planner import Plan, make_plan
from deskside.hosts.fake import FakeHost
from deskside.model.action import RunCommand
from deskside.model.facts import Facts
from deskside.model.platform import Given, Platform
from deskside.model.query import ReadFacts
from deskside.model.resource import Disruption
from deskside.site.load import load
from deskside.site.schema import Site
from deskside.site.trains import load_train
from deskside.store.lock import LOCK_NAME, read_lock
from engine.world import Recording
from matrix.world import EVERY, bare_hosts, steps_named, write_site

NET = "127.34.0"
PEERS = {
    "block site in /etc/hosts",
    "file /etc/deskside/pod-network.conf",
    "unit deskside-pod-network.service",
    "firewall",
}
"""What a host has of the others: their names, the routes to their pods, what they may ask."""


class Grown:
    """A site of so many hosts, and hosts that outlive it."""

    def __init__(self, folder: Path, count: int, hosts: dict[str, FakeHost]) -> None:
        folder.mkdir()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_public_key(str(folder / "id.pub"))
        path = write_site(folder, NET, 22, folder / "id", count)
        self.site: Site = load(path).site
        self.lock = read_lock(folder / LOCK_NAME)
        fresh = bare_hosts(NET, self.lock, count)
        for name, served in fresh.items():
            hosts.setdefault(name, served.host)
        for host in hosts.values():
            host.cluster = hosts["ws1"].cluster
        self.hosts: Mapping[str, FakeHost] = hosts

    async def graph(self) -> tuple[Graph, Platform]:
        facts = {
            name: Facts.from_raw(await host.read(ReadFacts(("/",)))) for name, host in self.hosts.items()
        }
        platform = make_platform(self.site, load_train(self.site.train), self.lock, facts, Given())
        return make_graph(steps_named(platform, EVERY), platform), platform

    async def plan(self) -> Plan:
        graph, platform = await self.graph()
        return await make_plan(graph, self.site, platform, self.hosts)

    async def apply(self) -> None:
        graph, platform = await self.graph()
        result = await execute(
            graph,
            self.site,
            platform,
            self.hosts,
            approval=Approval(),
            journal=Recording(),
            listener=lambda event: None,
            cancel=asyncio.Event(),
        )
        assert result.ok, result.error


async def test_f17_the_others_change_their_peer_files_alone_and_restart_nothing(
    tmp_path: Path,
) -> None:
    hosts: dict[str, FakeHost] = {}
    await Grown(tmp_path / "three", 3, hosts).apply()
    assert (await Grown(tmp_path / "again", 3, hosts).plan()).empty
    four = Grown(tmp_path / "four", 4, hosts)
    plan = await four.plan()
    assert not plan.failures
    others = [change for node in plan.nodes if node.host in ("ws2", "ws3") for change in node.changes]
    assert {change.subject for change in others} == PEERS
    assert {change.disruption for change in others} == {Disruption.NONE}
    run = [action.argv for change in others for action in change.actions if isinstance(action, RunCommand)]
    # Without a daemon-reload, after which running containers may have lost their GPUs (F17).
    assert [argv[1] for argv in run if argv[0] == "systemctl"] == ["reload-or-restart"] * 2
    await four.apply()
    assert (await four.plan()).empty
