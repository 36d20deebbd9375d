"""What may be done to a host: every action is a value, so a change can be shown before it is made.

Actions travel as JSON over standard input and are carried out by `hosts/remote` in one detached run, in
order, stopping at the first that fails. Each is idempotent. Secrets are revealed only by `wire()`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from deskside.model.query import Json
from deskside.site.secrets import Secret

Text = str | Secret


def _reveal(value: Text) -> str:
    return value.reveal() if isinstance(value, Secret) else value


class Action:
    """One thing that is done on a host; `op` names the function on the host that does it."""

    op: ClassVar[str]

    def wire(self) -> dict[str, Json]:
        """The action as JSON, with secrets in clear: for the connection only, never for a log."""
        raise TypeError(f"{type(self).__name__} cannot travel")


@dataclass(frozen=True)
class WriteFile(Action):
    """Write a file atomically (same folder, fsync, rename) with mode and owner; parents are made 0755."""

    op: ClassVar[str] = "write_file"
    path: str
    content: bytes | Text
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    def wire(self) -> dict[str, Json]:
        """Content travels in base64."""
        content = self.content if isinstance(self.content, bytes) else _reveal(self.content).encode()
        return {
            "op": self.op,
            "path": self.path,
            "content": base64.b64encode(content).decode(),
            "mode": self.mode,
            "owner": self.owner,
            "group": self.group,
        }


@dataclass(frozen=True)
class MakeDirectory(Action):
    """Make a directory (and its parents, 0755), or set its mode and owner."""

    op: ClassVar[str] = "make_directory"
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    def wire(self) -> dict[str, Json]:
        """All fields."""
        return {"op": self.op, "path": self.path, "mode": self.mode, "owner": self.owner, "group": self.group}


@dataclass(frozen=True)
class MakeLink(Action):
    """Make `path` a symbolic link to `target`, replacing a link or file that is there."""

    op: ClassVar[str] = "make_link"
    path: str
    target: str

    def wire(self) -> dict[str, Json]:
        """All fields."""
        return {"op": self.op, "path": self.path, "target": self.target}


@dataclass(frozen=True)
class RemovePath(Action):
    """Remove a file, a link or an empty directory; never a tree, and never across a mount."""

    op: ClassVar[str] = "remove_path"
    path: str

    def wire(self) -> dict[str, Json]:
        """All fields."""
        return {"op": self.op, "path": self.path}


@dataclass(frozen=True)
class RunCommand(Action):
    """Run a program; it must end with a status in `ok`. No shell: `argv` is passed as it is."""

    op: ClassVar[str] = "run_command"
    argv: tuple[str, ...]
    stdin: Text = ""
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    """Seconds, for one attempt."""
    ok: tuple[int, ...] = (0,)
    attempts: int = 1
    """More than one only where the program is known to race with a service that is starting."""
    interval: float = 2.0
    """Seconds between attempts."""

    def wire(self) -> dict[str, Json]:
        """`stdin` in clear."""
        return {
            "op": self.op,
            "argv": list(self.argv),
            "stdin": _reveal(self.stdin),
            "env": dict(self.env),
            "timeout": self.timeout,
            "ok": list(self.ok),
            "attempts": self.attempts,
            "interval": self.interval,
        }


@dataclass(frozen=True)
class SetSysctls(Action):
    """Set kernel settings now (their file is written apart)."""

    op: ClassVar[str] = "set_sysctls"
    values: Mapping[str, str]

    def wire(self) -> dict[str, Json]:
        """All fields."""
        return {"op": self.op, "values": dict(self.values)}


@dataclass(frozen=True)
class InstallPackages(Action):
    """Install packages without questions, keeping configuration; repairs an interrupted dpkg first."""

    op: ClassVar[str] = "install_packages"
    names: tuple[str, ...]
    lock_timeout: int = 120
    """Seconds to wait for the package lock; after that the action fails as *busy* and names the holder."""

    def wire(self) -> dict[str, Json]:
        """All fields."""
        return {"op": self.op, "names": list(self.names), "lock_timeout": self.lock_timeout}


@dataclass(frozen=True)
class InstallArtifact(Action):
    """Put a staged artifact into the host's store, `/opt/deskside/store/<sha256>/`.

    A binary becomes `<store>/<name>` (0755); an archive is unpacked there below `strip` leading folders.
    """

    op: ClassVar[str] = "install_artifact"
    sha256: str
    name: str
    kind: str
    member: str = ""
    """Of a tar archive that carries one wanted file: its path inside."""

    def wire(self) -> dict[str, Json]:
        """All fields."""
        return {
            "op": self.op,
            "sha256": self.sha256,
            "name": self.name,
            "kind": self.kind,
            "member": self.member,
        }


@dataclass(frozen=True)
class ApplyRelease(Action):
    """Bring a Helm release to chart and values, wait for it, and record its fingerprints.

    A release that was left `pending-*` by a killed run is marked failed first (no history is deleted).
    """

    op: ClassVar[str] = "apply_release"
    namespace: str
    name: str
    chart: str
    """Path of the chart on the host, or its reference."""
    chart_digest: str
    values: Text
    """YAML."""
    values_digest: str
    version: str = ""
    timeout: float = 600.0
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the namespace."""

    def wire(self) -> dict[str, Json]:
        """Values in clear."""
        return {
            "op": self.op,
            "namespace": self.namespace,
            "name": self.name,
            "chart": self.chart,
            "chart_digest": self.chart_digest,
            "values": _reveal(self.values),
            "values_digest": self.values_digest,
            "version": self.version,
            "timeout": self.timeout,
            "labels": dict(self.labels),
        }


@dataclass(frozen=True)
class MakeClusterSecret(Action):
    """Make a Secret of random values in the cluster once; existing keys stay, values never leave.

    `keys` maps a key to the number of random bytes (written as hex).
    """

    op: ClassVar[str] = "make_cluster_secret"
    namespace: str
    name: str
    keys: Mapping[str, int]

    def wire(self) -> dict[str, Json]:
        """All fields: no secret among them."""
        return {"op": self.op, "namespace": self.namespace, "name": self.name, "keys": dict(self.keys)}


@dataclass(frozen=True)
class ActionResult:
    """What one action printed; `status` 0 means done."""

    status: int | None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
