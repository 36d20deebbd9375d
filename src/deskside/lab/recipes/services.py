"""What runs in the rack's cluster and is not Kubernetes: MetalLB and the local volume provisioner.

MetalLB is the newest version whose modules can be had; its CRDs are made from the same source.
"""

from __future__ import annotations

import os
from pathlib import Path

from deskside.lab.recipes.go import (
    MODULES,
    STRIPPED,
    go_command,
    go_environment,
    go_inputs,
    go_programs,
    module_files,
    version_flags,
)
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
METALLB = "0.13.5"
LOCAL_PATH = "0.0.30"

METALLB_FLAGS = (
    *version_flags({"go.universe.tf/metallb/internal/version.release": f"v{METALLB}"}),
    # A dependency of that age reaches into the runtime.
    "-checklinkname=0",
)
LOCAL_PATH_FLAGS = version_flags({"main.VERSION": f"v{LOCAL_PATH}"})


async def make_controller(work: Work) -> Made:
    """MetalLB's controller: gives addresses to services."""
    programs = {"controller": "go.universe.tf/metallb/controller"}
    await go_programs(work, "metallb", programs, work.folder, METALLB_FLAGS)
    return Made("controller", METALLB)


async def make_speaker(work: Work) -> Made:
    """MetalLB's speaker: answers for those addresses."""
    programs = {"speaker": "go.universe.tf/metallb/speaker"}
    await go_programs(work, "metallb", programs, work.folder, METALLB_FLAGS)
    return Made("speaker", METALLB)


async def make_crds(work: Work) -> Made:
    """MetalLB's custom resource definitions, one YAML file, from the types in its source."""
    generator = {"controller-gen": "sigs.k8s.io/controller-tools/cmd/controller-gen"}
    await go_programs(work, "controller-gen", generator, work.scratch)
    go = await go_command(work)
    output = work.scratch / "crds"
    await work.run(
        [
            work.scratch / "controller-gen",
            "crd:crdVersions=v1",
            "paths=go.universe.tf/metallb/api/...",
            f"output:crd:dir={output}",
        ],
        "making custom resource definitions",
        # It calls go to read the source.
        env={**go_environment(work), "PATH": f"{go.parent}:{os.environ['PATH']}"},
        cwd=MODULES / "metallb",
    )
    made = sorted(output.glob("*.yaml"))
    (work.folder / "metallb-crds.yaml").write_text("".join(path.read_text() for path in made))
    return Made("metallb-crds.yaml", METALLB)


async def make_local_path(work: Work) -> Made:
    """The provisioner of volumes on a node's own disk."""
    programs = {"local-path-provisioner": "github.com/rancher/local-path-provisioner"}
    await go_programs(work, "local-path-provisioner", programs, work.folder, LOCAL_PATH_FLAGS)
    return Made("local-path-provisioner", LOCAL_PATH)


RECIPES = (
    Recipe(
        name="metallb-controller-program",
        version=METALLB,
        kind="binary",
        about="gives addresses to services",
        make=make_controller,
        sources=(*module_files("metallb"), HERE),
        inputs=lambda machine: go_inputs(METALLB_FLAGS),
        both_cores=True,
    ),
    Recipe(
        name="metallb-speaker-program",
        version=METALLB,
        kind="binary",
        about="answers ARP for those addresses",
        make=make_speaker,
        sources=(*module_files("metallb"), HERE),
        inputs=lambda machine: go_inputs(METALLB_FLAGS),
        both_cores=True,
    ),
    Recipe(
        name="metallb-crds",
        version=METALLB,
        kind="file",
        about="MetalLB's custom resource definitions",
        make=make_crds,
        sources=(*module_files("metallb"), *module_files("controller-gen"), HERE),
        inputs=lambda machine: go_inputs(STRIPPED),
        both_cores=True,
    ),
    Recipe(
        name="local-path-provisioner-program",
        version=LOCAL_PATH,
        kind="binary",
        about="provisioner of volumes on a node's own disk",
        make=make_local_path,
        sources=(*module_files("local-path-provisioner"), HERE),
        inputs=lambda machine: go_inputs(LOCAL_PATH_FLAGS),
        both_cores=True,
    ),
)
