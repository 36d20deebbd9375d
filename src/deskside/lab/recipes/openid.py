"""The rack's OpenID Connect provider: the library `oidc-provider` of npm with a page to sign in at, and Node.

A real, certified implementation of the protocol, in place of Okta's service, which nobody can run themselves.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

from deskside.lab.recipes import layers, notebooks
from deskside.lab.recipes.pins import PYTHON
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
SOURCES = HERE.parent / "openid"
PROVIDER = "9.13.3"
PLACE = "opt/openid-provider"
"""Where everything is on the host that runs it."""
NODE, PROGRAM = f"/{PLACE}/node", f"/{PLACE}/provider.mjs"


async def make_provider(work: Work) -> Made:
    """A tar of Node, the library and the program, to be unpacked at `/`."""
    node = await notebooks.fetch_node(work)
    place = work.scratch / "tree" / PLACE
    place.mkdir(parents=True)
    for file in SOURCES.iterdir():
        shutil.copyfile(file, place / file.name)
    await notebooks.install_npm_packages(work, node, place)
    shutil.copy(node / "bin/node", place / "node")
    found = json.loads((place / "node_modules/oidc-provider/package.json").read_text())["version"]
    await asyncio.to_thread(layers.write_tar, work.folder / "openid-provider.tar", [work.scratch / "tree"])
    return Made("openid-provider.tar", found, programs=(NODE,))


RECIPES = (
    Recipe(
        name="openid-provider",
        version=PROVIDER,
        kind="archive",
        about="an OpenID Connect provider for the NAS",
        make=make_provider,
        sources=(HERE, layers.HERE, PYTHON / "node.txt", SOURCES),
        inputs=lambda machine: {"place": PLACE},
        root=True,
    ),
)
