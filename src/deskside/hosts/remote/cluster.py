"""Answers about the cluster, all of a batch over one connection to its API. Remote program; reads only.

A record is a Secret `deskside-release-NAME` beside the release (label `owner=deskside`): the chart and values
digests, and every rendered object with the fingerprint that it had after the last apply.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from deskside.hosts.remote.api import NAMES_ONLY, Api, ClusterSilent, Name
from deskside.hosts.remote.core import GROUPS, TOGETHER, Raw, decoded, table_of, text_of

OWN_NOTES = "deskside/"
"""Prefix of annotations that are told of a Secret: others may repeat its values."""
BUNDLED = (
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "CustomResourceDefinition",
    "APIService",
)
SECRETS_OF = "/api/v1/secrets?labelSelector=owner%3D"
Key = tuple[str, str]
"""Namespace and name of a release."""


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


def shown(found: Name) -> str:
    """`Kind namespace/name`."""
    _, kind, namespace, name = found
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def live_objects(api: Api, wanted: Iterable[Name]) -> dict[Name, Raw]:
    """Those of the wanted objects that exist."""
    found = {name: api.named(name) for name in wanted}
    return {name: item for name, item in found.items() if item is not None}


def record_of(encoded: str) -> Raw:
    """A record from the Secret's data; empty when there is none."""
    try:
        found = json.loads(decoded(base64.b64decode(encoded))) if encoded else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def releases_of(api: Api) -> dict[Key, tuple[int, str]]:
    """Last revision and status of every release, from the labels of Helm's own Secrets."""
    found: dict[Key, tuple[int, str]] = {}
    for item in api.items(SECRETS_OF + "helm", accept=NAMES_ONLY):
        meta = table_of(item, "metadata")
        labels = table_of(meta, "labels")
        key, version = (text_of(meta, "namespace"), text_of(labels, "name")), text_of(labels, "version")
        if version.isdigit():
            found[key] = max(found.get(key, (0, "")), (int(version), text_of(labels, "status")))
    return found


def records_of(api: Api) -> dict[Key, Raw]:
    """Our record of every release that has one."""
    found: dict[Key, Raw] = {}
    for item in api.items(SECRETS_OF + "deskside"):
        meta = table_of(item, "metadata")
        key = text_of(meta, "namespace"), text_of(table_of(meta, "labels"), "name")
        found[key] = record_of(text_of(table_of(item, "data"), "record"))
    return found


def recorded_objects(record: Mapping[str, object]) -> list[Raw]:
    """The objects of a record."""
    found = record.get("objects")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def object_key(item: Mapping[str, object]) -> Name:
    """Of a recorded object, as `identity`."""
    return (
        text_of(item, "apiVersion"),
        text_of(item, "kind"),
        text_of(item, "namespace"),
        text_of(item, "name"),
    )


def drifted(record: Mapping[str, object], live: Mapping[Name, Raw]) -> list[str]:
    """Recorded objects that are missing or differ."""
    found = []
    for item in recorded_objects(record):
        there = live.get(object_key(item))
        if there is None or fingerprint(there, bool(item.get("filled"))) != item.get("fingerprint"):
            found.append(shown(object_key(item)))
    return found


def answer_cluster(queries: Sequence[Mapping[str, object]]) -> list[object]:
    """Ops `release`, `objects` and `secret_notes`: all questions of a batch together.

    Raises QuestionFailed when the cluster refuses one.
    """
    try:
        api = Api()
    except ClusterSilent:
        return [{"reachable": False} for _ in queries]
    try:
        return answers_of(api, queries)
    except ClusterSilent:
        return [{"reachable": False} for _ in queries]
    finally:
        api.close()


def answers_of(api: Api, queries: Sequence[Mapping[str, object]]) -> list[object]:
    """The answers in order. Raises ClusterSilent or QuestionFailed."""
    asks_releases = any(text_of(query, "op") == "release" for query in queries)
    releases, records = (releases_of(api), records_of(api)) if asks_releases else ({}, {})
    live: dict[Name, Raw] = {}
    answers: list[object] = []
    for query in queries:
        op, record = text_of(query, "op"), records.get(release_key(query), {})
        recorded = [object_key(item) for item in recorded_objects(record)]
        names = recorded if op == "release" else wanted_names(query)
        live.update(live_objects(api, [name for name in names if name not in live]))
        if op == "release":
            answers.append(answer_release(releases.get(release_key(query), (0, "")), record, live))
        elif op == "objects":
            items = [without_values(live[name]) for name in names if name in live]
            answers.append({"reachable": True, "items": items})
        else:
            answers.append({"reachable": True, "notes": notes_of(api, text_of(query, "namespace"))})
    return answers


def wanted_names(query: Mapping[str, object]) -> list[Name]:
    """Of op `objects`; no other question names any."""
    found = query.get("wanted")
    items = found if isinstance(found, list) else []
    return [(str(version), str(kind), str(space), str(name)) for version, kind, space, name in items]


def release_key(query: Mapping[str, object]) -> Key:
    """Namespace and name."""
    return text_of(query, "namespace"), text_of(query, "name")


def answer_release(last: tuple[int, str], record: Raw, live: Mapping[Name, Raw]) -> Raw:
    """Op `release`."""
    revision, status = last
    return {
        "reachable": True,
        "status": status,
        "revision": revision,
        "record": {name: record[name] for name in ("chart", "values") if name in record},
        "drifted": drifted(record, live) if status else [],
    }


def notes_of(api: Api, namespace: str) -> dict[str, str]:
    """Names of all Secrets of a namespace, with the remarks of join tickets; no value of any other one."""
    found = {}
    for item in api.items(f"/api/v1/namespaces/{namespace}/secrets"):
        ticket = text_of(item, "type") == "bootstrap.kubernetes.io/token"
        note = text_of(table_of(item, "data"), "description") if ticket else ""
        found[text_of(table_of(item, "metadata"), "name")] = decoded(base64.b64decode(note))
    return found


def without_values(item: Raw) -> Raw:
    """The object itself; of a Secret its names, its keys and annotations of ours."""
    if text_of(item, "kind") != "Secret":
        return item
    meta = table_of(item, "metadata")
    notes = {key: value for key, value in table_of(meta, "annotations").items() if key.startswith(OWN_NOTES)}
    names = {"name": meta.get("name"), "namespace": meta.get("namespace"), "annotations": notes}
    return {
        "apiVersion": item.get("apiVersion"),
        "kind": "Secret",
        "metadata": names,
        "data": dict.fromkeys(table_of(item, "data"), ""),
    }


TOGETHER["cluster"] = answer_cluster
GROUPS.update(dict.fromkeys(("release", "objects", "secret_notes"), "cluster"))
