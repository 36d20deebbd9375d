"""What lives in the cluster: Helm releases, objects of our own, and secrets that only the cluster knows.

Each is planned by questions that a server answers with its own admin credentials; nothing here talks to the
cluster's API, and no secret of the cluster is ever asked for.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from deskside.model.action import Action, ApplyRelease, InstallArtifact, MakeClusterSecret, RunCommand
from deskside.model.artifact import Kind, Locked
from deskside.model.query import ObjectsFound, ReadObjects, ReadRelease, Reference, ReleaseFound
from deskside.model.resource import Change, Deferred, Disruption, HostReader
from deskside.resources.artifacts import STORE
from deskside.resources.objects import MARK, compared, identity, marked, reference, table
from deskside.site.secrets import Secret

KUBECTL = ("/opt/deskside/bin/kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")
APPLY = (*KUBECTL, "apply", "--server-side", "--field-manager=deskside", "--force-conflicts")
CLUSTER_DOWN = "known after the cluster is up"

Values = Mapping[str, object]


@dataclass(frozen=True)
class ChartReference:
    """A chart that the server fetches itself, when a site names one of its own."""

    reference: str
    """`oci://registry/chart`, or `https://repository/chart`."""
    version: str

    @property
    def digest(self) -> str:
        """SHA-256 of reference and version: what can be known of it before it was fetched."""
        return hashlib.sha256(f"{self.reference}@{self.version}".encode()).hexdigest()


@dataclass(frozen=True)
class Release:
    """A Helm release: this chart, these values, and every object as the last apply left it."""

    namespace: str
    name: str
    chart: Locked | ChartReference
    values: Values
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the namespace."""
    timeout: float = 600.0
    """Seconds that its objects may take to become ready."""

    @property
    def subject(self) -> str:
        """`release NAMESPACE/NAME`."""
        return f"release {self.namespace}/{self.name}"

    @property
    def chart_digest(self) -> str:
        """SHA-256 of the chart's file, or of its reference."""
        return self.chart.digest if isinstance(self.chart, ChartReference) else self.chart.sha256

    @property
    def version(self) -> str:
        """Version of the chart, as shown."""
        return self.chart.version if isinstance(self.chart, ChartReference) else self.chart.artifact.version

    @property
    def values_text(self) -> str:
        """The values as YAML, the same text for the same values."""
        return yaml.safe_dump(_plain(self.values), sort_keys=True, allow_unicode=True, width=110)

    @property
    def values_digest(self) -> str:
        """SHA-256 of values and labels: all that Deskside hands over besides the chart."""
        # Of JSON: writing YAML takes ten times as long, and a plan does it for nothing.
        given = json.dumps([_plain(self.values), dict(self.labels)], sort_keys=True)
        return hashlib.sha256(given.encode()).hexdigest()

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Install, upgrade, repair or restore; None when it is in step."""
        return self.difference(await host.read(ReadRelease(self.namespace, self.name)))

    def difference(self, found: ReleaseFound) -> Change | Deferred | None:
        """The change, from what was found."""
        if not found.reachable:
            return Deferred(self.subject, CLUSTER_DOWN)
        if not found.status:
            return self._change(f"install {self.version}", Disruption.NONE)
        reasons = self._reasons(found)
        if not reasons:
            return None
        return self._change("; ".join(reasons), Disruption.RESTART)

    def _reasons(self, found: ReleaseFound) -> list[str]:
        reasons = []
        if found.status != "deployed":
            reasons.append(f"repair {self.version} (its last change was left {found.status})")
        if not found.record:
            reasons.append("take over (installed by somebody else, or its record is gone)")
        else:
            if found.record.get("chart") != self.chart_digest:
                reasons.append(f"change the chart to {self.version} ({self.chart_digest[:12]})")
            if found.record.get("values") != self.values_digest:
                reasons.append("change its values")
        if found.drifted:
            reasons.append(f"restore {', '.join(found.drifted)}")
        return reasons

    def _change(self, summary: str, disruption: Disruption) -> Change:
        actions: tuple[Action, ...] = ()
        sends: tuple[Locked, ...] = ()
        if isinstance(self.chart, ChartReference):
            path, version = self.chart.reference, self.chart.version
        else:
            path, version = f"{STORE}/{self.chart.sha256}/{self.chart.name}", ""
            sends = (self.chart,)
            actions = (InstallArtifact(self.chart.sha256, self.chart.name, str(Kind.CHART)),)
        release = ApplyRelease(
            namespace=self.namespace,
            name=self.name,
            chart=path,
            chart_digest=self.chart_digest,
            values=self.values_text,
            values_digest=self.values_digest,
            version=version,
            timeout=self.timeout,
            labels=self.labels,
        )
        return Change(self.subject, summary, (*actions, release), sends, disruption)


@dataclass(frozen=True)
class _OneSecret(ABC):
    """A Secret of which the values are never read."""

    namespace: str
    name: str

    @property
    def subject(self) -> str:
        """`secret NAMESPACE/NAME`."""
        return f"secret {self.namespace}/{self.name}"

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Bring it to what is wanted."""
        wanted = Reference("v1", "Secret", self.namespace, self.name)
        return self.difference(await host.read(ReadObjects((wanted,))))

    def difference(self, found: ObjectsFound) -> Change | Deferred | None:
        """The change, from what was found."""
        if not found.reachable:
            return Deferred(self.subject, CLUSTER_DOWN)
        return self._change(found.items[0] if found.items else {})

    @abstractmethod
    def _change(self, there: Mapping[str, object]) -> Change | None:
        """The change where what is there (nothing, when there is none) is not what is wanted."""


@dataclass(frozen=True)
class ClusterSecret(_OneSecret):
    """A Secret of random values that the cluster alone knows; made once, never changed, never read."""

    keys: Mapping[str, int]
    """Key -> number of random bytes (written as hex)."""

    def _change(self, there: Mapping[str, object]) -> Change | None:
        """Make the keys that are missing."""
        missing = sorted(set(self.keys) - set(table(there, "data")))
        if not missing:
            return None
        action = MakeClusterSecret(self.namespace, self.name, self.keys)
        return Change(self.subject, f"make {', '.join(missing)} (random, made once)", (action,))


@dataclass(frozen=True)
class KnownSecret(_OneSecret):
    """A Secret whose values Deskside was given; compared by a digest that stands beside them, never read."""

    data: Mapping[str, Secret]

    @property
    def digest(self) -> str:
        """SHA-256 of keys and values; for whoever has to start anew when they change."""
        return hashlib.sha256(json.dumps(self._plain, sort_keys=True).encode()).hexdigest()

    @property
    def _plain(self) -> dict[str, str]:
        return {key: value.reveal() for key, value in self.data.items()}

    def _change(self, there: Mapping[str, object]) -> Change | None:
        """Write it where it is not there or another one."""
        if table(table(there, "metadata"), "annotations").get(MARK) == self.digest:
            return None
        metadata = {"name": self.name, "namespace": self.namespace, "annotations": {MARK: self.digest}}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": self._plain}
        run = RunCommand((*APPLY, "-f", "-"), Secret(json.dumps(body)), timeout=60.0)
        summary = f"write {', '.join(sorted(self.data))}" if self.data else "write (empty)"
        return Change(self.subject, summary, (run,))


@dataclass(frozen=True)
class Manifest:
    """Objects of our own in the cluster, by server-side apply. Never a Secret.

    An object differs when a field that is written here has another value there, or when another text was
    applied last (fields that are no longer written are then removed). Quantities are written canonically.
    """

    subject: str
    objects: tuple[Values, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a Secret: what is planned is shown."""
        if any(item.get("kind") == "Secret" for item in self.objects):
            raise ValueError(f"{self.subject}: a Secret may not be a manifest")

    @property
    def text(self) -> str:
        """The objects as a list that kubectl takes, each marked with the digest of its own text."""
        items = [marked(item) for item in self.objects]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, sort_keys=True)

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Make what is missing, restore what differs."""
        return self.difference(await host.read(ReadObjects(tuple(map(reference, self.objects)))))

    def difference(self, found: ObjectsFound) -> Change | Deferred | None:
        """The change, from what was found.

        An object whose kind does not exist yet is missing like any other: its release is applied before it.
        """
        if not found.reachable:
            return Deferred(self.subject, CLUSTER_DOWN)
        wanted = [marked(item) for item in self.objects]
        live = {identity(item): item for item in found.items}
        changed = {identity(item): compared(item, live.get(identity(item), {})) for item in wanted}
        changed = {name: diff for name, diff in changed.items() if diff}
        if not changed:
            return None
        missing = [name for name in changed if name not in live]
        differs = [name for name in changed if name in live]
        parts = [
            f"{verb} {', '.join(names)}" for verb, names in (("make", missing), ("restore", differs)) if names
        ]
        # Kinds and admission webhooks of a release that was only just installed may take a moment to answer.
        run = RunCommand((*APPLY, "-f", "-"), self.text, timeout=60.0, attempts=20, interval=3.0)
        return Change(self.subject, "; ".join(parts), (run,), diff="".join(changed.values()))


def _plain(value: object) -> object:
    """Mappings and sequences of any make as the ones that YAML knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
