"""File systems of the rack in which tests run what the hub and its directory run, without any rack."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity.realhub import Hub, running_hub


@pytest.fixture(scope="session")
def hub_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file system of the rack's hub image."""
    from deskside.lab.recipes import build, default_cache

    built = asyncio.run(build(["k8s-hub"], cache=default_cache(), report=lambda name, line: None))
    tree = tmp_path_factory.mktemp("hub")
    (tree / "archive").mkdir()
    subprocess.run(["tar", "-x", "-C", tree / "archive", "-f", built["k8s-hub"].path], check=True)
    (image,) = json.loads((tree / "archive" / "manifest.json").read_text())
    for layer in image["Layers"]:
        subprocess.run(["tar", "-x", "-C", tree, "-f", tree / "archive" / layer], check=True)
    yield tree
    shutil.rmtree(tree)


@pytest.fixture(scope="session")
def nas_tree() -> Path:
    """The file system of the rack's NAS, with slapd and ldap-utils; nobody writes to it."""
    from deskside.lab.recipes import build, default_cache

    built = asyncio.run(build(["base-nas"], cache=default_cache(), report=lambda name, line: None))
    return built["base-nas"].path


@pytest.fixture(scope="package")
def running(hub_tree: Path) -> Iterator[Hub]:
    """A real hub that looks for people who have left several times a second."""
    with running_hub(hub_tree) as hub:
        yield hub


@pytest.fixture
def hub(running: Hub) -> Iterator[Hub]:
    """The same without anybody, before and after."""
    running.empty()
    yield running
    running.empty()
