"""`python -m deskside.lab.recipes.pins [--check]`: pins every package of the Python images with its digest.

What is wanted is in `python/*.in`; the answer of pip's resolver, for the Python in the images and not for the
one that runs this, goes to `python/*.txt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click

PYTHON = Path(__file__).parent / "python"
TARGET = (
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
)
"""The Python of bookworm: what every wheel in an image has to run on."""


def pinned(wanted: Path) -> str:
    """The text of the requirements file that belongs to `wanted`. Asks the package index."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    with tempfile.TemporaryDirectory() as nowhere:
        answer = subprocess.run(
            [*argv, "--report=-", *TARGET, f"--target={nowhere}", f"--requirement={wanted}"],
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(answer.stdout)["install"]
    lines = sorted(
        f"{one['metadata']['name'].lower()}=={one['metadata']['version']}"
        f" --hash=sha256:{one['download_info']['archive_info']['hashes']['sha256']}"
        for one in found
    )
    return "\n".join([f"# Made from {wanted.name} by: python -m deskside.lab.recipes.pins", *lines, ""])


def unpinned(wanted: Path) -> Iterable[str]:
    """Names that `wanted` asks for and its pins lack; needs no network."""
    names = (line.split("==")[0].strip().lower() for line in wanted.read_text().splitlines() if line.strip())
    has = {line.split("==")[0] for line in wanted.with_suffix(".txt").read_text().splitlines()}
    return sorted(set(names) - has)


@click.command()
@click.option("--check", is_flag=True, help="Only tell whether the pins fit what is wanted.")
def main(check: bool) -> None:
    """Write the pins anew, or check them."""
    for wanted in sorted(PYTHON.glob("*.in")):
        if check:
            missing = list(unpinned(wanted))
            if missing:
                raise click.ClickException(f"{wanted.name}: not pinned: {', '.join(missing)}")
        else:
            wanted.with_suffix(".txt").write_text(pinned(wanted))


if __name__ == "__main__":
    main()
