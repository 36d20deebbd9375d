"""`deskside.lock`: for each artifact of a site which version, which digest and which source.

It lies beside the site file and is meant to be committed with it. Nothing else is consulted at apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deskside.errors import Problem, SiteError
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.site.plain import read_plain
from deskside.site.whole import write_whole

LOCK_NAME = "deskside.lock"
_HEADING = (
    "# Written by Deskside: what it brings to the hosts, by digest. Commit it with the site file.\n"
    "# To take newer builds of the same versions: deskside lock --refresh\n"
)


class _Entry(BaseModel):
    """One artifact in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)] = 0
    source: str
    location: str
    references: tuple[str, ...] = ()
    member: str = ""


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: str
    artifacts: dict[str, _Entry]


def read_lock(path: Path) -> Mapping[str, Locked]:
    """Artifacts by name; empty when there is no file. Raises SiteError for a file that is not a lock."""
    if not path.exists():
        return {}
    try:
        found = _File.model_validate(read_plain(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SiteError(
            f"{path} cannot be read: {error}", hint=f"restore {path.name}, or delete it"
        ) from None
    except ValidationError as error:
        problems = [
            Problem(path.name, 0, ".".join(map(str, item["loc"])), str(item["msg"]))
            for item in error.errors()
        ]
        raise SiteError(
            f"{path} is not a lock of Deskside",
            problems=problems,
            hint=f"restore {path.name}, or delete it and run: deskside plan",
        ) from None
    return {name: _locked(name, entry) for name, entry in found.artifacts.items()}


def write_lock(path: Path, train: str, lock: Mapping[str, Locked]) -> None:
    """Write the file in one piece; artifacts in the order of their names."""
    entries = {
        name: _entry(lock[name]).model_dump(mode="json", exclude_defaults=True) for name in sorted(lock)
    }
    text = _HEADING + yaml.safe_dump({"train": train, "artifacts": entries}, sort_keys=False, width=110)
    write_whole(path, text, 0o644)


def _locked(name: str, entry: _Entry) -> Locked:
    artifact = Artifact(name, entry.version, entry.kind)
    return Locked(
        artifact, entry.sha256, entry.size, entry.source, entry.location, entry.references, entry.member
    )


def _entry(locked: Locked) -> _Entry:
    return _Entry(
        kind=locked.artifact.kind,
        version=locked.artifact.version,
        sha256=locked.sha256,
        size=locked.size,
        source=locked.source,
        location=locked.location,
        references=locked.references,
        member=locked.member,
    )
