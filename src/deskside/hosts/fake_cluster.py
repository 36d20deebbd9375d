"""The cluster that the servers of a fake site share: releases, objects and Secrets in memory, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deskside.model.query import Json


@dataclass
class FakeRelease:
    """A Helm release."""

    status: str
    revision: int
    record: dict[str, str]
    drifted: set[str] = field(default_factory=set)


@dataclass
class FakeCluster:
    """What the servers of a fake site share."""

    reachable: bool = True
    releases: dict[tuple[str, str], FakeRelease] = field(default_factory=dict)
    secrets: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """Lengths of the values, by key."""
    objects: dict[tuple[str, ...], Mapping[str, Json]] = field(default_factory=dict)
    """By apiVersion, kind, namespace and name."""
    notes: dict[tuple[str, str], str] = field(default_factory=dict)
    """Remarks of Secrets, by namespace and name."""
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    """Releases that do not become ready."""

    def release(self, query: Mapping[str, Json]) -> dict[str, Json]:
        """The answer to `release`."""
        found = self.releases.get((str(query["namespace"]), str(query["name"])))
        if found is None:
            return {"reachable": True, "status": "", "revision": 0, "record": {}, "drifted": []}
        return {
            "reachable": True,
            "status": found.status,
            "revision": found.revision,
            "record": dict(found.record),
            "drifted": sorted(found.drifted),
        }

    def named(self, query: Mapping[str, Json]) -> dict[str, Json]:
        """The answer to `objects`."""
        wanted = query["wanted"]
        asked = wanted if isinstance(wanted, list | tuple) else ()
        names = [tuple(map(str, item)) for item in asked if isinstance(item, list | tuple)]
        items: list[Json] = [self.objects[name] for name in names if name in self.objects]
        for version, kind, namespace, name in names:
            if kind == "Secret" and (namespace, name) in self.secrets:
                data: Json = dict.fromkeys(self.secrets[namespace, name], "")
                items.append({"apiVersion": version, "kind": kind, "data": data})
        return {"reachable": True, "items": items}

    def remarks(self, query: Mapping[str, Json]) -> dict[str, Json]:
        """The answer to `secret_notes`."""
        found = {name: note for (space, name), note in self.notes.items() if space == query["namespace"]}
        return {"reachable": True, "notes": found}
