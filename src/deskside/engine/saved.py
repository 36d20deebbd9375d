"""A plan that is kept in a file until it is carried out: values, and their text. Asks no host.

The file holds what the plan shows, and for each change a digest of what would be done, secrets included.
Digests and the seal of the whole are keyed (HMAC-SHA-256): without the key nobody can try out guesses at a
secret, or write a plan that looks like one of ours. The key never stands in the file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from deskside.engine.planner import NodePlan, Plan
from deskside.errors import FileError
from deskside.model.action import Action
from deskside.model.query import Json
from deskside.model.resource import Change, Disruption
from deskside.site.secrets import Secret
from deskside.site.whole import write_whole

FORMAT = 1
"""Raised when a file of before could be misread."""
MARK = "deskside_plan"
MOST_BYTES = 64 << 20


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavedChange(_Value):
    """A change as it was shown, and a digest of it with all that would be done."""

    subject: str
    summary: str
    disruption: Literal["none", "restart", "drain", "reboot"]
    diff: str
    digest: str

    @property
    def cost(self) -> Disruption:
        """What was approved."""
        return Disruption[self.disruption.upper()]


class SavedDeferred(_Value):
    """What could not be planned yet."""

    subject: str
    reason: str


class SavedNode(_Value):
    """One step on one host, as it was shown."""

    node: str
    step: str
    host: str
    title: str
    changes: tuple[SavedChange, ...]
    deferred: tuple[SavedDeferred, ...]

    @property
    def cost(self) -> Disruption:
        """The most that was approved for it: what was not known yet may restart, as `--yes` allows."""
        later = Disruption.RESTART if self.deferred else Disruption.NONE
        return max((later, *(change.cost for change in self.changes)))


class About(_Value):
    """What a plan is of: with any of it changed the plan is another one."""

    site: str
    site_digest: str
    train: str
    lock_digest: str
    deskside: str
    """The version of Deskside."""


class SavedPlan(_Value):
    """A whole plan that may be carried out later."""

    about: About
    made: str
    """When, as `2026-11-23T21:45:01Z`."""
    key: str
    """Which key its digests are made with; not the key."""
    digest: str
    """`Plan.digest`: of what it shows."""
    nodes: tuple[SavedNode, ...]

    @property
    def changes(self) -> int:
        """Number of changes."""
        return sum(len(node.changes) for node in self.nodes)

    @property
    def disruption(self) -> Disruption:
        """The most that was approved."""
        return max((node.cost for node in self.nodes), default=Disruption.NONE)


def saved_plan(plan: Plan, about: About, key: Secret, now: datetime | None = None) -> SavedPlan:
    """The plan as it is kept; one that could not be made whole must not be."""
    assert not plan.failures
    made = f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    nodes = tuple(_node(node, key) for node in plan.nodes)
    return SavedPlan(about=about, made=made, key=key_name(key), digest=plan.digest, nodes=nodes)


def _node(plan: NodePlan, key: Secret) -> SavedNode:
    return SavedNode(
        node=plan.node,
        step=plan.step,
        host=plan.host,
        title=plan.title,
        changes=tuple(
            SavedChange(
                subject=change.subject,
                summary=change.summary,
                disruption=change.disruption.word,
                diff=change.diff,
                digest=change_digest(plan.node, change, key),
            )
            for change in plan.changes
        ),
        deferred=tuple(SavedDeferred(subject=item.subject, reason=item.reason) for item in plan.deferred),
    )


def change_digest(node: str, change: Change, key: Secret) -> str:
    """Of what is shown and of what would be done, whatever it costs."""
    done = {
        "node": node,
        "subject": change.subject,
        "summary": change.summary,
        "diff": change.diff,
        "actions": [_done(action, for_one_run=change.result is not None) for action in change.actions],
        "confirm": [_done(action) for action in change.confirm],
        "sends": [locked.sha256 for locked in change.sends],
    }
    return _keyed(key, "change", done)


def _done(action: Action, *, for_one_run: bool = False) -> dict[str, Json]:
    """What an action does; a secret that is made anew by every plan (a ticket to join) is none to compare."""
    wire = action.wire()
    if not for_one_run:
        return wire
    return {
        name: value for name, value in wire.items() if not isinstance(getattr(action, name, None), Secret)
    }


def key_name(key: Secret) -> str:
    """By which a key is known again; says nothing about it."""
    return _keyed(key, "name", None)[:16]


def _keyed(key: Secret, purpose: str, value: object) -> str:
    text = json.dumps([f"deskside plan {purpose}", value], sort_keys=True, separators=(",", ":"))
    return hmac.new(key.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()


def text_of(plan: SavedPlan, key: Secret) -> str:
    """The file's text."""
    body: dict[str, object] = {MARK: FORMAT, **plan.model_dump(mode="json")}
    return json.dumps({**body, "seal": _keyed(key, "seal", body)}, indent=1) + "\n"


def write_plan(path: Path, text: str) -> None:
    """Whole or not at all, for its owner alone. Raises FileError; nothing but a plan file is replaced."""
    look_for_room(path)
    try:
        write_whole(path, text)
    except OSError as error:
        raise _no_room(path, error) from None


def look_for_room(path: Path) -> None:
    """Raises FileError where a plan could not be written, with what would be said then; writes nothing."""
    try:
        if path.exists() and not _looks_like_one(path):
            raise FileError(
                f"{path} exists and is no plan file, so it was not replaced",
                hint="name another file: deskside plan --out FILE",
            )
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _no_room(path, error) from None


def _no_room(path: Path, error: OSError) -> FileError:
    return FileError(
        f"the plan cannot be written to {path}: {error.strerror or error}",
        hint="name a file in a folder that you may write to: deskside plan --out FILE",
    )


def _looks_like_one(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'"{MARK}"'.encode() in file.read(64)


def read_plan(path: Path) -> tuple[SavedPlan, str]:
    """A plan file, not yet believed, and its seal. Raises FileError for one that is none, cut or too new."""
    again = f"make a plan anew: deskside plan --out {path}"
    try:
        raw = _bytes(path)
        document = json.loads(raw)
    except OSError as error:
        raise FileError(f"the plan in {path} cannot be read: {error.strerror or error}", hint=again) from None
    except (ValueError, RecursionError):
        raise FileError(f"{path} is no plan file, or only a part of one", hint=_hint(path)) from None
    found = document.pop(MARK, None) if isinstance(document, dict) else None
    if type(found) is not int:
        raise FileError(f"{path} is no plan file", hint=_hint(path))
    if found != FORMAT:
        age = "a newer" if found > FORMAT else "an older"
        raise FileError(f"the plan in {path} was made by {age} version of Deskside", hint=again)
    seal = document.pop("seal", None)
    try:
        return SavedPlan.model_validate(document), seal if isinstance(seal, str) else ""
    except ValidationError:
        raise FileError(f"{path} is not as Deskside wrote it", hint=again) from None


def _hint(path: Path) -> str:
    return f"make one: deskside plan --out FILE; another site file is named as: deskside -f {path} apply"


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise ValueError
    return raw


def believe(plan: SavedPlan, seal: str, key: Secret | None, about: About, path: Path) -> None:
    """Raises FileError unless the file is one of ours, as it was written, of this site as it is now."""
    again = f"make a plan anew: deskside plan --out {path}"
    was = plan.about
    if was.site != about.site:
        raise FileError(
            f"the plan in {path} is one of {was.site}, and this site is {about.site}",
            hint="name the site file that it was made of: deskside -f FILE apply PLAN",
        )
    if key is None or key_name(key) != plan.key:
        raise FileError(
            f"the plan in {path} was made with a key that does not lie beside this site file",
            hint=f"carry it out where it was made, or {again}",
        )
    body = {MARK: FORMAT, **plan.model_dump(mode="json")}
    if not hmac.compare_digest(seal.encode(), _keyed(key, "seal", body).encode()):
        raise FileError(f"{path} was changed after Deskside wrote it", hint=again)
    moved = {
        f"by Deskside {was.deskside}, and this is {about.deskside}": was.deskside != about.deskside,
        f"with the train {was.train}, and the site names {about.train}": was.train != about.train,
        "of another content of the site file": was.site_digest != about.site_digest,
        "with another deskside.lock": was.lock_digest != about.lock_digest,
    }
    for how, differs in moved.items():
        if differs:
            raise FileError(f"the plan in {path} was made {how}; nothing was changed", hint=again)
