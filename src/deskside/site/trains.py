"""Trains: the versions that were tested together, as data in `trains/NAME.yaml`.

A train says what, in which version, and where the publisher offers it together with its checksum. It never
says where this site gets it from: that is the store's. A train may extend another and then lists only what
differs, each with its reason. This file fetches nothing.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from deskside.errors import SiteError
from deskside.site.plain import read_plain

NAME = r"[0-9]{4}-[0-9]{2}(-[a-z0-9]+)*"


class Kind(StrEnum):
    """What an artifact is: one program, a tar of files, a container image, or a Helm chart."""

    BINARY = "binary"
    ARCHIVE = "archive"
    IMAGE = "image"
    CHART = "chart"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checksum(_Entry):
    """Where the publisher says the digest of a download."""

    url: str = Field(pattern="^https://")
    """With `{version}`."""
    kind: Literal["sha256sum-file", "sha256-file"]
    """`sha256sum-file`: lines of digest and file name. `sha256-file`: the digest alone."""


class Download(_Entry):
    """A file that the publisher offers over HTTPS."""

    url: str = Field(pattern="^https://")
    """With `{version}`."""
    checksum: Checksum
    member: str = ""
    """Path of the wanted program inside the tar, with `{version}`; empty when the file itself is wanted."""


class Image(_Entry):
    """A container image in the publisher's registry."""

    image: str = Field(pattern=r"^[a-z0-9.-]+\.[a-z]+/[a-z0-9._/-]+:[\w{}.-]+$")
    """Name and tag, with `{version}`."""


class Chart(_Entry):
    """A Helm chart in the publisher's repository."""

    chart: str = Field(pattern="^(https|oci)://")
    """Address of the repository; for `oci://` that of the chart's folder."""
    name: str
    """Name of the chart in the repository."""


def _source_kind(value: object) -> str:
    found = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return next((key for key in ("image", "chart") if key in found), "url")


Upstream = Annotated[
    Annotated[Download, Tag("url")] | Annotated[Image, Tag("image")] | Annotated[Chart, Tag("chart")],
    Discriminator(_source_kind),
]
"""A download with its checksum, an image, or a chart: told apart by `url`, `image` or `chart`."""


class TrainArtifact(_Entry):
    """One thing of a train: its kind, its version, and where its publisher offers it."""

    kind: Kind
    version: str = Field(pattern=r"^[\w.+-]+$")
    """As the publisher writes it, without a leading v."""
    upstream: Upstream | None = None
    """Where the publisher offers it; None when only a recipe or a bundle has it. An image has one."""
    reason: str = ""
    """Why this train differs from the one that it extends."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fits = {Kind.IMAGE: isinstance(self.upstream, Image), Kind.CHART: isinstance(self.upstream, Chart)}
        named = self.upstream is not None or self.kind is Kind.IMAGE
        if named and not fits.get(self.kind, isinstance(self.upstream, Download)):
            raise ValueError(f"an artifact of kind {self.kind} needs another kind of upstream")
        return self

    @property
    def url(self) -> str:
        """Address of the download; empty for images, charts and what the publisher does not offer."""
        return self._filled(self.upstream.url) if isinstance(self.upstream, Download) else ""

    @property
    def checksum_url(self) -> str:
        """Address of the publisher's checksum; empty where `url` is."""
        return self._filled(self.upstream.checksum.url) if isinstance(self.upstream, Download) else ""

    @property
    def member(self) -> str:
        """Path of the wanted program inside the tar; empty when there is none."""
        return self._filled(self.upstream.member) if isinstance(self.upstream, Download) else ""

    @property
    def reference(self) -> str:
        """Name and tag of the image; empty for all but images."""
        return self._filled(self.upstream.image) if isinstance(self.upstream, Image) else ""

    def _filled(self, template: str) -> str:
        return template.replace("{version}", self.version)


class Train(_Entry):
    """The versions that were tested together."""

    name: str = Field(pattern=f"^{NAME}$")
    kubernetes: str = Field(pattern=r"^1\.[0-9]{2}\.[0-9]+$")
    """Version of Kubernetes, with its patch: `1.36.3`."""
    artifacts: Mapping[str, TrainArtifact]
    """By name, in the order of the file."""
    extends: str = ""
    """Name of the train that this one differs from; empty for one of its own."""

    @property
    def kubernetes_minor(self) -> str:
        """Version of Kubernetes without its patch: `1.36`."""
        return self.kubernetes.rpartition(".")[0]

    @property
    def differences(self) -> Mapping[str, str]:
        """Reason by name of each artifact in which this train differs from the one that it extends."""
        return {name: artifact.reason for name, artifact in self.artifacts.items() if artifact.reason}

    def artifact(self, name: str) -> TrainArtifact:
        """The artifact of that name. Raises SiteError naming the train."""
        try:
            return self.artifacts[name]
        except KeyError:
            raise SiteError(f"the train {self.name} has no {name}", hint="choose another train") from None


def known_trains() -> tuple[str, ...]:
    """Names of all trains of this version, sorted."""
    folder = importlib.resources.files("deskside.site") / "trains"
    return tuple(sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml")))


@cache
def load_train(name: str) -> Train:
    """The train of that name. Raises SiteError naming the known ones, or what is wrong with its file."""
    if name not in known_trains():
        raise SiteError(
            f"there is no train {name}", hint=f"trains of this version: {', '.join(known_trains())}"
        )
    file = importlib.resources.files("deskside.site") / "trains" / f"{name}.yaml"
    train = read_train(file.read_text(encoding="utf-8"), name)
    if train.name != name:
        raise SiteError(f"the train {name} calls itself {train.name}")
    return train


def read_train(text: str, source: str) -> Train:
    """A train from the text of its file; `source` is what errors call it. Raises SiteError."""
    try:
        content = read_plain(text)
        if isinstance(content, dict) and content.get("extends"):
            content = _extended(content, source)
        train = Train.model_validate(content)
    except (yaml.YAMLError, ValidationError) as error:
        raise SiteError(f"the train {source} cannot be read: {_short(error)}") from None
    return train


def _extended(content: dict[str, object], source: str) -> dict[str, object]:
    parent = load_train(str(content["extends"])).model_dump()
    differences = content.get("artifacts", {})
    artifacts = {name: {**artifact, "reason": ""} for name, artifact in parent["artifacts"].items()}
    if not isinstance(differences, dict):
        raise SiteError(f"the train {source} cannot be read: artifacts: is no mapping")
    for name, difference in differences.items():
        if not isinstance(difference, dict) or not str(difference.get("reason") or "").strip():
            raise SiteError(f"the train {source} differs in {name} without a reason")
        artifacts[name] = {**artifacts.get(name, {}), **difference}
    return {"kubernetes": parent["kubernetes"], **content, "artifacts": artifacts}


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return re.sub(r"\s+", " ", str(error))
