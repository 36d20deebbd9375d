"""`python -m deskside.lab.recipes [NAME...]`: builds artifacts and prints where they are.

For people and tests; it does nothing that `build` does not.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from deskside.errors import DesksideError
from deskside.lab.recipes import RECIPES, build, default_cache
from deskside.lab.recipes.build import prune as remove_stale


@click.command()
@click.argument("names", nargs=-1)
@click.option("--cache", type=click.Path(path_type=Path), help="Where artifacts are kept.")
@click.option("--prune", is_flag=True, help="Afterwards remove what older recipes made (needs all of them).")
@click.option("--list", "listed", is_flag=True, help="Print the recipes and build nothing.")
def main(names: tuple[str, ...], cache: Path | None, prune: bool, listed: bool) -> None:
    """Build the named artifacts, or all of them, and print name, version, digest, path and seconds."""
    if listed:
        for recipe in RECIPES.values():
            click.echo(f"{recipe.name:24} {recipe.version:12} {recipe.kind:8} {recipe.about}")
        return
    if prune and names:
        raise click.UsageError("--prune has to know all recipes: give no names")
    place = cache or default_cache()
    started = time.monotonic()
    seconds: dict[str, float] = {}

    def report(recipe: str, line: str) -> None:
        seconds[recipe] = time.monotonic() - started
        click.echo(f"{seconds[recipe]:6.1f} s  {recipe}: {line}", err=True)

    try:
        made = asyncio.run(build(names or tuple(RECIPES), cache=place, report=report))
    except DesksideError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    for built in made.values():
        took = f"{seconds[built.name]:.0f} s" if built.name in seconds else "cached"
        click.echo(f"{built.name}\t{built.version}\t{built.sha256}\t{built.path}\t{took}")
    for path in remove_stale(place, made.values()) if prune else ():
        click.echo(f"removed {path}", err=True)


if __name__ == "__main__":
    main()
