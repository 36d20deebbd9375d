"""What a recipe is, what it makes, and the key under which the cache holds it.

Holds values only: it runs nothing and touches the disk only to read a recipe's own source files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from deskside.lab.recipes.machine import Machine
    from deskside.lab.recipes.work import Work

Kind = Literal["binary", "archive", "image", "file", "tree"]
"""One program; a tar of files; a docker-archive; one file of text; a folder that is a root file system."""

Report = Callable[[str, str], None]
"""`report(recipe, line)`: one line of progress for a person."""


@dataclass(frozen=True)
class Made:
    """What a recipe left in its folder."""

    file: str
    """Path of the product inside the recipe's folder."""
    version: str
    """The version that was really built; for Debian packages the one that apt chose."""
    references: tuple[str, ...] = ()
    """Names of the container images in it."""
    programs: tuple[str, ...] = ()
    """Names under which the one binary may be called; or paths of the programs in an archive."""


@dataclass(frozen=True)
class Built:
    """A product in the cache, complete and not changed since it was made."""

    name: str
    version: str
    kind: Kind
    path: Path
    sha256: str
    """Of the file; for a tree, of its key and its list of packages."""
    size: int
    """Bytes of the file; 0 for a tree."""
    member: str = ""
    """Path of the wanted file inside an archive that wraps one binary."""
    references: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How one artifact is made from source, and from which inputs."""

    name: str
    version: str
    """As asked for; `debian` where apt chooses."""
    kind: Kind
    about: str
    """What it does, as a person reads it in the list of recipes."""
    make: Callable[[Work], Awaitable[Made]]
    sources: Sequence[Path]
    """Files and folders of this package that decide the product."""
    inputs: Callable[[Machine], Mapping[str, str]]
    """What else decides it: flags, packages, the compiler."""
    needs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """Programs that the machine must have."""
    root: bool = False
    """True when only root can make it (file owners, chroot)."""
    both_cores: bool = field(default=False, compare=False)
    """True when it keeps a small machine busy by itself; two such recipes never run at once."""


def files_digest(paths: Sequence[Path]) -> str:
    """SHA-256 over names and bytes of files, and of all files below folders, in a fixed order."""
    total = hashlib.sha256()
    for path in paths:
        below = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in below:
            if "__pycache__" in file.parts:
                continue
            name = file.relative_to(path.parent).as_posix()
            total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def recipe_key(recipe: Recipe, machine: Machine, needs: Mapping[str, Built]) -> str:
    """SHA-256 (hex) over all that decides the product, the digests of what it is made from included."""
    decided_by = {
        "name": recipe.name,
        "version": recipe.version,
        "kind": recipe.kind,
        "architecture": machine.architecture,
        "sources": files_digest(recipe.sources),
        "inputs": dict(recipe.inputs(machine)),
        "needs": {name: needs[name].sha256 for name in recipe.needs},
    }
    return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()
