"""Builds recipes and what they need, side by side where that helps, each at most once per set of inputs.

A product appears in the cache by one rename and is never touched again. A lock per recipe keeps two
processes from building the same thing; a build that was killed leaves a folder that the next one removes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from deskside.errors import DesksideError, UsageError
from deskside.lab.recipes.machine import Machine, require_tools
from deskside.lab.recipes.recipe import Built, Made, Recipe, Report, recipe_key
from deskside.lab.recipes.work import Work

RECORD = "built.json"
AT_ONCE = 3
"""Recipes that mostly wait for the network or one core; those for both cores run one at a time besides."""


def default_cache() -> Path:
    """The cache of this user, outside any checkout."""
    own = os.environ.get("DESKSIDE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "deskside"


class Kitchen:
    """One call of `build`: the recipes in progress, and who may use the cores."""

    def __init__(self, recipes: Mapping[str, Recipe], cache: Path, report: Report, machine: Machine) -> None:
        self.recipes = recipes
        self.cache = cache
        self.report = report
        self.machine = machine
        self._both_cores = asyncio.Semaphore(1)
        self._light = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[Built]] = {}

    async def serve(self, names: Iterable[str]) -> dict[str, Built]:
        """Build all names; the first failure ends the others, and is raised by itself."""
        wanted = list(dict.fromkeys(names))
        failed: list[DesksideError] = []
        try:
            async with asyncio.TaskGroup() as group:
                for name in wanted:
                    self._start(group, name)
        except* DesksideError as errors:
            failed += _leaves(errors)
        if failed:
            raise failed[0]
        return {name: self._tasks[name].result() for name in wanted}

    def _start(self, group: asyncio.TaskGroup, name: str) -> asyncio.Task[Built]:
        if name not in self._tasks:
            needs = {need: self._start(group, need) for need in self.recipes[name].needs}
            self._tasks[name] = group.create_task(self._get(self.recipes[name], needs), name=name)
        return self._tasks[name]

    async def _get(self, recipe: Recipe, tasks: Mapping[str, asyncio.Task[Built]]) -> Built:
        needs = {name: await task for name, task in tasks.items()}
        key = await asyncio.to_thread(recipe_key, recipe, self.machine, needs)
        place = self.cache / "artifacts" / f"{recipe.name}-{key[:12]}"
        found = read_built(place)
        if found:
            return found
        require_tools(recipe.name, recipe.tools, root=recipe.root)
        turn = self._both_cores if recipe.both_cores else self._light
        async with turn, self._lock(recipe.name) as lock:
            # Another process may have made it while this one waited.
            found = read_built(place)
            if found:
                return found
            return await self._make(recipe, needs, place, lock)

    async def _make(self, recipe: Recipe, needs: Mapping[str, Built], place: Path, lock: int) -> Built:
        started = time.monotonic()
        area = self.cache / "work"
        area.mkdir(parents=True, exist_ok=True)
        for remains in area.glob(f"{recipe.name}@*"):
            await asyncio.to_thread(shutil.rmtree, remains, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{recipe.name}@", dir=area))
        folder, scratch = temporary / "product", temporary / "scratch"
        folder.mkdir()
        scratch.mkdir()
        work = Work(recipe.name, folder, scratch, self.cache, self.machine, needs, self.report, lock)
        try:
            made = await recipe.make(work)
            built = await asyncio.to_thread(_record, recipe, made, folder, place)
        except OSError as error:
            raise DesksideError(
                f"building {recipe.name} in {self.cache}: {error}",
                hint="the cache needs some 10 GB; DESKSIDE_CACHE names another place",
            ) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, temporary, ignore_errors=True)
        self.report(recipe.name, f"built {built.version} in {time.monotonic() - started:.0f} s")
        return built

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[int]:
        path = self.cache / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            started = time.monotonic()
            while not _try_lock(descriptor):
                self.report(name, f"another process builds it; waiting, {time.monotonic() - started:.0f} s")
                await asyncio.sleep(1)
            yield descriptor
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _leaves(group: BaseExceptionGroup[DesksideError]) -> list[DesksideError]:
    found: list[DesksideError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _record(recipe: Recipe, made: Made, folder: Path, place: Path) -> Built:
    """Note beside the product what it is, and move both to their place in one rename."""
    product = folder / made.file
    tree = product.is_dir()
    built = Built(
        name=recipe.name,
        version=made.version,
        kind=recipe.kind,
        path=Path(made.file),
        sha256=_tree_digest(folder, place) if tree else file_digest(product),
        size=0 if tree else product.stat().st_size,
        references=made.references,
        programs=made.programs,
    )
    (folder / RECORD).write_text(json.dumps({**asdict(built), "path": made.file}, indent=1) + "\n")
    place.parent.mkdir(parents=True, exist_ok=True)
    # Whatever lies there is not whole, or it would have been served.
    shutil.rmtree(place, ignore_errors=True)
    _settle(folder, product)
    folder.rename(place)
    return _located(built, place)


def _settle(folder: Path, product: Path) -> None:
    """Bring everything to the disk: a rename that survives a power cut must not name bytes that did not."""
    if product.is_dir():
        os.sync()
        return
    for path in (product, folder / RECORD):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tree_digest(folder: Path, place: Path) -> str:
    """Over the key, which is in the name of its place, and the packages listed beside the tree."""
    return hashlib.sha256(f"{place.name}\n{(folder / 'packages.txt').read_text()}".encode()).hexdigest()


def read_built(place: Path) -> Built | None:
    """What lies at a place of the cache; None when nothing does, or not all of it."""
    try:
        noted = json.loads((place / RECORD).read_text())
        built = _located(
            Built(
                name=noted["name"],
                version=noted["version"],
                kind=noted["kind"],
                path=Path(noted["path"]),
                sha256=noted["sha256"],
                size=noted["size"],
                member=noted["member"],
                references=tuple(noted["references"]),
                programs=tuple(noted["programs"]),
            ),
            place,
        )
        complete = built.path.is_dir() if built.kind == "tree" else built.path.stat().st_size == built.size
    except (OSError, ValueError, KeyError):
        return None
    return built if complete else None


def _located(built: Built, place: Path) -> Built:
    return Built(**{**{f: getattr(built, f) for f in Built.__dataclass_fields__}, "path": place / built.path})


def prune(cache: Path, kept: Iterable[Built]) -> list[Path]:
    """Remove what no recipe makes any more. A tree that is mounted somewhere (below a rack) stays.

    Returns what was removed. Only for when no build is running.
    """
    mounted = Path("/proc/self/mounts").read_text()
    keep = {built.path.relative_to(cache / "artifacts").parts[0] for built in kept}
    removed = []
    for place in sorted((cache / "artifacts").iterdir()):
        if place.name not in keep and str(place) not in mounted:
            shutil.rmtree(place)
            removed.append(place)
    return removed


def check_names(names: Iterable[str], recipes: Mapping[str, Recipe]) -> None:
    """Raise UsageError for a name that no recipe has."""
    unknown = sorted(set(names) - set(recipes))
    if unknown:
        raise UsageError(
            f"no recipe is named {', '.join(unknown)}", hint=f"recipes: {', '.join(sorted(recipes))}"
        )
