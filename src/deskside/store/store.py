"""The store: turns what a train asks for into locked artifacts, and locked artifacts into verified files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deskside.errors import SiteError, StepFailed
from deskside.model.artifact import Artifact, ArtifactSource, Locked
from deskside.store.lock import read_lock, write_lock


@dataclass
class Store:
    """Artifacts of one site. `sources` by name; `preferred` serves what is not locked yet."""

    lock_path: Path
    sources: Mapping[str, ArtifactSource]
    preferred: str
    _verified: set[Path] = field(default_factory=set)
    _gates: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def resolve(
        self,
        train: str,
        wanted: Sequence[Artifact],
        report: Callable[[str, str], None],
        *,
        write: bool,
        refresh: bool = False,
    ) -> Mapping[str, Locked]:
        """Locked artifacts by name. What the lock has at the wanted version stays as it is.

        What it lacks is asked of the preferred source, and written to the lock when `write`. Raises SiteError
        for a locked source that this run does not have.
        """
        known = {} if refresh else read_lock(self.lock_path)
        kept = {item.name: known[item.name] for item in wanted if _agrees(known.get(item.name), item)}
        missing = [item for item in wanted if item.name not in kept]
        if missing:
            found = await self._source(self.preferred).lock(missing, report)
            kept |= {locked.name: locked for locked in found}
        if write and kept != known:
            write_lock(self.lock_path, train, kept)
        return kept

    async def file(self, locked: Locked) -> Path:
        """A local file with the locked digest; read and checked once for all hosts.

        Raises StepFailed when what the source serves is not what the lock says.
        """
        async with self._gates.setdefault(locked.sha256, asyncio.Lock()):
            path = await self._source(locked.source).fetch(locked)
            if path not in self._verified:
                found = await asyncio.to_thread(_digest, path)
                if found != locked.sha256:
                    raise StepFailed(
                        f"{locked.name} from {locked.source} has digest {found[:12]}, but the lock says "
                        f"{locked.sha256[:12]}",
                        hint="if it was rebuilt on purpose, run: deskside lock --refresh",
                    )
                self._verified.add(path)
            return path

    def _source(self, name: str) -> ArtifactSource:
        try:
            return self.sources[name]
        except KeyError:
            raise SiteError(
                f"{self.lock_path.name} names the source {name!r}, which is not available here",
                hint=f"available: {', '.join(sorted(self.sources))}; to lock anew: deskside lock --refresh",
            ) from None


def _agrees(locked: Locked | None, wanted: Artifact) -> bool:
    return locked is not None and locked.artifact == wanted


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
