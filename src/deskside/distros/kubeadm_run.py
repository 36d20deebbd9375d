"""kubeadm as resources: a host's membership, the ticket for others, and what is left once all have joined.

kubeadm is not written to be killed. A run that was cut short is found by its traces: what cannot be trusted
yet is swept away, what the cluster already knows is kept, and the same command is given again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deskside.distros import kubeadm_config as config
from deskside.errors import StepFailed
from deskside.model.action import Action, ActionResult, RemovePath, RunCommand, Text, WriteFile
from deskside.model.platform import Host, JoinTicket, Platform
from deskside.model.query import (
    NotesFound,
    ObjectsFound,
    PathFound,
    ReadObjects,
    ReadPath,
    ReadSecretNotes,
    Reference,
)
from deskside.model.resource import Change, Deferred, HostReader
from deskside.resources.objects import table
from deskside.resources.release import CLUSTER_DOWN, KUBECTL
from deskside.resources.system import systemctl
from deskside.site.schema import Site

MARKER = "/etc/kubernetes/deskside-joined"
"""Written last: the host's own init or join ran to its end."""
BEGUN = "/etc/deskside/kubeadm-begun"
"""Written first: what lies in kubeadm's folders from then on is ours."""
CA_FILE = "/etc/kubernetes/pki/ca.crt"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
ETCD_MEMBER = "/var/lib/etcd/member"
KUBELET_UNIT = "deskside-kubelet.service"
KUBEADM = "/opt/deskside/bin/kubeadm"
ENVIRONMENT = {"PATH": "/opt/deskside/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
TICKET_LIFE = "30m0s"

_FOLDER = "/etc/kubernetes"
_CONFIGS = ("admin", "super-admin", "controller-manager", "scheduler", "kubelet", "bootstrap-kubelet")
_REMAINS = (
    f"{_FOLDER}/pki",
    f"{_FOLDER}/manifests",
    *(f"{_FOLDER}/{name}.conf" for name in _CONFIGS),
)
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
_PORTS = (6443, 10259, 10257, 10250, 2379, 2380)
_AGAIN = (
    # Checks that only say: somebody was here before. On a second try that was us.
    *(f"FileAvailable--etc-kubernetes-manifests-{name}.yaml" for name in _COMPONENTS),
    "FileAvailable--etc-kubernetes-kubelet.conf",
    "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
    "FileAvailable--etc-kubernetes-pki-ca.crt",
    "DirAvailable--var-lib-etcd",
    *(f"Port-{port}" for port in _PORTS),
)


def ca_hash(pem: bytes) -> str:
    """The fingerprint that kubeadm makes of an authority: `sha256:` and the digest of its public key."""
    # Needed once in the life of a host, and slow to import.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(pem).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(spki).hexdigest()}"


def _sweep() -> tuple[Action, ...]:
    """Take away what an interrupted run left behind and nobody depends on yet."""
    remove = ("rm", "-rf", "--one-file-system", *_REMAINS)
    return systemctl("stop", KUBELET_UNIT), RunCommand(remove, timeout=30.0)


def _drop_empty() -> RunCommand:
    """Files that were created and never written; kubeadm would stumble over each."""
    find = ("find", _FOLDER, "-xdev", "-type", "f", "-empty", "-delete")
    return RunCommand(find, timeout=30.0)


def _kubeadm(*words: str, ignored: Sequence[str], timeout: float) -> RunCommand:
    flag = (f"--ignore-preflight-errors={','.join(ignored)}",) if ignored else ()
    return RunCommand((KUBEADM, *words, *flag), env=ENVIRONMENT, timeout=timeout)


def _begin() -> WriteFile:
    return WriteFile(BEGUN, "Written by Deskside: kubeadm was called on this host.\n")


def _end() -> WriteFile:
    return WriteFile(MARKER, "Written by Deskside: this host is part of its cluster.\n")


@dataclass(frozen=True)
class FirstServer:
    """The first server of the cluster: `kubeadm init` ran to its end."""

    config: str
    """kubeadm's configuration."""
    ignored: tuple[str, ...] = ()
    path: str = "/etc/deskside/kubeadm-init.yaml"

    @property
    def subject(self) -> str:
        """`first server`."""
        return "first server"

    async def plan(self, host: HostReader) -> Change | None:
        """Begin the cluster, or finish what was begun."""
        return self.difference(*await host.read(ReadPath(MARKER), ReadPath(BEGUN), ReadPath(ETCD_MEMBER)))

    def difference(self, marker: PathFound, begun: PathFound, etcd: PathFound) -> Change | None:
        """The change, from what lies on the host."""
        if marker.kind == "file":
            return None
        again = begun.kind == "file"
        actions: list[Action] = []
        if again:
            # Without data in etcd no other machine has seen a certificate of this cluster yet.
            actions += [_drop_empty()] if etcd.kind == "directory" else _sweep()
        actions += [_begin(), WriteFile(self.path, self.config, 0o600)]
        ignored = (*self.ignored, *(_AGAIN if again else ()))
        words = ("init", "--config", self.path, "--skip-token-print")
        actions += [_kubeadm(*words, ignored=ignored, timeout=600.0), _end()]
        summary = "finish kubeadm init (it was interrupted)" if again else "begin the cluster (kubeadm init)"
        return Change(self.subject, summary, tuple(actions))


@dataclass(frozen=True)
class Membership:
    """A further host of the cluster: `kubeadm join` ran to its end."""

    site: Site
    host: Host
    ticket: JoinTicket | None = field(repr=False)
    path: str = "/run/deskside/kubeadm-join.yaml"

    @property
    def subject(self) -> str:
        """`membership in the cluster`."""
        return "membership in the cluster"

    async def plan(self, host: HostReader) -> Change | None:
        """Join, or finish what was begun. Raises StepFailed for a host of another cluster."""
        paths = (ReadPath(MARKER), ReadPath(BEGUN), ReadPath(KUBELET_CONF), ReadPath(CA_FILE, content=True))
        return self.difference(await host.read_all(paths))

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """The change, from what lies on the host."""
        marker, begun, kubelet, authority = found
        if marker.kind == "file":
            return None
        server = self.host.spec.is_server
        again, known = begun.kind == "file", kubelet.kind == "file"
        role = "as server" if server else "as worker"
        summary = f"finish joining {role}, which was interrupted" if again else f"join {role} (kubeadm join)"
        if self.ticket is None:
            says = "echo 'there is no ticket to join the cluster with' >&2; exit 1"
            return Change(self.subject, summary, (RunCommand(("sh", "-c", says)),))
        if known:
            self._check_authority(self.ticket, authority)
        if known and not server:
            # The kubelet has its own certificate: the cluster knows this host, and nothing is left to do.
            return Change(self.subject, summary, (systemctl("restart", KUBELET_UNIT), _end()))
        return Change(self.subject, summary, tuple(self._join(self.ticket, again, known)))

    def _join(self, ticket: JoinTicket, again: bool, known: bool) -> list[Action]:
        actions: list[Action] = []
        words: tuple[str, ...] = ("join", "--config", self.path)
        if known:
            # kubeadm refuses a second bootstrap of a node that is Ready; everything after it repeats well.
            actions += [_drop_empty(), systemctl("restart", KUBELET_UNIT)]
            words += ("--skip-phases=kubelet-start",)
        elif again:
            actions += _sweep()
        ignored = (*config.ignored_checks(self.host.facts), *(_AGAIN if again or known else ()))
        return [
            *actions,
            _begin(),
            WriteFile(self.path, config.join_config(self.site, self.host, ticket), 0o600),
            _kubeadm(*words, ignored=ignored, timeout=540.0),
            RemovePath(self.path),
            _end(),
        ]

    def _check_authority(self, ticket: JoinTicket, authority: PathFound) -> None:
        try:
            same = ca_hash(authority.content or b"") == ticket.ca_hash
        except ValueError:
            return
        if not same:
            raise StepFailed(
                f"{self.host.name} belongs to another cluster: {CA_FILE} is not this cluster's",
                hint=f"look at it; when nothing of it is wanted: kubeadm reset on {self.host.name}",
            )


def _quietly(*words: str, stdin: Text) -> RunCommand:
    # kubeadm prints tokens and keys; what a program prints ends up in a log.
    argv = ("sh", "-c", f"exec {KUBEADM} {' '.join(words)} --config /dev/stdin >/dev/null")
    return RunCommand(argv, stdin, ENVIRONMENT, timeout=120.0)


@dataclass(frozen=True)
class Ticket:
    """A ticket for the hosts that have not joined; made anew by every run that needs one."""

    site: Site
    platform: Platform
    waiting: tuple[str, ...]
    """Names of the hosts that it is for."""
    servers: bool
    """Whether a server is among them, which needs the cluster's keys."""

    @property
    def subject(self) -> str:
        """`join ticket`."""
        return "join ticket"

    async def plan(self, host: HostReader) -> Change:
        """Make a token of short life, and upload the keys where a server joins."""
        del host
        token = f"{secrets.token_hex(3)}.{secrets.token_hex(8)}"
        ticket = JoinTicket(token, "", secrets.token_hex(32) if self.servers else "")
        given = config.token_config(self.site, self.platform, ticket, TICKET_LIFE)
        actions = [RunCommand(("cat", CA_FILE), timeout=10.0), _quietly("token", "create", stdin=given)]
        if self.servers:
            upload = ("init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print")
            actions.append(_quietly(*upload, stdin=given))

        def result(results: Sequence[ActionResult]) -> JoinTicket:
            authority = ca_hash(results[0].stdout.encode())
            return JoinTicket(token, authority, ticket.certificate_key)

        summary = f"make one that lasts {TICKET_LIFE.removesuffix('0s')}, for {', '.join(self.waiting)}"
        return Change(self.subject, summary, tuple(actions), result=result)


_SYSTEM = "kube-system"
_CERTIFICATES = "kubeadm-certs"
_PROXY_NOTE = "Proxy for managing TTL for the kubeadm-certs secret"


@dataclass(frozen=True)
class NoTickets:
    """Nothing with which a host could join is left in the cluster."""

    @property
    def subject(self) -> str:
        """`join tickets`."""
        return "join tickets"

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Delete what kubeadm and we left for joins; tokens that people made stay."""
        return self.difference(await host.read(ReadSecretNotes(_SYSTEM)))

    def difference(self, found: NotesFound) -> Change | Deferred | None:
        """The change, from the names and remarks of the secrets."""
        if not found.reachable:
            return Deferred(self.subject, CLUSTER_DOWN)
        ours = (config.TICKET_NOTE, _PROXY_NOTE)
        names = [name for name, note in found.notes.items() if name == _CERTIFICATES or note.strip() in ours]
        if not names:
            return None
        delete = (*KUBECTL, "delete", "secret", "-n", _SYSTEM, "--ignore-not-found", *names)
        return Change(
            self.subject, f"delete {len(names)} that were used", (RunCommand(delete, timeout=60.0),)
        )


def _is_ready(node: Mapping[str, object]) -> bool:
    conditions = table(node, "status").get("conditions")
    pairs = (
        [(one.get("type"), one.get("status")) for one in conditions] if isinstance(conditions, list) else []
    )
    return ("Ready", "True") in pairs


@dataclass(frozen=True)
class ReadyNodes:
    """Every host that answered is a Ready node of the cluster."""

    names: tuple[str, ...]
    timeout: int = 300
    """Seconds to wait."""

    @property
    def subject(self) -> str:
        """`nodes`."""
        return "nodes"

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Wait for those that are not Ready."""
        wanted = tuple(Reference("v1", "Node", "", name) for name in self.names)
        return self.difference(await host.read(ReadObjects(wanted)))

    def difference(self, found: ObjectsFound) -> Change | Deferred | None:
        """The change, from those of the nodes that the cluster has."""
        if not found.reachable:
            return Deferred(self.subject, CLUSTER_DOWN)
        ready = {table(item, "metadata").get("name") for item in found.items if _is_ready(item)}
        late = [name for name in self.names if name not in ready]
        if not late:
            return None
        nodes = tuple(f"node/{name}" for name in late)
        # A kubelet that has just joined may not have registered its node yet: without one, `wait` gives up,
        # and of several nodes it waits for the first alone to be made.
        runs = tuple(
            RunCommand(
                (*KUBECTL, "wait", f"--for={what}", f"--timeout={self.timeout}s", *nodes),
                timeout=self.timeout + 10.0,
                attempts=attempts,
            )
            for what, attempts in (("create", 30), ("condition=Ready", 1))
        )
        summary = f"wait until {', '.join(late)} {'is' if len(late) == 1 else 'are'} ready"
        return Change(self.subject, summary, runs, waits=True)


@dataclass(frozen=True)
class Replicas:
    """A deployment of kubeadm's own has as many replicas as suit the number of nodes."""

    deployment: str
    count: int

    @property
    def subject(self) -> str:
        """`replicas of NAME`."""
        return f"replicas of {self.deployment}"

    async def plan(self, host: HostReader) -> Change | Deferred | None:
        """Scale it."""
        wanted = Reference("apps/v1", "Deployment", _SYSTEM, self.deployment)
        return self.difference(await host.read(ReadObjects((wanted,))))

    def difference(self, found: ObjectsFound) -> Change | Deferred | None:
        """The change, from the number that is wanted now."""
        if not found.reachable:
            return Deferred(self.subject, CLUSTER_DOWN)
        now = table(found.items[0], "spec").get("replicas") if found.items else None
        if now == self.count:
            return None
        names = ("deployment", self.deployment, "-n", _SYSTEM)
        scale = (*KUBECTL, "scale", *names, f"--replicas={self.count}")
        summary = f"set to {self.count} (is {'unknown' if now is None else now})"
        return Change(self.subject, summary, (RunCommand(scale, timeout=60.0),))
