"""How long a bring-up takes beside the least that it can, in simulated time, on sites of many shapes."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from addons.sites import CA, locked_artifacts
from deskside.catalog import make_platform, steps_for
from deskside.hosts.fake import bare_facts
from deskside.model.facts import Facts
from deskside.model.platform import Given, Platform
from deskside.site.reading import read_document
from deskside.site.schema import Site
from deskside.site.trains import load_train

from .world import World, declare, run

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/examples").glob("*.yaml"))
MOST = 1.10
"""Of the critical path."""
SECONDS = {
    "baseline": 4.7,
    "container_runtime": 3.7,
    "cluster_software": 9.0,
    "images": 17.6,
    "pod_network": 2.0,
    "firewall": 1.3,
    "names": 1.5,
    "resolver": 0.5,
    "homes": 4.8,
    "security_updates": 4.0,
    "time_sync": 3.5,
    "first_server": 10.9,
    "join_ticket": 0.3,
    "join_workers": 6.8,
    "cluster_settled": 14.0,
    "metallb": 24.9,
    "local_path": 2.2,
    "jupyterhub": 10.1,
}
"""Of each step in a bring-up of three hosts of a rack, on 2026-11-28; the others had nothing to do there."""
OTHERS = 6.0
"""Seconds that each of those takes at most."""
SPREAD = (0.5, 1.5)
"""How many times as long a step may take on a host."""


def site_of(example: Path, servers: int, workers: int) -> Site:
    """The example with so many hosts; 0 servers: as it stands."""
    document: Any = deepcopy(dict(read_document(example.read_bytes()).data))
    if servers:
        rest = [host for host in document["hosts"] if not set(host["roles"]) & {"server", "worker"}]
        made = [
            {
                "name": f"ws{n}",
                "address": f"10.20.0.{30 + n}",
                "roles": roles,
                "mac": f"3c:ec:ef:11:00:{n:02}",
            }
            for n, roles in enumerate([["server", "worker"]] * servers + [["worker"]] * workers, 1)
        ]
        document["hosts"] = [*made, *rest]
    return Site.model_validate(document)


def platform_of(site: Site) -> Platform:
    train = load_train(site.train)
    facts = {
        spec.name: Facts.from_raw(bare_facts(spec.name, str(spec.address))) for spec in site.managed_hosts
    }
    return make_platform(site, train, locked_artifacts(train), facts, Given(CA))


@dataclass
class Timed:
    """A bring-up whose steps take so many seconds, by node."""

    world: World
    seconds: dict[str, float]

    @property
    def makespan(self) -> float:
        result = run(self.world.apply())
        assert result.ok
        return result.seconds

    @property
    def critical_path(self) -> float:
        """The longest way through the needs, or that of the busiest host: it does one thing at a time."""
        graph = self.world.graph
        before, after = dict[str, float](), dict[str, float]()
        for node in graph.nodes:
            ends = [before[need] + self.seconds[need] for need in graph.needs[node.id]]
            before[node.id] = max(ends, default=0.0)
        for node in reversed(graph.nodes):
            later = [other.id for other in graph.nodes if node.id in graph.needs[other.id]]
            after[node.id] = max((self.seconds[one] + after[one] for one in later), default=0.0)
        longest = max(before[node.id] + self.seconds[node.id] for node in graph.nodes)
        busy = []
        for host in graph.hosts:
            mine = [node.id for node in graph.nodes if node.host.name == host]
            work = sum(self.seconds[node] for node in mine)
            busy.append(min(before[one] for one in mine) + work + min(after[one] for one in mine))
        return max(longest, *busy)


def timed(platform: Platform, seed: str) -> Timed:
    """The steps of this platform with seconds that the seed decides."""
    chance = random.Random(seed)
    steps = [declare(step.name, *step.needs, on=step.on, serial=step.serial) for step in steps_for(platform)]
    world, seconds = World(steps, platform), dict[str, float]()
    for node in world.graph.nodes:
        known = SECONDS.get(node.step.name)
        took = known * chance.uniform(*SPREAD) if known else chance.uniform(0.2, OTHERS)
        seconds[node.id] = took
        world.hosts[node.host.name].takes[node.step.name] = took
    return Timed(world, seconds)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize(("servers", "workers"), [(0, 0), (1, 0), (1, 3), (1, 15), (3, 0), (3, 5)])
def test_a_bring_up_takes_little_more_than_its_critical_path(
    example: Path, servers: int, workers: int
) -> None:
    platform = platform_of(site_of(example, servers, workers))
    for number in range(5):
        found = timed(platform, f"{example.stem} {servers} {workers} {number}")
        print(f"{servers}+{workers}: {found.makespan:.0f} s of {found.critical_path:.0f} s")
        assert found.makespan <= MOST * found.critical_path
