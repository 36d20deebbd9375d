"""Answers about Helm releases, by kubectl with a server's admin credentials. Remote program; reads only.

A record is a Secret `deskside-release-NAME` beside the release (label `owner=deskside`): the chart and values
digests, and every rendered object with the fingerprint that it had after the last apply.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence

from deskside.hosts.remote.core import Raw, at, decoded, program_output, table_of, text_of

KUBECTL = "/opt/deskside/bin/kubectl"
KUBECONFIG = "/etc/kubernetes/admin.conf"
RECORD_PREFIX = "deskside-release-"
# One line for each Secret: the record has `.data.record`, Helm's own have a version.
RECORD_LINES = (
    '{range .items[*]}{.metadata.labels.owner}{"\\t"}{.metadata.namespace}{"\\t"}{.metadata.labels.name}'
    '{"\\t"}{.metadata.labels.version}{"\\t"}{.metadata.labels.status}{"\\t"}{.data.record}{"\\n"}{end}'
)
BUNDLED = (
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "CustomResourceDefinition",
    "APIService",
)
Key = tuple[str, str]


class ClusterSilent(Exception):
    """The cluster did not answer."""


def kubectl(arguments: Sequence[str], stdin: str = "", timeout: float = 30.0) -> tuple[int | None, str, str]:
    """Status, output and errors of one kubectl call."""
    argv = [at(KUBECTL), "--kubeconfig", at(KUBECONFIG), f"--request-timeout={int(timeout)}s", *arguments]
    ended = program_output(argv, stdin, timeout + 5)
    return ended.status, ended.stdout, ended.stderr


def without_bundles(value: object) -> object:
    """Without the `caBundle` that a controller of its own writes into webhooks and CRDs."""
    if isinstance(value, dict):
        return {key: without_bundles(item) for key, item in value.items() if key != "caBundle"}
    return [without_bundles(item) for item in value] if isinstance(value, list) else value


def fingerprint(item: Mapping[str, object], filled: bool = False) -> str:
    """SHA-256 of what an object says, without what the cluster says about it.

    `filled`: the chart renders it empty and the cluster fills it, so its data are not the chart's.
    """
    left: Raw = json.loads(json.dumps({k: v for k, v in item.items() if k not in ("metadata", "status")}))
    kind = text_of(item, "kind")
    if kind in BUNDLED:
        left = table_of({"left": without_bundles(left)}, "left")
    if kind == "PersistentVolumeClaim":
        table_of(left, "spec").pop("volumeName", None)
    if kind == "ServiceAccount":
        left.pop("secrets", None)
    if filled:
        left.pop("data", None)
    # A restart by hand is no drift.
    template = table_of(table_of(table_of(left, "spec"), "template"), "metadata")
    table_of(template, "annotations").pop("kubectl.kubernetes.io/restartedAt", None)
    if not template.get("annotations", True):
        del template["annotations"]
    return hashlib.sha256(json.dumps(left, sort_keys=True).encode()).hexdigest()


def identity(item: Mapping[str, object]) -> tuple[str, str, str, str]:
    """apiVersion, kind, namespace and name."""
    meta = table_of(item, "metadata")
    return (
        text_of(item, "apiVersion"),
        text_of(item, "kind"),
        text_of(meta, "namespace"),
        text_of(meta, "name"),
    )


def shown(found: tuple[str, str, str, str]) -> str:
    """`Kind namespace/name`."""
    _, kind, namespace, name = found
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def listed(text: str) -> list[Raw]:
    """Objects of kubectl's JSON: a list, or the one object."""
    found = json.loads(text) if text.strip() else {}
    items = found.get("items") if found.get("kind") == "List" else [found]
    return [item for item in items or [] if isinstance(item, dict) and item]


def live_objects(wanted: Sequence[tuple[str, str, str, str]]) -> dict[tuple[str, str, str, str], Raw]:
    """Those of the wanted objects that exist; one call, and one for each kind when a kind is gone."""
    if not wanted:
        return {}
    items = [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, **({"namespace": space} if space else {})},
        }
        for version, kind, space, name in wanted
    ]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    status, output, errors = kubectl(["get", "-f", "-", "-o", "json", "--ignore-not-found"], body)
    if status == 0:
        return {identity(item): item for item in listed(output)}
    kinds = sorted({item[:2] for item in wanted})
    if len(kinds) > 1:
        found: dict[tuple[str, str, str, str], Raw] = {}
        for kind in kinds:
            found.update(live_objects([item for item in wanted if item[:2] == kind]))
        return found
    if "no matches for kind" in errors or "resource mapping not found" in errors:
        return {}
    raise ClusterSilent(errors.strip()[-300:])


def record_of(encoded: str) -> Raw:
    """A record from the Secret's data; empty when there is none."""
    try:
        found = json.loads(decoded(base64.b64decode(encoded))) if encoded else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def release_secrets() -> tuple[dict[Key, tuple[int, str]], dict[Key, Raw]]:
    """Of the whole cluster: last revision and status of each release, and our records."""
    if not os.path.exists(at(KUBECONFIG)) or not os.path.exists(at(KUBECTL)):
        raise ClusterSilent("no admin credentials or no kubectl here")
    argv = ["get", "secrets", "-A", "-l", "owner in (helm,deskside)", "-o", f"jsonpath={RECORD_LINES}"]
    status, output, errors = kubectl(argv, timeout=10)
    if status != 0:
        raise ClusterSilent(errors.strip()[-300:])
    releases: dict[Key, tuple[int, str]] = {}
    records: dict[Key, Raw] = {}
    for line in output.splitlines():
        owner, namespace, name, version, word, encoded = (line.split("\t") + [""] * 6)[:6]
        if owner == "deskside":
            records[namespace, name] = record_of(encoded)
        elif version.isdigit():
            releases[namespace, name] = max(releases.get((namespace, name), (0, "")), (int(version), word))
    return releases, records


def recorded_objects(record: Mapping[str, object]) -> list[Raw]:
    """The objects of a record."""
    found = record.get("objects")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def object_key(item: Mapping[str, object]) -> tuple[str, str, str, str]:
    """Of a recorded object, as `identity`."""
    return (
        text_of(item, "apiVersion"),
        text_of(item, "kind"),
        text_of(item, "namespace"),
        text_of(item, "name"),
    )


def drifted(record: Mapping[str, object], live: Mapping[tuple[str, str, str, str], Raw]) -> list[str]:
    """Recorded objects that are missing or differ."""
    found = []
    for item in recorded_objects(record):
        there = live.get(object_key(item))
        if there is None or fingerprint(there, bool(item.get("filled"))) != item.get("fingerprint"):
            found.append(shown(object_key(item)))
    return found


def answer_releases(queries: Sequence[Mapping[str, object]]) -> list[object]:
    """Op `release`, all questions of a batch by two calls."""
    keys = [(text_of(query, "namespace"), text_of(query, "name")) for query in queries]
    try:
        releases, records = release_secrets()
        asked = {object_key(item) for key in keys for item in recorded_objects(records.get(key, {}))}
        live = live_objects(sorted(asked))
    except ClusterSilent:
        return [{"reachable": False} for _ in keys]
    answers: list[object] = []
    for key in keys:
        revision, status = releases.get(key, (0, ""))
        record = records.get(key, {})
        answers.append(
            {
                "reachable": True,
                "status": status,
                "revision": revision,
                "record": {name: record[name] for name in ("chart", "values") if name in record},
                "drifted": drifted(record, live) if status else [],
            }
        )
    return answers
