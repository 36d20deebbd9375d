"""What runs containers on a host: containerd from source, runc and the CNI plug-ins from Debian.

runc and the plug-ins need cgo or are many small programs; Debian's are recent enough, and are unpacked, not
installed, so that nothing here touches the machine.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from deskside.lab.recipes import layers
from deskside.lab.recipes.debian import TOOLS, copied_program, make_extract, package_version, tree_inputs
from deskside.lab.recipes.go import go_inputs, go_programs, module_files, version_flags
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
CONTAINERD = "2.3.7"
CRICTL = "1.36.0"
CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
CONTAINERD_FLAGS = version_flags(
    {
        "github.com/containerd/containerd/v2/version.Version": f"v{CONTAINERD}",
        "github.com/containerd/containerd/v2/version.Revision": "built-from-modules",
    }
)
CRICTL_FLAGS = version_flags({"sigs.k8s.io/cri-tools/pkg/version.Version": f"v{CRICTL}"})
PLUGINS = "containernetworking-plugins"


async def make_containerd(work: Work, cache: Path | None = None, module: Path | None = None) -> Made:
    """A tar like upstream's: the programs below `bin/`."""
    programs = {name: f"github.com/containerd/containerd/v2/cmd/{name}" for name in CONTAINERD_PROGRAMS}
    target = work.scratch / "containerd"
    await go_programs(
        work, "containerd", programs, target / "bin", CONTAINERD_FLAGS, cache=cache, folder=module
    )
    await asyncio.to_thread(layers.write_tar, work.folder / "containerd.tar", [target])
    return Made("containerd.tar", CONTAINERD, programs=tuple(f"bin/{name}" for name in CONTAINERD_PROGRAMS))


async def make_crictl(work: Work) -> Made:
    """The command line of the container runtime interface."""
    programs = {"crictl": "sigs.k8s.io/cri-tools/cmd/crictl"}
    await go_programs(work, "crictl", programs, work.folder, CRICTL_FLAGS)
    return Made("crictl", CRICTL)


async def make_runc(work: Work) -> Made:
    """Debian's runc; it needs libseccomp2, which every host with systemd has."""
    tree = await make_extract(work, ("runc",))
    copied_program(tree / "usr/sbin/runc", work.folder / "runc")
    return Made("runc", package_version(tree, "runc"))


async def make_plugins(work: Work) -> Made:
    """A tar like upstream's: the plug-ins at its root."""
    tree = await make_extract(work, (PLUGINS,))
    plugins = tree / "usr/lib/cni"
    await asyncio.to_thread(layers.write_tar, work.folder / "cni-plugins.tar", [plugins])
    names = tuple(sorted(path.name for path in plugins.iterdir()))
    return Made("cni-plugins.tar", package_version(tree, PLUGINS), programs=names)


RECIPES = (
    Recipe(
        name="containerd",
        version=CONTAINERD,
        kind="archive",
        about="the container runtime, its shim and its command line",
        make=make_containerd,
        sources=(*module_files("containerd"), HERE, layers.HERE),
        inputs=lambda machine: go_inputs(CONTAINERD_FLAGS),
        both_cores=True,
    ),
    Recipe(
        name="crictl",
        version=CRICTL,
        kind="binary",
        about="the command line of the container runtime interface",
        make=make_crictl,
        sources=(*module_files("crictl"), HERE),
        inputs=lambda machine: go_inputs(CRICTL_FLAGS),
        both_cores=True,
    ),
    Recipe(
        name="runc",
        version="debian",
        kind="binary",
        about="starts containers; Debian's",
        make=make_runc,
        sources=(HERE,),
        inputs=lambda machine: tree_inputs(machine, ("runc",)),
        tools=TOOLS,
        root=True,
    ),
    Recipe(
        name="cni-plugins",
        version="debian",
        kind="archive",
        about="the reference network plug-ins; Debian's",
        make=make_plugins,
        sources=(HERE, layers.HERE),
        inputs=lambda machine: tree_inputs(machine, (PLUGINS,)),
        tools=TOOLS,
        root=True,
    ),
)
