"""A very small host in memory for the tests of resources: it answers questions and carries out actions.

Programs answer what a test says they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TypeVar, cast

from deskside.model.action import (
    Action,
    InstallArtifact,
    InstallPackages,
    MakeDirectory,
    MakeLink,
    RemovePath,
    RunCommand,
    SetSysctls,
    WriteFile,
)
from deskside.model.query import (
    Output,
    PathFound,
    Query,
    ReadOutput,
    ReadPackages,
    ReadPath,
    ReadSysctls,
    ReadUnit,
    UnitFound,
)
from deskside.model.resource import Change, Resource
from deskside.site.secrets import Secret

A = TypeVar("A")
STOPPED = UnitFound("loaded", "inactive", "disabled", 0.0, False)


@dataclass
class World:
    name: str = "ws1"
    paths: dict[str, PathFound] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    units: dict[str, UnitFound] = field(default_factory=dict)
    outputs: dict[tuple[str, ...], Output] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    reads: int = 0
    now: float = 1000.0

    async def read(self, *queries: Query[object]) -> object:
        answers = await self.read_all(queries)
        return answers[0] if len(answers) == 1 else answers

    async def read_all(self, queries: Sequence[Query[A]]) -> tuple[A, ...]:
        self.reads += 1
        return tuple(cast(A, self.answer(query)) for query in queries)

    def answer(self, query: object) -> object:
        match query:
            case ReadPath(path, content, digest):
                found = self.paths.get(path, PathFound("absent"))
                raw = found.content
                known = sha256(raw).hexdigest() if raw is not None and digest else ""
                return replace(found, content=raw if content else None, sha256=known)
            case ReadPackages(names):
                return {name: self.packages[name] for name in names if name in self.packages}
            case ReadSysctls(names):
                return {name: self.sysctls[name] for name in names if name in self.sysctls}
            case ReadUnit(name):
                return self.units.get(name, UnitFound("not-found", "inactive", "", 0.0, False))
            case ReadOutput(argv):
                return self.outputs.get(argv, Output(127, "", f"{argv[0]}: not found"))
        raise AssertionError(query)

    def perform(self, change: Change) -> None:
        for action in change.actions:
            self.act(action)

    def act(self, action: Action) -> None:  # noqa: C901  # one line for each kind of action
        self.now += 1
        match action:
            case WriteFile(path, content, mode, owner, group):
                text = content.reveal() if isinstance(content, Secret) else content
                raw = text.encode() if isinstance(text, str) else text
                self.paths[path] = PathFound(
                    "file", mode, owner, group, len(raw), content=raw, mtime=self.now
                )
                self.unit_file(path)
            case MakeDirectory(path, mode, owner, group):
                self.paths[path] = PathFound("directory", mode, owner, group, mtime=self.now)
            case MakeLink(path, target):
                self.paths[path] = PathFound("link", 0o777, "root", "root", target=target, mtime=self.now)
            case RemovePath(path):
                self.paths.pop(path, None)
            case SetSysctls(values):
                self.sysctls.update(values)
            case InstallPackages(names):
                self.packages.update(dict.fromkeys(names, "1"))
            case InstallArtifact(digest, name, kind):
                place = f"/opt/deskside/store/{digest}"
                self.paths[place] = PathFound("directory", 0o755, "root", "root", mtime=self.now)
                if kind == "binary":
                    self.paths[f"{place}/{name}"] = PathFound("file", 0o755, "root", "root", 10)
            case RunCommand(argv):
                self.ran.append(argv)
                if argv[0] == "systemctl":
                    self.systemctl(*argv[1:])
                if argv[0] == "modprobe":
                    self.paths[f"/sys/module/{argv[1]}"] = PathFound("directory", 0o755, "root", "root")
            case _:
                raise AssertionError(action)

    def unit_file(self, path: str) -> None:
        name = path.removeprefix("/etc/systemd/system/")
        if "/" not in name and name not in self.units:
            self.units[name] = replace(STOPPED, needs_reload=False)

    def systemctl(self, verb: str, name: str = "") -> None:
        if verb == "daemon-reload":
            self.units = {key: replace(unit, needs_reload=False) for key, unit in self.units.items()}
            return
        unit = self.units.get(name, STOPPED)
        running = replace(unit, active="active", started=self.now)
        self.units[name] = {
            "enable": replace(unit, enabled="enabled"),
            "disable": replace(unit, enabled="disabled"),
            "start": running if unit.active != "active" else unit,
            "restart": running,
            "reload-or-restart": replace(unit, active="active"),
            "stop": replace(unit, active="inactive"),
            "reset-failed": replace(unit, active="inactive"),
            "mask": replace(unit, load="masked", enabled="masked"),
            "unmask": replace(unit, load="loaded", enabled="disabled"),
        }[verb]

    def write(self, path: str, text: str | bytes, mode: int = 0o644, mtime: float = 1.0) -> None:
        raw = text.encode() if isinstance(text, str) else text
        self.paths[path] = PathFound("file", mode, "root", "root", len(raw), content=raw, mtime=mtime)


async def planned(resource: Resource, world: World) -> Change:
    """The change; a resource asks once."""
    before = world.reads
    change = await resource.plan(world)  # type: ignore[arg-type]  # its read has one signature for all
    assert world.reads == before + 1, "a resource asks once"
    assert isinstance(change, Change), change
    return change


async def settled(resource: Resource, world: World) -> bool:
    before = world.reads
    change = await resource.plan(world)  # type: ignore[arg-type]
    assert world.reads == before + 1, "a resource asks once"
    return change is None


async def converge(resource: Resource, world: World) -> Change:
    """Plan, apply, and require an empty second plan."""
    change = await planned(resource, world)
    world.perform(change)
    assert await settled(resource, world), await planned(resource, world)
    return change


Answers = Mapping[tuple[str, ...], Output]
