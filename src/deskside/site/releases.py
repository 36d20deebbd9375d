"""The sections about Helm releases: charts and values of one's own. Part of `schema.py`, which see.

Apart from it only for its length; import these names from `deskside.site.schema`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from deskside.site.machines import Section
from deskside.site.values import Values, wrong


class ChartSource(Section):
    """Another chart than the train's."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["reference", "version"]}, {"required": ["path"]}]},
    )

    reference: str | None = Field(
        None,
        examples=["oci://registry.example/charts/jupyterhub"],
        pattern=r"^(oci|https)://[^\s]+$",
        description="oci://registry/chart, or https://repository/chart-name; needs `version`.",
    )
    version: str | None = Field(
        None, examples=["4.4.2"], pattern=r"^[\w.+-]+$", description="Exact version of the chart."
    )
    path: Path | None = Field(
        None, description="Chart folder or .tgz on this machine, relative to the site file."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.reference is None) == (self.path is None) or (self.reference is None) != (
            self.version is None
        ):
            raise wrong(
                "a chart comes from exactly one place",
                "write {reference: URL, version: VERSION} or {path: PATH}",
            )
        return self


class Release(Section):
    """The escape hatch of one Helm release."""

    chart: ChartSource | None = Field(None, description="Another chart than the train's.")
    values: Values = Field({}, description="Values for the chart, passed through last and never looked into.")


class Releases(Section):
    """The escape hatch of every Helm release but the hub's, which is in `notebooks`."""

    metallb: Release = Field(Release(), description="MetalLB: load-balancer addresses.")
    local_path: Release = Field(
        Release(), alias="local-path", description="local-path-provisioner: local volumes."
    )
