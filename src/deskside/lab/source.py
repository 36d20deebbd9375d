"""Recipes as an artifact source: what the rack brings to its hosts, built on this machine.

Charts that cannot be built are the small stand-ins of `lab/charts`, named as such in their own description.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deskside.errors import SiteError
from deskside.lab.charts import CHARTS, package_chart
from deskside.lab.recipes import RECIPES, Built, build
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.site.trains import Train

# Several artifacts of the train come from one recipe: programs in one file, which sees by its name what it is
# to be, and images in one archive, whose layers are shared.
RECIPE_OF: Mapping[str, str] = {
    **dict.fromkeys(("kubeadm", "kubelet", "kubectl", "helm"), "kube"),
    **dict.fromkeys(
        (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "coredns",
            "etcd",
            "pause",
        ),
        "kubernetes-images",
    ),
    **dict.fromkeys(("metallb-controller", "metallb-speaker"), "metallb-images"),
    **dict.fromkeys(("local-path-provisioner", "local-path-helper"), "local-path-images"),
}
ONE_EACH = ("containerd", "runc", "cni-plugins", "k8s-hub", "configurable-http-proxy", "notebook")
"""Recipes that make one artifact of their own name."""


class RecipeSource:
    """Serves artifacts from recipes, from the cache where their inputs have not changed."""

    def __init__(self, train: Train, cache: Path) -> None:
        self._train = train
        self._cache = cache

    @property
    def name(self) -> str:
        """As written in the lock."""
        return "recipe"

    async def lock(
        self, artifacts: Sequence[Artifact], report: Callable[[str, str], None]
    ) -> tuple[Locked, ...]:
        """Build what is not in the cache, and lock its digests. Raises SiteError for what has no recipe."""
        charts = [item for item in artifacts if item.kind is Kind.CHART]
        built_from = {
            item.name: RECIPE_OF.get(item.name, item.name) for item in artifacts if item not in charts
        }
        unknown = [name for name, recipe in built_from.items() if recipe not in RECIPES]
        unknown += [item.name for item in charts if item.name not in CHARTS]
        if unknown:
            raise SiteError(
                f"no recipe builds {', '.join(sorted(unknown))}", hint="this train is served from upstream"
            )
        built = await build(sorted(set(built_from.values())), cache=self._cache, report=report)
        found = [
            await self._locked_chart(item)
            if item in charts
            else self._locked(item, built[built_from[item.name]])
            for item in artifacts
        ]
        return tuple(found)

    async def fetch(self, locked: Locked) -> Path:
        """The file in the cache. The store compares its digest with the lock's."""
        if locked.artifact.kind is Kind.CHART:
            return await asyncio.to_thread(self._chart, locked.artifact)
        found = await build([locked.location], cache=self._cache, report=lambda _name, _line: None)
        return found[locked.location].path

    def _locked(self, artifact: Artifact, built: Built) -> Locked:
        references = built.references
        if artifact.kind is Kind.IMAGE:
            wanted = _untagged(self._train.artifact(artifact.name).reference)
            references = tuple(reference for reference in references if _untagged(reference) == wanted)
            if not references:
                raise SiteError(f"the recipe {built.name} makes no image {wanted} for {artifact.name}")
        return Locked(artifact, built.sha256, built.size, self.name, built.name, references, built.member)

    async def _locked_chart(self, artifact: Artifact) -> Locked:
        path = await asyncio.to_thread(self._chart, artifact)
        return Locked(artifact, _digest(path), path.stat().st_size, self.name, "stand-in chart")

    def _chart(self, artifact: Artifact) -> Path:
        folder = self._cache / "charts"
        folder.mkdir(parents=True, exist_ok=True)
        return package_chart(artifact.name, artifact.version, folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _untagged(reference: str) -> str:
    return reference.rpartition(":")[0]
