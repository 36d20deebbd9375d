"""What may be asked of a host: every question is a value, and names the type of its answer.

Questions travel to the host as JSON and are answered there by `hosts/remote` without changing anything.
A new kind of question is a class here, and one function there, entered under its `op` (see `hosts/remote`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

from deskside.site.secrets import Secret

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
A_co = TypeVar("A_co", covariant=True)


class Query(Generic[A_co]):
    """A question; `op` names the function on the host that answers it."""

    op: ClassVar[str]

    def wire(self) -> dict[str, Json]:
        """The question as JSON, `op` included. Equal questions of one turn are asked once."""
        return {"op": self.op, **vars(self)}

    def answer(self, raw: Mapping[str, Json]) -> A_co:
        """The typed answer from what the host sent."""
        raise TypeError(f"{type(self).__name__} has no answer")


def _text(raw: Mapping[str, Json], key: str) -> str:
    return str(raw.get(key) or "")


def _number(raw: Mapping[str, Json], key: str) -> float:
    value = raw.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True)
class PathFound:
    """What lies at a path. `kind` is absent, file, directory, link or other."""

    kind: str
    mode: int = 0
    owner: str = ""
    group: str = ""
    size: int = 0
    sha256: str = ""
    content: bytes | None = None
    """Only when asked for, and only up to 1 MiB."""
    target: str = ""
    """Of a link."""
    mtime: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True)
class ReadPath(Query[PathFound]):
    """What lies at `path`; `content` also fetches a file's bytes, `digest` its SHA-256."""

    op: ClassVar[str] = "path"
    path: str
    content: bool = False
    digest: bool = False

    def answer(self, raw: Mapping[str, Json]) -> PathFound:
        """Raises nothing: a path that cannot be read is reported by the host as an error of the question."""
        content = raw.get("content")
        return PathFound(
            kind=_text(raw, "kind"),
            mode=int(_number(raw, "mode")),
            owner=_text(raw, "owner"),
            group=_text(raw, "group"),
            size=int(_number(raw, "size")),
            sha256=_text(raw, "sha256"),
            content=base64.b64decode(content) if isinstance(content, str) else None,
            target=_text(raw, "target"),
            mtime=_number(raw, "mtime"),
        )


@dataclass(frozen=True)
class Output:
    """What a program printed. `status` is the exit status; None means it was killed or ran out of time."""

    status: int | None
    stdout: str
    stderr: str


def object_of(output: Output) -> Mapping[str, object] | None:
    """The JSON object that a program printed; None when it printed none."""
    try:
        found = json.loads(output.stdout) if output.status == 0 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class ReadOutput(Query[Output]):
    """What a program that changes nothing prints. A program that is not there answers 127."""

    op: ClassVar[str] = "output"
    argv: tuple[str, ...]
    stdin: str | Secret = ""
    timeout: float = 30.0
    """Seconds."""

    def wire(self) -> dict[str, Json]:
        """A secret in clear: for the connection only, never for a log."""
        given = self.stdin.reveal() if isinstance(self.stdin, Secret) else self.stdin
        return {"op": self.op, "argv": list(self.argv), "stdin": given, "timeout": self.timeout}

    def answer(self, raw: Mapping[str, Json]) -> Output:
        """Text is UTF-8 with replacement characters."""
        status = raw.get("status")
        return Output(status if isinstance(status, int) else None, _text(raw, "stdout"), _text(raw, "stderr"))


@dataclass(frozen=True)
class ReadPackages(Query[Mapping[str, str]]):
    """Versions of those of `names` that are installed (fully: `ii`), by the package database."""

    op: ClassVar[str] = "packages"
    names: tuple[str, ...]

    def answer(self, raw: Mapping[str, Json]) -> Mapping[str, str]:
        """Package name -> installed version; names that are not installed are absent."""
        found = raw.get("installed")
        return {name: str(version) for name, version in found.items()} if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class UnitFound:
    """A systemd unit: `load` (loaded, not-found, masked), `active`, `enabled` as systemd's own words."""

    load: str
    active: str
    enabled: str
    started: float
    """When it last became active, seconds since 1970; 0 when it never did."""
    needs_reload: bool


@dataclass(frozen=True)
class ReadUnit(Query[UnitFound]):
    """One systemd unit, by its full name (`ssh.service`)."""

    op: ClassVar[str] = "unit"
    name: str

    def answer(self, raw: Mapping[str, Json]) -> UnitFound:
        """A unit that does not exist has load `not-found`."""
        return UnitFound(
            load=_text(raw, "load"),
            active=_text(raw, "active"),
            enabled=_text(raw, "enabled"),
            started=_number(raw, "started"),
            needs_reload=bool(raw.get("needs_reload")),
        )


@dataclass(frozen=True)
class ReadSysctls(Query[Mapping[str, str]]):
    """Values of kernel settings by their dotted names; those that the kernel lacks are absent."""

    op: ClassVar[str] = "sysctls"
    names: tuple[str, ...]

    def answer(self, raw: Mapping[str, Json]) -> Mapping[str, str]:
        """Dotted name -> value, white space runs as one space."""
        found = raw.get("values")
        return {name: str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class ReleaseFound:
    """A Helm release in the cluster. `status` is Helm's word, empty when there is no release."""

    status: str
    revision: int
    record: Mapping[str, str]
    """What Deskside recorded after its last apply: `chart` and `values` digests; empty without a record."""
    drifted: tuple[str, ...]
    """Objects (`Kind namespace/name`) that are missing or whose spec or data changed since then."""
    reachable: bool
    """False when the cluster did not answer; the rest then says nothing."""


@dataclass(frozen=True)
class ReadRelease(Query[ReleaseFound]):
    """A Helm release, its record and its drift, answered by the admin credentials of a server."""

    op: ClassVar[str] = "release"
    namespace: str
    name: str

    def answer(self, raw: Mapping[str, Json]) -> ReleaseFound:
        """`record` holds text values only."""
        record, drifted = raw.get("record"), raw.get("drifted")
        return ReleaseFound(
            status=_text(raw, "status"),
            revision=int(_number(raw, "revision")),
            record={key: str(value) for key, value in record.items()} if isinstance(record, Mapping) else {},
            drifted=tuple(str(item) for item in drifted) if isinstance(drifted, list) else (),
            reachable=bool(raw.get("reachable")),
        )


class Reference(NamedTuple):
    """Which object of the cluster."""

    version: str
    """As in a manifest: `v1`, `apps/v1`."""
    kind: str
    namespace: str
    """Empty for an object outside namespaces."""
    name: str


@dataclass(frozen=True)
class ObjectsFound:
    """Objects of the cluster, those of the wanted ones that exist, in no order."""

    reachable: bool
    """False when the cluster did not answer; the rest then says nothing."""
    items: tuple[Mapping[str, object], ...] = ()
    """As the API has them. Of a Secret only the names of its keys and annotations of Deskside's."""


@dataclass(frozen=True)
class ReadObjects(Query[ObjectsFound]):
    """Objects by name, all of a turn at once; one whose kind the cluster does not know does not exist."""

    op: ClassVar[str] = "objects"
    wanted: tuple[Reference, ...]

    def answer(self, raw: Mapping[str, Json]) -> ObjectsFound:
        """Items are JSON objects."""
        items = raw.get("items")
        found = tuple(item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()
        return ObjectsFound(bool(raw.get("reachable")), found)


@dataclass(frozen=True)
class NotesFound:
    """Secrets of a namespace by name, with the remark (`description`) that some have beside their values."""

    reachable: bool
    notes: Mapping[str, str]


@dataclass(frozen=True)
class ReadSecretNotes(Query[NotesFound]):
    """Names and remarks of all Secrets of a namespace; no other value of them."""

    op: ClassVar[str] = "secret_notes"
    namespace: str

    def answer(self, raw: Mapping[str, Json]) -> NotesFound:
        """Name -> remark, empty for a Secret without one."""
        notes = raw.get("notes")
        found = {name: str(note) for name, note in notes.items()} if isinstance(notes, Mapping) else {}
        return NotesFound(bool(raw.get("reachable")), found)


@dataclass(frozen=True)
class TlsFound:
    """A TLS handshake with a server: `error` is empty when chain and name were accepted."""

    error: str
    names: tuple[str, ...]
    """Names and addresses in the server's certificate."""
    not_after: float
    """Seconds since 1970; 0 when no certificate came."""


@dataclass(frozen=True)
class ReadTls(Query[TlsFound]):
    """A TLS handshake from the host (LDAPS, or LDAP StartTLS), checked against `ca` (PEM) and `name`."""

    op: ClassVar[str] = "tls"
    host: str
    port: int
    name: str
    ca: str
    starttls: bool = False
    timeout: float = 10.0

    def answer(self, raw: Mapping[str, Json]) -> TlsFound:
        """An unreachable server is an error in `error`, not an exception."""
        names = raw.get("names")
        return TlsFound(
            error=_text(raw, "error"),
            names=tuple(str(name) for name in names) if isinstance(names, list) else (),
            not_after=_number(raw, "not_after"),
        )


@dataclass(frozen=True)
class ReadFacts(Query[Mapping[str, Json]]):
    """The facts probe: one question, one round trip. `model/facts.py` reads the answer."""

    op: ClassVar[str] = "facts"
    paths: tuple[str, ...] = ()
    """Paths whose file system's free space is wanted."""
    ports: bool = True

    def answer(self, raw: Mapping[str, Json]) -> Mapping[str, Json]:
        """Raw facts, see `Facts.from_raw`."""
        return raw
