"""Stand-in charts: small charts of Deskside's own, where a rack cannot have the publishers'.

Each takes a part of the values of the real chart under the same keys, so that add-ons need not know which of
the two they have. Nothing here is used by a site that has the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deskside.errors import SiteError
from deskside.store.charts import packed

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
    temporary.write_bytes(packed(folder, version))
    temporary.replace(target)
    return target
