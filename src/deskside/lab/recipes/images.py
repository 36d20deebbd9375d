"""Container images of one static program each, or of several on one Debian layer, named like upstream's.

What is in them is built here; that they carry upstream's names lets charts and kubeadm use them unchanged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from deskside.lab.recipes import debian, layers
from deskside.lab.recipes.kubernetes import COMPONENTS, COREDNS, ETCD_IMAGE, KUBERNETES, PAUSE, PROGRAMS
from deskside.lab.recipes.layers import Image, Layer
from deskside.lab.recipes.machine import SUITE
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.services import LOCAL_PATH, METALLB
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
BUSYBOX = "1.35.0"

DEBIAN_PACKAGES = (
    *("python3", "ca-certificates"),
    # kube-proxy calls nft, and its image is on this layer too.
    *("nftables", "iptables", "conntrack"),
)
ENVIRONMENT = "opt/jupyter"
"""Where images mount their Python environment in the Debian tree while they are built."""
COMPILE_LIBRARY = (
    # Times in a layer are zero, so byte code may not be judged by them.
    '--customize-hook=chroot "$1" python3 -m compileall -q -f --invalidation-mode unchecked-hash'
    " /usr/lib/python3.11 /usr/lib/python3"
)

KUBERNETES_REFERENCES = (
    *(f"registry.k8s.io/{name}:v{KUBERNETES}" for name in COMPONENTS),
    f"registry.k8s.io/coredns/coredns:v{COREDNS}",
    f"registry.k8s.io/etcd:{ETCD_IMAGE}",
    f"registry.k8s.io/pause:{PAUSE}",
)
METALLB_REFERENCES = tuple(f"quay.io/metallb/{name}:v{METALLB}" for name in ("controller", "speaker"))
LOCAL_PATH_REFERENCES = (
    f"docker.io/rancher/local-path-provisioner:v{LOCAL_PATH}",
    f"docker.io/library/busybox:{BUSYBOX}",
)


async def make_debian(work: Work) -> Made:
    """The Debian tree below every image that is more than one static program."""
    target = work.folder / "rootfs"
    hooks = (COMPILE_LIBRARY, f'--customize-hook=mkdir -p "$1/{ENVIRONMENT}"')
    await debian.make_tree(work, target, DEBIAN_PACKAGES, without=debian.NOT_IN_IMAGES, hooks=hooks)
    debian.make_image_tree(target)
    (work.folder / "packages.txt").write_text(debian.packages_text(target))
    return Made("rootfs", (target / "etc/debian_version").read_text().strip())


async def tree_layer(work: Work, tree: str = "debian-images") -> Layer:
    """The layer of a tree that this recipe needs; always the same bytes for the same tree."""
    path = work.needs[tree].path
    return await asyncio.to_thread(layers.write_tar, work.scratch / f"{tree}.tar", [path], keep_owners=True)


async def program_layer(work: Work, name: str, files: Mapping[str, Path], links: Mapping[str, str]) -> Layer:
    """A layer of programs (path in the image: file) and symbolic links (path: target)."""
    tree = work.scratch / name
    for place, source in files.items():
        debian.copied_program(source, tree / place)
    for place, target in links.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).symlink_to(target)
    return await asyncio.to_thread(layers.write_tar, work.scratch / f"{name}.tar", [tree])


async def finish(work: Work, images: Sequence[Image], version: str) -> Made:
    """Write the archive of all images of a recipe."""
    file = f"{work.recipe}.tar"
    work.say(f"writing {len(images)} images")
    target = work.folder / file
    await asyncio.to_thread(layers.write_images, target, images, work.machine.architecture)
    return Made(file, version, references=tuple(image.reference for image in images))


async def make_kubernetes(work: Work) -> Made:
    """All that kubeadm asks for: one Debian layer, one layer of the one binary, and pause."""
    below = await tree_layer(work)
    links = {f"usr/local/bin/{name}": "kube" for name in PROGRAMS} | {"coredns": "usr/local/bin/kube"}
    kube = await program_layer(work, "kube", {"usr/local/bin/kube": work.needs["kube"].path}, links)
    pause = await program_layer(work, "pause", {"pause": work.needs["pause-program"].path}, {})
    starts: Mapping[str, Sequence[str]] = {"coredns": ("/coredns",), "pause": ("/pause",)}
    images = []
    for reference in KUBERNETES_REFERENCES:
        name = re.split(r"[/:]", reference)[-2]
        images.append(
            Image(
                reference,
                [pause] if name == "pause" else [below, kube],
                entrypoint=starts.get(name, ()),
                user="65535:65535" if name == "pause" else "",
            )
        )
    return await finish(work, images, KUBERNETES)


async def make_metallb(work: Work) -> Made:
    """MetalLB's controller and speaker, each a static program on nothing."""
    images = []
    for reference, name in zip(METALLB_REFERENCES, ("controller", "speaker"), strict=True):
        layer = await program_layer(work, name, {name: work.needs[f"metallb-{name}-program"].path}, {})
        images.append(Image(reference, [layer], entrypoint=(f"/{name}",)))
    return await finish(work, images, METALLB)


async def make_local_path(work: Work) -> Made:
    """The volume provisioner, and Debian's busybox for the pods with which it makes directories."""
    name = "local-path-provisioner"
    program = work.needs[f"{name}-program"].path
    provisioner = await program_layer(work, name, {f"usr/bin/{name}": program}, {})
    tree = await debian.make_extract(work, ("busybox-static",))
    busybox = tree / "bin/busybox"
    listed = await work.run([busybox, "--list"], "listing what busybox can do")
    links = {f"bin/{applet}": "busybox" for applet in listed.split() if applet != "busybox"}
    small = await program_layer(work, "busybox", {"bin/busybox": busybox}, links)
    images = [
        Image(LOCAL_PATH_REFERENCES[0], [provisioner], entrypoint=(name,)),
        Image(LOCAL_PATH_REFERENCES[1], [small], command=("sh",)),
    ]
    return await finish(work, images, LOCAL_PATH)


RECIPES = (
    Recipe(
        name="debian-images",
        version=SUITE,
        kind="tree",
        about="the Debian layer of images: Python and kube-proxy's tools",
        make=make_debian,
        sources=(debian.HERE, HERE),
        inputs=lambda machine: debian.tree_inputs(machine, DEBIAN_PACKAGES),
        tools=debian.TOOLS,
        root=True,
    ),
    Recipe(
        name="kubernetes-images",
        version=KUBERNETES,
        kind="image",
        about="the seven images of kubeadm's list",
        make=make_kubernetes,
        sources=(HERE, layers.HERE),
        inputs=lambda machine: {"references": " ".join(KUBERNETES_REFERENCES)},
        needs=("debian-images", "kube", "pause-program"),
        root=True,
    ),
    Recipe(
        name="metallb-images",
        version=METALLB,
        kind="image",
        about="MetalLB's controller and speaker",
        make=make_metallb,
        sources=(HERE, layers.HERE),
        inputs=lambda machine: {"references": " ".join(METALLB_REFERENCES)},
        needs=("metallb-controller-program", "metallb-speaker-program"),
    ),
    Recipe(
        name="local-path-images",
        version=LOCAL_PATH,
        kind="image",
        about="the provisioner of local volumes and its busybox",
        make=make_local_path,
        sources=(HERE, layers.HERE, debian.HERE),
        inputs=lambda machine: {
            "references": " ".join(LOCAL_PATH_REFERENCES),
            **debian.tree_inputs(machine, ("busybox-static",)),
        },
        needs=("local-path-provisioner-program",),
        tools=debian.TOOLS,
        root=True,
    ),
)
