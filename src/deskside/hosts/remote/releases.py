"""Actions on the cluster: a Helm release with its record, and Secrets of random values. Remote program.

helm and kubectl are Deskside's own, with the admin credentials of the server that this runs on.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Mapping, Sequence

from deskside.hosts.remote.api import KUBECONFIG, Api, ClusterSilent, Name
from deskside.hosts.remote.cluster import (
    fingerprint,
    live_objects,
    object_key,
    record_of,
    recorded_objects,
    shown,
)
from deskside.hosts.remote.core import Ended, QuestionFailed, Raw, at, number_of, table_of, text_of
from deskside.hosts.remote.files import ACTIONS, ActionFailed, Clock, ending, run_program

RECORD_PREFIX = "deskside-release-"
HELM = "/opt/deskside/bin/helm"
KUBECTL = "/opt/deskside/bin/kubectl"
WHOLE = 64 * 1024 * 1024
"""Bytes of output that are read: a cut manifest would be no manifest."""
OWNER = {"owner": "deskside", "app.kubernetes.io/managed-by": "deskside"}


def listed(text: str) -> list[Raw]:
    """Objects of kubectl's JSON: a list, or the one object."""
    found = json.loads(text) if text.strip() else {}
    items = found.get("items") if found.get("kind") == "List" else [found]
    return [item for item in items or [] if isinstance(item, dict) and item]


def identity(item: Mapping[str, object]) -> Name:
    """apiVersion, kind, namespace and name."""
    meta = table_of(item, "metadata")
    return (
        text_of(item, "apiVersion"),
        text_of(item, "kind"),
        text_of(meta, "namespace"),
        text_of(meta, "name"),
    )


def called(argv: list[str], clock: Clock, stdin: str = "", timeout: float = 60.0) -> Ended:
    """Run helm or kubectl; ActionFailed when it fails."""
    ended = run_program(argv, clock, stdin, {"KUBECONFIG": at(KUBECONFIG)}, timeout, kept=WHOLE)
    if ended.status != 0:
        words = " ".join([os.path.basename(argv[0]), *argv[1:3]])
        raise ActionFailed(f"{words} {ending(ended)}: {ended.said()}", ended)
    return ended


def asked(arguments: list[str], clock: Clock, stdin: str = "") -> Ended:
    """One kubectl call."""
    return called([at(KUBECTL), *arguments], clock, stdin)


def secret_of(clock: Clock, namespace: str, name: str) -> Raw:
    """A Secret; empty when there is none."""
    output = asked(["get", "secret", name, "-n", namespace, "--ignore-not-found", "-o", "json"], clock).stdout
    found = json.loads(output) if output.strip() else {}
    return found if isinstance(found, dict) else {}


def applied(clock: Clock, item: Mapping[str, object]) -> None:
    """Bring one object to what is given; fields of others stay."""
    argv = ["apply", "--server-side", "--force-conflicts", "--field-manager=deskside", "-f", "-"]
    asked(argv, clock, json.dumps(item))


def ensure_namespace(clock: Clock, name: str, labels: Mapping[str, object]) -> None:
    """Make the namespace, with its labels; without labels, those that are there stay."""
    if (
        not labels
        and asked(["get", "namespace", name, "--ignore-not-found", "-o", "name"], clock).stdout.strip()
    ):
        return
    applied(
        clock, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
    )


def unlock_release(clock: Clock, namespace: str, name: str) -> str:
    """Mark a release failed that a killed run left `pending-*` (F8); history stays. Says what was done."""
    argv = ["get", "secrets", "-n", namespace, "-l", f"owner=helm,name={name}", "-o", "json"]
    found = json.loads(asked(argv, clock).stdout).get("items", [])
    revisions = sorted(found, key=lambda item: int(item["metadata"]["labels"].get("version", 0)))
    if not revisions:
        return ""
    last = revisions[-1]
    status = last["metadata"]["labels"].get("status", "")
    if not status.startswith("pending-"):
        return ""
    packed = base64.b64decode(base64.b64decode(last["data"]["release"]))
    release = json.loads(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
    release["info"]["status"] = "failed"
    release["info"]["description"] = "a run of deskside ended before this did"
    text = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    last["data"]["release"] = base64.b64encode(text).decode()
    last["metadata"]["labels"]["status"] = "failed"
    last["metadata"].pop("managedFields", None)
    asked(["replace", "-f", "-"], clock, json.dumps(last))
    return f"release {namespace}/{name} was left {status} and is marked failed"


def rendered_objects(clock: Clock, namespace: str, manifest: str) -> list[Raw]:
    """The objects of a manifest as JSON, each with its namespace; nothing is made."""
    argv = ["create", "--dry-run=client", "--validate=false", "-n", namespace, "-o", "json", "-f", "-"]
    output = asked(argv, clock, manifest).stdout if manifest.strip() else ""
    decoder, place, found = json.JSONDecoder(), 0, []
    while place < len(output):
        if output[place].isspace():
            place += 1
            continue
        item, place = decoder.raw_decode(output, place)
        found.extend(listed(json.dumps(item)))
    return found


def is_filled(item: Mapping[str, object]) -> bool:
    """A Secret or ConfigMap that the chart renders empty: a program in the cluster writes its data."""
    empty = not item.get("data") and not item.get("stringData") and not item.get("binaryData")
    return text_of(item, "kind") in ("Secret", "ConfigMap") and empty


def live_now(wanted: Sequence[Name]) -> Mapping[Name, Raw]:
    """The objects as they are now. Raises ActionFailed."""
    try:
        api = Api()
        try:
            return live_objects(api, wanted)
        finally:
            api.close()
    except (ClusterSilent, QuestionFailed) as error:
        raise ActionFailed(str(error)) from None


def fingerprints(clock: Clock, namespace: str, name: str) -> list[Raw]:
    """The objects of a release as they are now."""
    manifest = called([at(HELM), "get", "manifest", name, "-n", namespace], clock).stdout
    rendered = rendered_objects(clock, namespace, manifest)
    live = live_now([identity(item) for item in rendered])
    found: list[Raw] = []
    for item in rendered:
        version, kind, space, title = key = identity(item)
        # An object that is gone again (a hook, say) is not held against the cluster.
        if key in live:
            entry: Raw = {"apiVersion": version, "kind": kind, "namespace": space, "name": title}
            entry["uid"] = text_of(table_of(live[key], "metadata"), "uid")
            entry["filled"] = is_filled(item)
            entry["fingerprint"] = fingerprint(live[key], is_filled(item))
            found.append(entry)
    return found


def kept_changes(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """What Helm did not take back: objects that differ from the last record of the same chart and values."""
    if any(before.get(key) != after.get(key) for key in ("chart", "values")):
        return ""
    old = {object_key(item): item for item in recorded_objects(before)}
    odd = []
    for item in recorded_objects(after):
        was = old.get(object_key(item), item)
        # An object that was made anew may differ in what the cluster gave it.
        if was.get("uid") == item.get("uid") and was.get("fingerprint") != item.get("fingerprint"):
            odd.append(shown(object_key(item)))
    return f"has fields that the chart does not set, and keeps them: {', '.join(odd)}" if odd else ""


def upgrade(action: Mapping[str, object], clock: Clock) -> Ended:
    """Install or upgrade and wait. Fields that somebody changed by hand are taken back."""
    namespace, name = text_of(action, "namespace"), text_of(action, "name")
    timeout = max(10.0, min(number_of(action, "timeout", 600.0), clock.left() - 20))
    argv = [at(HELM), "upgrade", "--install", name, text_of(action, "chart"), "-n", namespace, "-f", "-"]
    argv += ["--server-side=true", "--force-conflicts", "--wait", f"--timeout={timeout:.0f}s"]
    if text_of(action, "version"):
        argv.append(f"--version={text_of(action, 'version')}")
    return called(argv, clock, text_of(action, "values"), timeout + 15)


def apply_release(action: Mapping[str, object], clock: Clock) -> Raw:
    """Action `apply_release`."""
    namespace, name = text_of(action, "namespace"), text_of(action, "name")
    ensure_namespace(clock, namespace, table_of(action, "labels"))
    unlocked = unlock_release(clock, namespace, name)
    if unlocked:
        clock.report(unlocked)
    clock.report(f"waiting for release {namespace}/{name}")
    ended = upgrade(action, clock)
    record: dict[str, object] = {
        "chart": text_of(action, "chart_digest"),
        "values": text_of(action, "values_digest"),
    }
    record["objects"] = fingerprints(clock, namespace, name)
    before = table_of(secret_of(clock, namespace, RECORD_PREFIX + name), "data")
    kept = kept_changes(record_of(text_of(before, "record")), record)
    applied(clock, record_secret(namespace, name, record))
    lines = [line for line in (unlocked, ended.stdout.strip(), kept and f"{namespace}/{name} {kept}") if line]
    return {"status": 0, "stdout": "\n".join(lines), "stderr": ended.stderr}


def record_secret(namespace: str, name: str, record: Mapping[str, object]) -> Raw:
    """The Secret that holds the record of a release."""
    encoded = base64.b64encode(json.dumps(record).encode()).decode()
    meta = {"name": RECORD_PREFIX + name, "namespace": namespace, "labels": {**OWNER, "name": name}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"record": encoded}}


def make_cluster_secret(action: Mapping[str, object], clock: Clock) -> Raw:
    """Action `make_cluster_secret`: keys that exist stay."""
    namespace, name = text_of(action, "namespace"), text_of(action, "name")
    ensure_namespace(clock, namespace, {})
    found = secret_of(clock, namespace, name)
    there, wanted = table_of(found, "data"), table_of(action, "keys")
    missing = {key: int(str(size)) for key, size in wanted.items() if key not in there}
    if not missing:
        return {}
    data = {key: base64.b64encode(os.urandom(size).hex().encode()).decode() for key, size in missing.items()}
    if found:
        argv = ["patch", "secret", name, "-n", namespace, "--type=merge", "--patch-file=/dev/stdin"]
        asked(argv, clock, json.dumps({"data": data}))
        return {}
    meta = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "deskside"}}
    body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta, "data": data}
    asked(["create", "-f", "-"], clock, json.dumps(body))
    return {}


ACTIONS.update(apply_release=apply_release, make_cluster_secret=make_cluster_secret)
