"""Charts as archives that come out the same however often packed, and a site's own charts as a source."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from deskside.errors import SiteError, StepFailed
from deskside.model.artifact import Artifact, Kind, Locked


def packed(folder: Path, version: str = "") -> bytes:
    """A chart's folder as .tgz; `version` replaces that of its Chart.yaml. Raises OSError, yaml.YAMLError."""
    buffer = io.BytesIO()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in files:
            content = path.read_bytes()
            if version and path == folder / "Chart.yaml":
                content = yaml.safe_dump(
                    {**yaml.safe_load(content), "version": version}, sort_keys=True, width=110
                ).encode()
            member = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


class SiteCharts:
    """Charts that lie beside the site file: they are what they are now, and no lock names them."""

    def __init__(self, paths: Mapping[str, Path], cache: Path) -> None:
        """`paths`: folder or .tgz by the name of the artifact that it stands for."""
        self._paths = paths
        self._cache = cache / "site-charts"

    @property
    def name(self) -> str:
        """As shown to people."""
        return "site"

    async def lock(
        self, artifacts: Sequence[Artifact], report: Callable[[str, str], None]
    ) -> tuple[Locked, ...]:
        """Digests of the charts as they are now. Raises SiteError for a path that is no chart."""
        del report
        return tuple([await asyncio.to_thread(self._locked, item.name) for item in artifacts])

    async def fetch(self, locked: Locked) -> Path:
        """The packed chart. Raises StepFailed when it changed since it was locked."""
        path = self._cache / f"{locked.sha256}.tgz"
        if not path.exists():
            raise StepFailed(
                f"the chart {locked.location} changed during the run", hint="run the command again"
            )
        return path

    def _locked(self, name: str) -> Locked:
        path = self._paths[name]
        try:
            content = packed(path) if path.is_dir() else path.read_bytes()
        except OSError as error:
            raise SiteError(f"the chart {path} cannot be read: {error.strerror or error}") from None
        if path.is_dir() and not (path / "Chart.yaml").is_file():
            raise SiteError(f"{path} is no chart: it has no Chart.yaml", hint="name the chart's own folder")
        digest = hashlib.sha256(content).hexdigest()
        self._cache.mkdir(parents=True, exist_ok=True)
        target = self._cache / f"{digest}.tgz"
        temporary = target.with_suffix(".part")
        temporary.write_bytes(content)
        temporary.replace(target)
        return Locked(Artifact(name, "site", Kind.CHART), digest, len(content), self.name, str(path))
