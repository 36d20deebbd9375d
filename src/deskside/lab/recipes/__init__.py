"""Recipes: every artifact of the rack, built from source with nothing but package registries.

The names and versions are here; how each is made is in the module of its family. Nothing here decides what
a site uses: that is the train's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from deskside.lab.recipes import debian, images, kubernetes, notebooks, openid, runtime, services
from deskside.lab.recipes.build import Kitchen, check_names, default_cache
from deskside.lab.recipes.machine import SYSTEM_PACKAGES, Machine, missing_packages
from deskside.lab.recipes.recipe import Built, Recipe, Report

__all__ = [
    "RECIPES",
    "SYSTEM_PACKAGES",
    "Built",
    "Recipe",
    "Report",
    "build",
    "default_cache",
    "missing_packages",
]

_FAMILIES = (debian, kubernetes, runtime, services, images, notebooks, openid)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for family in _FAMILIES for recipe in family.RECIPES}
"""All recipes by name, those that others are made from first."""


async def build(names: Iterable[str], *, cache: Path, report: Report) -> dict[str, Built]:
    """Build the named artifacts, and what they need, or find them in the cache.

    Raises UsageError for an unknown name and DesksideError for what is missing or failed; then the recipes
    that are still running are ended too.
    """
    wanted = list(names)
    check_names(wanted, RECIPES)
    return await Kitchen(RECIPES, cache, report, Machine()).serve(wanted)
