"""A small site, hosts with facts, and a reader that answers as told, for the tests of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from deskside.model.facts import Disk, Facts, Interface
from deskside.model.finding import Finding, Outcome
from deskside.model.platform import Host, Platform
from deskside.model.query import Output, Query, ReadOutput
from deskside.oses.debian import DEBIAN
from deskside.site.schema import Site

A = TypeVar("A")
GIB = 1024**3
NAMES = ("ws1", "ws2", "ws3")
CAPABILITIES = ("cap_linux_immutable", "cap_net_raw", "cap_sys_module", "cap_sys_time")


def make_site(**changes: object) -> Site:
    """Two servers that work, a worker and a NAS."""
    raw: dict[str, object] = {
        "site": "lab.example",
        "admin": {"user": "ops"},
        "network": {
            "subnet": "10.20.0.0/24",
            "gateway": "10.20.0.1",
            "api": "10.20.0.10",
            "load_balancer": "10.20.0.200-10.20.0.203",
        },
        "hosts": [
            {"name": "ws1", "address": "10.20.0.11", "roles": ["server", "worker"]},
            {"name": "ws2", "address": "10.20.0.12", "roles": ["server"]},
            {"name": "ws3", "address": "10.20.0.13", "roles": ["worker"]},
            {"name": "nas", "address": "10.20.0.20", "roles": ["storage"], "managed": False},
        ],
        "identity": {
            "server": "ldaps://nas.lab.example",
            "base": "dc=lab,dc=example",
            "allow": {"all": True},
        },
        "storage": {"homes": {"source": "nas:/volume1/homes"}},
        "notebooks": {
            "hostname": "notebooks.lab.example",
            "profiles": [{"name": "CPU desk", "cpu": 2, "memory": "4Gi"}],
        },
    }
    return Site.model_validate({**raw, **changes})


def make_facts(site: Site, name: str, **changes: object) -> Facts:
    """A healthy workstation: nothing to complain about."""
    number = [spec.name for spec in site.hosts].index(name) + 1
    card = Interface(
        name="eno1", mac=f"02:00:00:00:00:0{number}", addresses=(f"{site.host(name).address}/24",)
    )
    paths = ("/", "/var", "/var/lib/deskside", "/var/lib/kubelet")
    size, free, inodes = 500 * GIB, 300 * GIB, 10_000_000
    disks = tuple(Disk(path=p, filesystem="ext4", size=size, free=free, inodes_free=inodes) for p in paths)
    raw: dict[str, object] = {
        "hostname": name,
        "os_id": "debian",
        "os_version": "12",
        "python": "3.11.2",
        "cpus": 8,
        "memory": 32 * GIB,
        "machine_id": f"{number:032x}",
        "product_uuid": f"UUID-{number}",
        "clock_synchronised": True,
        "capabilities": CAPABILITIES,
        "host_keys": (f"SHA256:{name}",),
        "interfaces": (card,),
        "disks": disks,
        "modules": ("overlay",),
    }
    return Facts.model_validate({**raw, **changes})


def make_hosts(site: Site, **changes: Mapping[str, object]) -> dict[str, Host]:
    """All managed hosts; `ws1={...}` changes facts of one."""
    return {
        spec.name: Host(spec, make_facts(site, spec.name, **changes.get(spec.name, {})), DEBIAN)
        for spec in site.managed_hosts
    }


def make_platform(hosts: Mapping[str, Host]) -> Platform:
    """Only the hosts of it are real: steps and checks of these tests look at nothing else."""
    return Platform(None, {}, None, None, (), hosts)  # type: ignore[arg-type]


@dataclass
class Told:
    """A host that answers questions about programs as a test tells it."""

    tell: Callable[[str, ReadOutput], Output]
    name: str = "ws1"
    asked: list[ReadOutput] = field(default_factory=list)

    async def read(self, *queries: Query[object]) -> object:
        raise AssertionError("probes ask all at once")

    async def read_all(self, queries: Sequence[Query[A]]) -> tuple[A, ...]:
        answers = []
        for query in queries:
            assert isinstance(query, ReadOutput)
            self.asked.append(query)
            answers.append(self.tell(self.name, query))
        return cast("tuple[A, ...]", tuple(answers))


def bad(findings: Sequence[Finding]) -> list[Finding]:
    """All that are not fine."""
    return [finding for finding in findings if finding.outcome is not Outcome.OK]
