"""What recipes really make: programs that say their version, a Debian whose apt works, builds that repeat."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from deskside.lab import recipes
from deskside.lab.recipes import images, kubernetes
from deskside.lab.recipes.build import file_digest
from deskside.lab.recipes.go import MODULES
from deskside.lab.recipes.machine import Machine
from deskside.lab.recipes.recipe import Built
from deskside.lab.recipes.runtime import make_containerd
from deskside.lab.recipes.work import Work

pytestmark = [
    pytest.mark.rack,
    pytest.mark.skipif(os.geteuid() != 0, reason="Debian file systems need root"),
]


def told(name: str, line: str) -> None:
    """Progress, for whoever runs the test with -s."""
    print(f"{name}: {line}")


async def one(name: str) -> Built:
    return (await recipes.build([name], cache=recipes.default_cache(), report=told))[name]


def said(argv: Sequence[str | Path]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


async def test_the_one_binary_reports_the_versions_it_was_built_as(tmp_path: Path) -> None:
    kube = await one("kube")
    for name in kube.programs:
        (tmp_path / name).symlink_to(kube.path)
    wanted = f"v{kubernetes.KUBERNETES}"
    assert said([tmp_path / "kubeadm", "version", "-o", "short"]) == wanted
    for name in (*kubernetes.COMPONENTS, "kubelet"):
        assert said([tmp_path / name, "--version"]) == f"Kubernetes {wanted}", name
    assert wanted in said([tmp_path / "kubectl", "version", "--client"])
    assert said([tmp_path / "helm", "version", "--short"]).startswith(f"v{kubernetes.HELM}")
    assert f"etcdctl version: {kubernetes.ETCD}" in said([tmp_path / "etcdctl", "version"])
    assert f"etcd Version: {kubernetes.ETCD}" in said([tmp_path / "etcd", "--version"])
    assert f"CoreDNS-{kubernetes.COREDNS}" in said([tmp_path / "coredns", "-version"])
    listed = said([tmp_path / "kubeadm", "config", "images", "list", "--kubernetes-version", wanted])
    assert sorted(listed.split()) == sorted(images.KUBERNETES_REFERENCES)


async def test_a_bare_host_has_nothing_that_is_to_be_installed(tmp_path: Path) -> None:
    base = await one("base")
    has = {line.split()[0] for line in (base.path.parent / "packages.txt").read_text().splitlines()}
    assert {"systemd", "openssh-server", "python3", "sudo"} <= has
    assert not has & {
        "conntrack",
        "socat",
        "ethtool",
        "ebtables",
        "chrony",
        "keepalived",
        "runc",
        "containerd",
    }
    assert not list((base.path / "etc/ssh").glob("ssh_host_*")), "two hosts would share their keys"
    assert (base.path / "etc/machine-id").read_text() == ""


async def test_apt_works_inside_a_bare_host(tmp_path: Path) -> None:
    base = await one("base")
    script = """set -e
    mount -t tmpfs none "$2"
    mkdir "$2/upper" "$2/work" "$2/root"
    mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" none "$2/root"
    cp /etc/resolv.conf "$2/root/etc/"
    chroot "$2/root" apt-get -qq update
    chroot "$2/root" apt-cache policy conntrack
    """
    argv: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, "sh", base.path, tmp_path]
    assert "Candidate: 1:1." in await asyncio.to_thread(said, argv)


async def test_containerd_repeats_bit_for_bit(tmp_path: Path) -> None:
    """Built again with an empty build cache and from another path. A pass is noted by the recipe's key."""
    built = await one("containerd")
    cache = recipes.default_cache()
    note = cache / "verified" / built.path.parent.name
    if note.exists() and note.read_text() == built.sha256:
        return
    module = tmp_path / "elsewhere/of another length"
    shutil.copytree(MODULES / "containerd", module)
    folder, scratch = tmp_path / "product", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        work = Work("containerd", folder, scratch, cache, Machine(), {}, told, lock)
        again = await make_containerd(work, tmp_path / "go-build", module)
    finally:
        os.close(lock)
    with tarfile.open(folder / again.file) as tar:
        assert [entry.name for entry in tar if entry.isfile()] == sorted(built.programs)
    assert file_digest(folder / again.file) == built.sha256
    note.parent.mkdir(exist_ok=True)
    note.write_text(built.sha256)
