"""Objects of the cluster as plain mappings: what one is called, and where it differs from the wanted one.

Pure functions over JSON; nothing here asks a cluster.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping

import yaml

from deskside.model.query import Reference

MARK = "deskside/digest"
"""Annotation: SHA-256 of the object as Deskside wrote it; shows a field that is no longer written."""


def table(item: Mapping[str, object], key: str) -> Mapping[str, object]:
    """A field that is an object; empty when it is not there."""
    found = item.get(key)
    return found if isinstance(found, Mapping) else {}


def identity(item: Mapping[str, object]) -> str:
    """`Kind namespace/name`, or `Kind name` outside namespaces."""
    names = table(item, "metadata")
    place = f"{names['namespace']}/" if names.get("namespace") else ""
    return f"{item.get('kind')} {place}{names.get('name')}"


def reference(item: Mapping[str, object]) -> Reference:
    """How the cluster is asked for an object."""
    names = table(item, "metadata")
    place = (str(names.get("namespace") or ""), str(names.get("name")))
    return Reference(str(item.get("apiVersion")), str(item.get("kind")), *place)


def marked(item: Mapping[str, object]) -> dict[str, object]:
    """The object with its own digest in an annotation."""
    digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()
    names = table(item, "metadata")
    return {**item, "metadata": {**names, "annotations": {**table(names, "annotations"), MARK: digest}}}


def compared(desired: Mapping[str, object], live: Mapping[str, object]) -> str:
    """Unified diff from live to desired over the fields that `desired` writes; empty when they agree.

    What the cluster adds (defaults, status) is not looked at. An empty value is there when the key is not.
    """
    wanted, found = _trimmed(desired), _trimmed(_projected(live, desired))
    if wanted == found:
        return ""
    name = identity(desired)
    lines = difflib.unified_diff(_lines(found), _lines(wanted), f"{name} (cluster)", f"{name} (site)", n=2)
    return "".join(lines)


def _projected(live: object, desired: object) -> object:
    """The part of `live` that `desired` speaks of."""
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return {key: _projected(live[key], value) for key, value in desired.items() if key in live}
    if isinstance(desired, list | tuple) and isinstance(live, list):
        # Beyond the end of `desired` an element is shown as it is: an addition is a difference.
        padded = [*desired, *live[len(desired) :]]
        return [_projected(item, wanted) for item, wanted in zip(live, padded, strict=False)]
    return live


def _trimmed(value: object) -> object:
    """Without keys whose value is empty; numbers that are equal are the same."""
    if isinstance(value, Mapping):
        kept = {str(key): _trimmed(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [], "")}
    if isinstance(value, list | tuple):
        return [_trimmed(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _lines(value: object) -> list[str]:
    return yaml.safe_dump(value, sort_keys=True, width=110).splitlines(keepends=True)
