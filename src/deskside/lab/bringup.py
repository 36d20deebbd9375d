"""A whole rack: what the machine needs, root file systems, hosts, artifacts, lock. For `lab up` and the demo.

Independent work overlaps: hosts boot as soon as their root file systems are there, while the rest is built.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deskside.catalog import wanted_artifacts
from deskside.errors import DesksideError
from deskside.lab import rack as racks
from deskside.lab import sitefile
from deskside.lab.machine import missing_packages as missing_for_rack
from deskside.lab.recipes import build, default_cache, missing_packages
from deskside.lab.source import ONE_EACH, RECIPE_OF, RecipeSource
from deskside.lab.spec import RackSpec, Report
from deskside.model.artifact import ArtifactSource
from deskside.site.load import load
from deskside.site.trains import load_train
from deskside.store.lock import LOCK_NAME
from deskside.store.store import Store
from deskside.store.upstream import UpstreamSource


@dataclass(frozen=True)
class BroughtUp:
    """A rack that is up and has a lock."""

    rack: racks.Rack
    seconds: float


async def bring_up(spec: RackSpec, source: str, report: Report) -> BroughtUp:
    """Everything up to the first `deskside apply`. Raises DesksideError for what this machine lacks."""
    started = time.monotonic()
    await install_packages(report)
    cache = default_cache()
    # What is built side by side with the boot is found in the cache by the lock.
    rack, _ = await asyncio.gather(_boot(spec, cache, report), _build_ahead(source, cache, report))
    _choose_train(rack.site_file, source)
    await write_lock(rack.site_file, source, report)
    return BroughtUp(rack, time.monotonic() - started)


async def install_packages(report: Report) -> None:
    """Install the system packages that the lab needs, after saying so. Raises DesksideError."""
    missing = sorted({*missing_packages(), *missing_for_rack()})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise DesksideError(
            f"the lab needs {', '.join(missing)}, and this machine has no apt-get",
            hint="install them by hand; the lab runs on Debian and Ubuntu",
        )
    report("machine", f"installing {' '.join(missing)}")
    for argv in (
        ("apt-get", "-q", "update"),
        ("apt-get", "-qy", "--no-install-recommends", "install", *missing),
    ):
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={
                "DEBIAN_FRONTEND": "noninteractive",
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            last = output.decode(errors="replace").strip().splitlines()[-1:]
            raise DesksideError(
                f"{' '.join(argv[:2])} failed: {' '.join(last)}", detail=output.decode(errors="replace")
            )


async def write_lock(site_file: Path, source: str, report: Report) -> None:
    """Lock the rack's artifacts as they are built now, whatever an older lock says."""
    site = load(site_file).site
    train = load_train(site.train)
    cache = default_cache()
    sources: dict[str, ArtifactSource] = {
        "recipe": RecipeSource(train, cache),
        "upstream": UpstreamSource(train, cache),
    }
    store = Store(site_file.parent / LOCK_NAME, sources, source)
    await store.resolve(site.train, wanted_artifacts(site, train), report, write=True, refresh=True)


def _choose_train(site_file: Path, source: str) -> None:
    """Publishers offer the product's train, recipes the rack's; the rest of the file stays a person's."""
    product = sitefile.TRAIN.removesuffix("-rack")
    wanted = product if source == "upstream" else sitefile.TRAIN
    text = site_file.read_text(encoding="utf-8")
    fresh = re.sub(rf"^train: {product}(-rack)?$", f"train: {wanted}", text, count=1, flags=re.MULTILINE)
    if fresh != text:
        site_file.write_text(fresh, encoding="utf-8")


async def _boot(spec: RackSpec, cache: Path, report: Report) -> racks.Rack:
    if (finished := await racks.is_up(spec.name, spec)) is not None:
        report(spec.name, f"is up: {len(finished.hosts)} hosts in {finished.layout.subnet}")
        return finished
    built = await build(racks.BASES, cache=cache, report=report)
    trees: Mapping[str, Path] = {name: found.path for name, found in built.items()}
    return await racks.up(spec, trees, report)


async def _build_ahead(source: str, cache: Path, report: Report) -> None:
    if source != "recipe":
        return
    names = sorted({*RECIPE_OF.values(), *ONE_EACH})
    await build(names, cache=cache, report=report)
