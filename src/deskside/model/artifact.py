"""Artifacts: everything Deskside brings to a host, named, versioned and locked by digest.

Steps and resources see `Locked` values only and never learn which source served them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deskside.site.trains import Kind

__all__ = ["Artifact", "ArtifactSource", "Kind", "Locked"]


@dataclass(frozen=True, order=True)
class Artifact:
    """What the train asks for: nothing here says where it comes from."""

    name: str
    version: str
    kind: Kind


@dataclass(frozen=True)
class Locked:
    """An artifact as `deskside.lock` has it: what exactly, and from which source."""

    artifact: Artifact
    sha256: str
    """Of the file; of the manifest for an image that hosts pull by digest."""
    size: int
    """Bytes of the file; 0 when it is pulled by hosts."""
    source: str
    """`recipe`, `upstream` or `bundle`: shown to people, decided upon by the store alone."""
    location: str
    """URL, image reference or path, for the source that serves it."""
    references: tuple[str, ...] = ()
    """Names of the container images in it."""
    member: str = ""
    """Path of the wanted file inside an archive that wraps one binary."""

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.artifact.name

    @property
    def pulled(self) -> bool:
        """True when each host pulls it by digest instead of being sent a file."""
        return self.artifact.kind is Kind.IMAGE and self.size == 0


class ArtifactSource(Protocol):
    """Where artifacts come from: a bundle, upstream, or recipes."""

    @property
    def name(self) -> str:
        """`bundle`, `upstream` or `recipe`."""

    async def lock(
        self, artifacts: Sequence[Artifact], report: Callable[[str, str], None]
    ) -> tuple[Locked, ...]:
        """Resolve each artifact to a digest (building or fetching what is needed); `report(name, line)`.

        Raises SiteError for an artifact that this source cannot serve, naming it.
        """

    async def fetch(self, locked: Locked) -> Path:
        """A local file whose digest is `locked.sha256`. Raises StepFailed when it cannot be had."""
