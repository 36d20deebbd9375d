"""What every host does, told by cases that take one: the fake passes them, and a real host in the rack.

A case makes what it needs below `/var/tmp/deskside-suite` and takes it away again. `CASES` lists them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

import pytest

from deskside.errors import StepFailed
from deskside.model.action import (
    Action,
    ActionResult,
    InstallArtifact,
    InstallPackages,
    MakeDirectory,
    MakeLink,
    RemovePath,
    RunCommand,
    SetSysctls,
    WriteFile,
)
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.query import (
    ReadFacts,
    ReadOutput,
    ReadPackages,
    ReadPath,
    ReadRelease,
    ReadSysctls,
    ReadTls,
    ReadUnit,
    UnitFound,
)
from deskside.model.resource import HostWriter
from deskside.site.secrets import Secret

TOP = "/var/tmp/deskside-suite"
UNIT = "deskside-suite.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
SLEEPER = "[Service]\nExecStart=/bin/sleep {}\n[Install]\nWantedBy=multi-user.target\n"
TOOL = b"#!/bin/sh\necho tool\n"
LOCKED = Locked(Artifact("suite-tool", "1", Kind.BINARY), sha256(TOOL).hexdigest(), len(TOOL), "recipe", "x")
"""The artifact that a host under test must be able to fetch: its bytes are `TOOL`."""


async def act(host: HostWriter, *actions: Action) -> Sequence[ActionResult]:
    return await host.perform(actions, title="Suite", deadline=120)


async def refused(host: HostWriter, action: Action, says: str) -> None:
    with pytest.raises(StepFailed, match=says):
        await act(host, action)


async def files(host: HostWriter) -> None:
    path = f"{TOP}/deep/er/file"
    await act(host, WriteFile(path, Secret("one\n"), 0o600, "root", "daemon"))
    found, parent = await host.read(ReadPath(path, content=True, digest=True), ReadPath(f"{TOP}/deep/er"))
    assert (found.kind, found.mode, found.owner, found.group) == ("file", 0o600, "root", "daemon")
    assert (found.content, found.size) == (b"one\n", 4)
    assert found.sha256 == sha256(b"one\n").hexdigest()
    assert (parent.kind, parent.mode, parent.owner) == ("directory", 0o755, "root")
    await act(host, WriteFile(path, b"two"))
    again = await host.read(ReadPath(path, content=True))
    assert (again.content, again.mode, again.sha256) == (b"two", 0o644, "")
    assert again.mtime > found.mtime
    await refused(host, WriteFile(f"{TOP}/deep", "x"), "is a directory")
    await refused(host, WriteFile(f"{path}/below", "x"), "Not a directory")


async def folders_and_links(host: HostWriter) -> None:
    top = f"{TOP}/links"
    await act(
        host, MakeDirectory(f"{top}/store/one", 0o700, "daemon"), MakeLink(f"{top}/in-use", f"{top}/store")
    )
    folder, link = await host.read(ReadPath(f"{top}/in-use/one"), ReadPath(f"{top}/in-use"))
    assert (folder.kind, folder.mode, folder.owner) == ("directory", 0o700, "daemon")
    assert (link.kind, link.target) == ("link", f"{top}/store")
    await act(host, MakeDirectory(f"{top}/store/one", 0o755), MakeLink(f"{top}/in-use", "store/one"))
    folder, link = await host.read(ReadPath(f"{top}/store/one"), ReadPath(f"{top}/in-use"))
    assert (folder.mode, folder.owner, link.target) == (0o755, "root", "store/one")
    await refused(host, MakeLink(f"{top}/store", "elsewhere"), "is a directory and is not replaced by a link")


async def removal(host: HostWriter) -> None:
    top = f"{TOP}/removal"
    await act(host, WriteFile(f"{top}/file", "x"), MakeLink(f"{top}/link", "/nowhere"))
    await refused(host, RemovePath(top), f"{top} cannot be removed: Directory not empty")
    paths = (f"{top}/file", f"{top}/link", top, f"{top}/never/was")
    await act(host, *(RemovePath(path) for path in paths))
    assert {found.kind for found in await host.read_all([ReadPath(path) for path in paths])} == {"absent"}


async def the_first_failure_ends_a_run(host: HostWriter) -> None:
    missing = RunCommand(("/nowhere/program", "x"))
    with pytest.raises(StepFailed, match=r"Suite on .*: /nowhere/program x ended with status 127"):
        await act(host, WriteFile(f"{TOP}/before", ""), missing, WriteFile(f"{TOP}/after", ""))
    before, after = await host.read(ReadPath(f"{TOP}/before"), ReadPath(f"{TOP}/after"))
    assert (before.kind, after.kind) == ("file", "absent")


async def commands(host: HostWriter) -> None:
    results = await act(host, RunCommand(("true",)), RunCommand(("false",), ok=(0, 1)))
    assert [result.status for result in results] == [0, 1]
    await refused(
        host, RunCommand(("false",), attempts=2, interval=0.1), "false ended with status 1: it said nothing"
    )
    found = await host.read(ReadOutput(("/nowhere/program",)))
    assert found.status == 127
    assert "not found" in found.stderr


async def sysctls(host: HostWriter) -> None:
    name = "net.ipv4.conf.all.forwarding"
    before = await host.read(ReadSysctls((name, "net.no.such")))
    assert set(before) == {name}
    other = "0" if before[name] == "1" else "1"
    await act(host, SetSysctls({name: other}))
    assert await host.read(ReadSysctls((name,))) == {name: other}
    await act(host, SetSysctls(before))
    await refused(
        host, SetSysctls({"net.no.such": "1"}), "net.no.such cannot be set to 1: No such file or directory"
    )


async def packages(host: HostWriter) -> None:
    names = ("bash", "hello")
    await act(host, InstallPackages(names))
    assert set(await host.read(ReadPackages((*names, "no-such-package")))) == set(names)
    assert (await act(host, InstallPackages(names)))[0].status == 0
    await refused(host, InstallPackages(("no-such-package",)), "Unable to locate package no-such-package")


def systemctl(*words: str) -> RunCommand:
    return RunCommand(("systemctl", *words))


async def units(host: HostWriter) -> None:
    absent = UnitFound("not-found", "inactive", "", 0.0, False)
    assert await host.read(ReadUnit(UNIT)) == absent
    await refused(host, systemctl("start", UNIT), "not found")
    await act(host, WriteFile(UNIT_FILE, SLEEPER.format(1000)))
    unit = await host.read(ReadUnit(UNIT))
    assert (unit.load, unit.active, unit.enabled, unit.started) == ("loaded", "inactive", "disabled", 0.0)
    await act(host, systemctl("daemon-reload"), systemctl("enable", UNIT), systemctl("start", UNIT))
    unit, file = await host.read(ReadUnit(UNIT), ReadPath(UNIT_FILE))
    assert (unit.active, unit.enabled, unit.needs_reload) == ("active", "enabled", False)
    assert unit.started > file.mtime
    await act(host, WriteFile(UNIT_FILE, SLEEPER.format(2000)))
    unit, file = await host.read(ReadUnit(UNIT), ReadPath(UNIT_FILE))
    assert unit.needs_reload
    assert file.mtime > unit.started
    await act(host, systemctl("daemon-reload"), systemctl("restart", UNIT))
    unit, file = await host.read(ReadUnit(UNIT), ReadPath(UNIT_FILE))
    assert (unit.active, unit.needs_reload) == ("active", False)
    assert unit.started > file.mtime
    await act(host, systemctl("stop", UNIT), systemctl("disable", UNIT))
    unit = await host.read(ReadUnit(UNIT))
    assert (unit.active, unit.enabled) == ("inactive", "disabled")
    await act(host, RemovePath(UNIT_FILE), systemctl("mask", UNIT))
    assert (await host.read(ReadUnit(UNIT))).load == "masked"
    await refused(host, systemctl("start", UNIT), "is masked")
    await act(host, systemctl("unmask", UNIT), systemctl("daemon-reload"))
    assert (await host.read(ReadUnit(UNIT))).load == "not-found"


async def artifacts(host: HostWriter) -> None:
    store, name = f"/opt/deskside/store/{LOCKED.sha256}", LOCKED.name
    staged = f"/var/lib/deskside/staging/{LOCKED.sha256}"
    install = InstallArtifact(LOCKED.sha256, name, "binary")
    await refused(host, install, "suite-tool was not sent to this host")
    await host.send(LOCKED)
    await host.send(LOCKED)
    assert (await host.read(ReadPath(staged))).size == len(TOOL)
    await act(host, install, InstallArtifact(LOCKED.sha256, "second-name", "binary"))
    found, left = await host.read(ReadPath(f"{store}/{name}"), ReadPath(staged))
    assert (found.kind, found.mode, found.size, left.kind) == ("file", 0o755, len(TOOL), "absent")
    assert (await host.read(ReadPath(f"{store}/second-name"))).size == len(TOOL)
    await host.send(LOCKED)
    assert (await host.read(ReadPath(staged))).kind == "absent"
    await act(host, *(RemovePath(f"{store}/{item}") for item in (name, "second-name")), RemovePath(store))


async def outside(host: HostWriter) -> None:
    release, tls = await host.read(ReadRelease("hub", "jupyterhub"), ReadTls("127.0.0.1", 1, "x.example", ""))
    assert not release.reachable
    assert "refused" in tls.error
    facts = await host.read(ReadFacts(("/var",), ports=False))
    assert facts["os_id"] in ("debian", "ubuntu")
    assert facts["disks"]


CASES: tuple[Callable[[HostWriter], Awaitable[None]], ...] = (
    files,
    folders_and_links,
    removal,
    the_first_failure_ends_a_run,
    commands,
    sysctls,
    packages,
    units,
    artifacts,
    outside,
)
