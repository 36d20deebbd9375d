"""A modelled cluster: what kubeadm and kubectl do on fake hosts, as far as the catalog's steps use them.

It is no Kubernetes. It refuses what the real ones refuse of us: a second init, a join without a ticket that
is known, and anything before the API is up. The rack has the real ones, and kills inside each of its steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from deskside.distros.kubeadm_config import TICKET_NOTE
from deskside.distros.kubeadm_run import CA_FILE, ETCD_MEMBER, KUBEADM, KUBELET_CONF, KUBELET_UNIT
from deskside.hosts.fake import FakeHost
from deskside.model.query import Json, Output
from deskside.resources.objects import reference
from deskside.resources.release import KUBECTL

DONE, SYSTEM = Output(0, "", ""), "kube-system"
ADMIN = "/etc/kubernetes/admin.conf"


def _authority() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    ends = datetime(2036, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2026, 1, 1, tzinfo=UTC), ends)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


AUTHORITY = _authority()
"""The same one for every cluster of a process, so that two runs end alike."""


def teach_kubernetes(host: FakeHost) -> None:
    """Teach a host kubeadm, and what its servers do in the cluster that `host.cluster` stands for."""
    host.effect(KUBEADM, "init", does=_init)
    host.effect(KUBEADM, "join", does=_join)
    host.effect("sh", "-c", does=_make_ticket)
    host.effect("cat", CA_FILE, does=lambda fake, _argv, _given: Output(0, fake.files.text(CA_FILE), ""))
    host.effect(*KUBECTL, "apply", does=_apply)
    host.effect(*KUBECTL, "delete", "secret", does=_forget)
    for words in (("wait",), ("rollout", "status")):
        host.effect(*KUBECTL, *words, does=_if_up)
    host.effect(*KUBECTL, "scale", "deployment", does=_scale)


def _refused(why: str) -> Output:
    return Output(1, "", f"error: {why}")


def _init(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    if host.files.exists(ETCD_MEMBER):
        return _refused("[ERROR DirAvailable--var-lib-etcd]: /var/lib/etcd is not empty")
    given_kinds = {
        item["kind"] for item in yaml.safe_load_all(host.files.text(argv[argv.index("--config") + 1]))
    }
    if not {"InitConfiguration", "ClusterConfiguration"} <= given_kinds:
        return _refused(f"the configuration has only {', '.join(sorted(given_kinds))}")
    host.files.make_directory(ETCD_MEMBER, 0o700, "root", "root")
    host.files.put(ADMIN, "credentials\n", 0o600)
    host.cluster.reachable = True
    deployment: dict[str, Json] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": SYSTEM},
        "spec": {"replicas": 2},
    }
    host.cluster.objects[reference(deployment)] = deployment
    return _member(host)


def _member(host: FakeHost) -> Output:
    host.files.put(CA_FILE, AUTHORITY)
    host.files.put(KUBELET_CONF, "credentials of the kubelet\n", 0o600)
    host.units.systemctl(("start", KUBELET_UNIT))
    node: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": host.name},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    host.cluster.objects[reference(node)] = node
    return DONE


def _make_ticket(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    """`kubeadm token create`; the servers' keys are never uploaded, as one server needs none."""
    if not argv[2].startswith(f"exec {KUBEADM} token create"):
        return _refused(f"nobody taught the host: {argv[2]}")
    if not host.cluster.reachable:
        return _refused("connection refused")
    token = next(yaml.safe_load_all(given))["bootstrapTokens"][0]["token"]
    host.cluster.notes[SYSTEM, f"bootstrap-token-{token.partition('.')[0]}"] = TICKET_NOTE
    return DONE


def _join(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    if host.files.exists(KUBELET_CONF):
        return _refused("[ERROR FileAvailable--etc-kubernetes-kubelet.conf] already exists")
    found = yaml.safe_load(host.files.text(argv[argv.index("--config") + 1]))
    token = found["discovery"]["bootstrapToken"]["token"].partition(".")[0]
    if (SYSTEM, f"bootstrap-token-{token}") not in host.cluster.notes:
        return _refused("could not find a JWS signature in the cluster-info ConfigMap")
    return _member(host)


def _if_up(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    return DONE if host.cluster.reachable else _refused("connection refused")


def _apply(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    if host.cluster.reachable:
        document = json.loads(given)
        for item in document["items"] if document["kind"] == "List" else [document]:
            name = reference(item)
            host.cluster.objects[name] = _merged(host.cluster.objects.get(name, {}), item)
    return _if_up(host, argv, given)


def _merged(there: Mapping[str, Json], wanted: Mapping[str, Json]) -> dict[str, Json]:
    """Fields that are not written stay."""
    found = dict(there)
    for key, value in wanted.items():
        before = found.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found[key] = _merged(before, value)
        else:
            found[key] = value
    return found


def _forget(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    for name in argv:
        host.cluster.notes.pop((SYSTEM, name), None)
    return _if_up(host, argv, given)


def _scale(host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    name, count = argv[len(KUBECTL) + 2], int(argv[-1].partition("=")[2])
    key = ("apps/v1", "Deployment", SYSTEM, name)
    host.cluster.objects[key] = _merged(host.cluster.objects[key], {"spec": {"replicas": count}})
    return _if_up(host, argv, given)
