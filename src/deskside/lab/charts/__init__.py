"""Stand-in charts: small charts of Deskside's own, where a rack cannot have the publishers'.

Each takes a part of the values of the real chart under the same keys, so that add-ons need not know which of
the two they have. Nothing here is used by a site that has the real ones.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from deskside.errors import SiteError

CHARTS: Mapping[str, Path] = {
    f"{folder}-chart": Path(__file__).parent / folder
    for folder in ("jupyterhub", "local-path-provisioner", "metallb")
}
"""Folder by the name of the artifact in the train."""


def package_chart(name: str, version: str, out: Path) -> Path:
    """Pack the chart of an artifact as `out/CHART-VERSION.tgz`; the same bytes each time.

    `version` is written into its Chart.yaml; it must be a semantic version. Raises SiteError for a name that
    has no stand-in.
    """
    if name not in CHARTS:
        raise SiteError(
            f"there is no stand-in for the chart {name}", hint=f"there are: {', '.join(sorted(CHARTS))}"
        )
    folder = CHARTS[name]
    target = out / f"{folder.name}-{version}.tgz"
    temporary = target.with_suffix(".part")
    temporary.write_bytes(gzip.compress(_tar(folder, version), mtime=0))
    temporary.replace(target)
    return target


def _tar(folder: Path, version: str) -> bytes:
    buffer = io.BytesIO()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in files:
            content = _chart_file(path, version) if path.name == "Chart.yaml" else path.read_bytes()
            member = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _chart_file(path: Path, version: str) -> bytes:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return yaml.safe_dump({**content, "version": version}, sort_keys=True, width=110).encode()
