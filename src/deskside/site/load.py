"""Reads and validates a site file: every problem of it at once, each with line, field and remedy.

Nothing here asks a host or the network; the only other files it reads are the trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from deskside.errors import Problem, SiteError
from deskside.site import rules
from deskside.site.draft import make_draft
from deskside.site.faults import Fault, field_path, shorten
from deskside.site.messages import faults_of
from deskside.site.reading import Document, Unreadable, read_bytes, read_document
from deskside.site.schema import Site


@dataclass(frozen=True)
class LoadedSite:
    """A site file without errors."""

    site: Site
    path: Path
    warnings: tuple[Problem, ...]
    """In the order of lines."""
    digest: str
    """SHA-256 of the file, in hexadecimal."""

    @property
    def folder(self) -> Path:
        """Where the site file lies; other paths in it are relative to here."""
        return self.path.parent


def load(path: Path | str) -> LoadedSite:
    """Read a site file. Raises SiteError with every problem of it, warnings included."""
    path = Path(path)
    site, found, digest = _read(path)
    errors = [problem for problem in found if not problem.warning]
    if site is None or errors:
        count = f"{len(errors)} problem{'s' if len(errors) != 1 else ''}"
        hint = errors[0].remedy if len(errors) == 1 and not errors[0].line else ""
        raise SiteError(f"{_shown(path)} has {count}", problems=found, hint=hint)
    return LoadedSite(site, path, found, digest)


def problems(path: Path | str) -> tuple[Problem, ...]:
    """Every problem of a site file, warnings included, in the order of lines; never raises."""
    return _read(Path(path))[1]


def line_of(path: Path, field: str) -> int:
    """The line of a field, as `identity.ca.file`, or of what is nearest around it; 0 for a file without."""
    try:
        return read_document(read_bytes(path)).line(tuple(field.split(".")))
    except Unreadable:
        return 0


def _read(path: Path) -> tuple[Site | None, tuple[Problem, ...], str]:
    try:
        raw = read_bytes(path)
        document = read_document(raw)
    except Unreadable as error:
        return None, (Problem(_shown(path), error.line, "", error.message, error.remedy),), ""
    site, faults = _validated(document.data)
    found = {_problem(path, document, fault) for fault in (*document.faults, *faults)}
    return site, tuple(sorted(found)), hashlib.sha256(raw).hexdigest()


def _validated(data: Mapping[str, object]) -> tuple[Site | None, list[Fault]]:
    try:
        site, faults = Site.model_validate(data), []
    except ValidationError as error:
        site, faults = None, list(faults_of(error, data))
    return site, [*faults, *rules.faults(make_draft(data))]


def _problem(path: Path, document: Document, fault: Fault) -> Problem:
    return Problem(
        file=_shown(path),
        line=fault.line or document.line(fault.place),
        field=field_path(fault.place),
        message=_one_line(fault.message),
        remedy=_one_line(fault.remedy),
        warning=fault.warning,
    )


def _one_line(text: str) -> str:
    # What a file says may be meant for the terminal and not for its reader.
    return shorten(text if text.isprintable() else "".join(_printable(text)))


def _printable(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else ascii(character)[1:-1]


def _shown(path: Path) -> str:
    return _one_line(str(path))
