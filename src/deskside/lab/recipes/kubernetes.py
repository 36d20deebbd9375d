"""The Kubernetes family: one binary that is every component, the images made of it, and pause.

Versions are those that kubeadm itself names; its upgrade check refuses others. The images are stand-ins
for upstream's in one respect: one Debian layer lies below all of them, so that hosts unpack it once.
"""

from __future__ import annotations

from pathlib import Path

from deskside.lab.recipes.go import go_inputs, go_programs, module_files, version_flags
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.work import Work

HERE = Path(__file__)

KUBERNETES = "1.36.3"
ETCD = "3.6.8"
ETCD_IMAGE = f"{ETCD}-0"
COREDNS = "1.14.2"
PAUSE = "3.10.2"
HELM = "4.3.1"

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
PROGRAMS = (*COMPONENTS, "kubelet", "kubeadm", "kubectl", "etcd", "etcdctl", "coredns", "helm")

IMAGES = (*COMPONENTS, "coredns", "etcd", "pause")
"""The containers of kubeadm's list; the other programs run on hosts."""


def _kubernetes_version(package: str) -> dict[str, str]:
    major, minor, _ = KUBERNETES.split(".")
    return {
        f"{package}.gitVersion": f"v{KUBERNETES}",
        f"{package}.gitMajor": major,
        f"{package}.gitMinor": minor,
        f"{package}.gitCommit": "built-from-modules",
        f"{package}.gitTreeState": "clean",
        f"{package}.buildDate": "1970-01-01T00:00:00Z",
    }


KUBE_FLAGS = version_flags(
    {
        **_kubernetes_version("k8s.io/component-base/version"),
        **_kubernetes_version("k8s.io/client-go/pkg/version"),
        "helm.sh/helm/v4/internal/version.version": f"v{HELM}",
        "helm.sh/helm/v4/internal/version.gitTreeState": "clean",
        "go.etcd.io/etcd/api/v3/version.GitSHA": "built-from-modules",
        "github.com/coredns/coredns/coremain.GitCommit": "built-from-modules",
    }
)


async def make_kube(work: Work) -> Made:
    """One static binary; what it is depends on the name it is called by."""
    await go_programs(work, "kube", {"kube": "."}, work.folder, KUBE_FLAGS)
    return Made("kube", KUBERNETES, programs=PROGRAMS)


async def make_pause(work: Work) -> Made:
    """The program that holds a pod's namespaces."""
    await go_programs(work, "pause", {"pause": "."}, work.folder)
    return Made("pause", PAUSE)


RECIPES = (
    Recipe(
        name="kube",
        version=KUBERNETES,
        kind="binary",
        about="all Kubernetes components, etcd, CoreDNS and Helm in one binary",
        make=make_kube,
        sources=(*module_files("kube"), HERE),
        inputs=lambda machine: go_inputs(KUBE_FLAGS),
        both_cores=True,
    ),
    Recipe(
        name="pause-program",
        version=PAUSE,
        kind="binary",
        about="the program that holds a pod's namespaces",
        make=make_pause,
        sources=(*module_files("pause"), HERE),
        inputs=lambda machine: go_inputs(),
        both_cores=True,
    ),
)
