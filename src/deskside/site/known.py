"""What a site file may hold, as a tree of places: for unknown keys, missing ones and the reference.

Everything here is read off the models of `schema.py`; only what later versions will know is written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deskside.site.schema import Site

LATER_KEYS = frozenset(
    {
        "addons",
        "hosts[].gpu",
        "notebooks.profiles[].gpu",
        "storage.shares",
        "ingress.tls",
    }
)
LATER_VALUES = {
    "network.pod_network": ("calico", "cilium"),
    "kubernetes.distro": ("rke2", "k3s"),
    "ingress.kind": ("traefik",),
    "storage.volumes.kind": ("longhorn",),
}


@dataclass(frozen=True)
class Setting:
    """One field that a person may write."""

    path: str
    """As people write it; `[]` stands for each item of a list: `hosts[].name`."""
    info: FieldInfo
    section: type[BaseModel] | None
    """The model of what stands there, when it is a section or a list of sections."""
    listed: bool

    @property
    def example(self) -> str:
        """A value that could stand there: an example or the default; empty when there is neither."""
        if self.info.examples:
            return str(self.info.examples[0])
        default = self.info.default
        return str(default).lower() if isinstance(default, bool | int | float) else ""


@cache
def settings() -> dict[str, Setting]:
    """Every setting by its path, in the order of the models."""
    return {setting.path: setting for setting in _walk(Site, "")}


def keys_of(path: str) -> tuple[str, ...]:
    """Keys that a section may have; `path` as in `Setting.path`, empty for the top."""
    start = f"{path}{'[]' if path in settings() and settings()[path].listed else ''}." if path else ""
    below = (known[len(start) :] for known in settings() if known.startswith(start))
    return tuple(name for name in below if not set(name) & set(".["))


def elsewhere(key: str) -> tuple[str, ...]:
    """Paths at which a key of that name is known."""
    return tuple(path for path in settings() if path.rpartition(".")[2] == key)


def _walk(model: type[BaseModel], before: str) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        path = f"{before}{info.alias or name}"
        section, listed = _section(info)
        yield Setting(path, info, section, listed)
        if section is not None:
            yield from _walk(section, f"{path}[]." if listed else f"{path}.")


def _section(info: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    waiting: list[tuple[object, bool]] = [(info.annotation, False)]
    while waiting:
        kind, listed = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind, listed
        listed = listed or getattr(kind, "__origin__", None) is tuple
        waiting += [(inner, listed) for inner in get_args(kind)]
    return None, False
