"""The fake passes the suite of every host, and fails loudly at what it was not taught."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from deskside.errors import Busy, StepFailed
from deskside.hosts.fake import FakeCluster, FakeHost, Unmodelled
from deskside.model.action import ApplyRelease, InstallPackages, MakeClusterSecret, RunCommand
from deskside.model.facts import Facts
from deskside.model.query import Output, ReadFacts, ReadOutput, ReadPath, ReadRelease
from deskside.model.resource import HostWriter
from hosts import suite


def taught() -> FakeHost:
    host = FakeHost()
    host.effect("true")
    host.effect("false", does=Output(1, "", ""))
    host.packages["no-such-package"] = None
    return host


@pytest.mark.parametrize("case", suite.CASES)
async def test_the_fake_passes_the_suite(case: Callable[[HostWriter], Awaitable[None]]) -> None:
    await case(taught())


async def test_an_unknown_program_fails_loudly() -> None:
    host = FakeHost()
    with pytest.raises(Unmodelled, match="was not taught: lsblk"):
        await host.read(ReadOutput(("lsblk",)))
    with pytest.raises(Unmodelled, match="kubeadm init"):
        await host.perform([RunCommand(("kubeadm", "init"))], title="t", deadline=1)
    host.files.put("/opt/deskside/bin/ctr")
    with pytest.raises(Unmodelled):
        await host.read(ReadOutput(("/opt/deskside/bin/ctr", "images", "ls")))


async def test_the_longest_prefix_answers() -> None:
    host = FakeHost()
    host.answer("tool", says="short")
    host.answer("tool", "a", says=lambda _host, argv, given: Output(0, f"{argv[-1]} {given}", ""))
    one, two = await host.read(ReadOutput(("tool", "x")), ReadOutput(("tool", "a", "b"), "typed"))
    assert (one.stdout, two.stdout) == ("short", "b typed")
    assert host.round_trips == 1


async def test_an_effect_changes_the_host() -> None:
    host = FakeHost()

    def init(host: FakeHost, _argv: tuple[str, ...], _given: str) -> Output:
        host.files.put("/etc/kubernetes/admin.conf", "x")
        return Output(0, "done\n", "")

    host.effect("kubeadm", "init", does=init)
    (result,) = await host.perform([RunCommand(("kubeadm", "init", "--v=1"))], title="t", deadline=1)
    assert result.stdout == "done\n"
    assert (await host.read(ReadPath("/etc/kubernetes/admin.conf"))).kind == "file"


async def test_facts_follow_the_host() -> None:
    host = FakeHost("ws2", facts={"cgroup": 1})
    raw = await host.read(ReadFacts(("/var",)))
    facts = Facts.from_raw(raw)
    assert (facts.hostname, facts.cgroup, facts.kubernetes.joined) == ("ws2", 1, False)
    host.files.put("/etc/kubernetes/kubelet.conf")
    host.files.put("/etc/kubernetes/deskside-joined")
    assert Facts.from_raw(await host.read(ReadFacts(("/var",)))).kubernetes.joined


async def test_releases_and_secrets_are_the_clusters() -> None:
    cluster = FakeCluster()
    server, worker = FakeHost("ws1", cluster=cluster), FakeHost("ws2", cluster=cluster)
    release = ApplyRelease("hub", "jupyterhub", "/c", "c1", "a: 1", "v1", labels={"l": "x"})
    with pytest.raises(StepFailed, match="connection to the server was refused"):
        await server.perform([release], title="t", deadline=1)
    for path in ("/opt/deskside/bin/kubectl", "/opt/deskside/bin/helm", "/etc/kubernetes/admin.conf"):
        server.files.put(path)
    await server.perform([release, MakeClusterSecret("hub", "s", {"k": 16})], title="t", deadline=1)
    found = await server.read(ReadRelease("hub", "jupyterhub"))
    assert (found.status, found.revision, dict(found.record)) == (
        "deployed",
        1,
        {"chart": "c1", "values": "v1"},
    )
    assert not (await worker.read(ReadRelease("hub", "jupyterhub"))).reachable
    cluster.releases["hub", "jupyterhub"].drifted.add("Deployment hub/hub")
    assert (await server.read(ReadRelease("hub", "jupyterhub"))).drifted == ("Deployment hub/hub",)
    await server.perform([release], title="t", deadline=1)
    assert (await server.read(ReadRelease("hub", "jupyterhub"))).drifted == ()
    assert cluster.secrets == {("hub", "s"): {"k": 32}}
    assert cluster.namespaces == {"hub": {"l": "x"}}


async def test_a_held_package_lock_is_busy() -> None:
    host = FakeHost()
    host.lock_holder = "process 812 (unattended-upgrade)"
    with pytest.raises(Busy, match="held by process 812"):
        await host.perform([InstallPackages(("chrony",))], title="t", deadline=1)
