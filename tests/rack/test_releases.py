"""Helm releases against a real API server and etcd (no nodes): records, drift, killed runs."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deskside.lab.recipes import build, default_cache
from remote.onhost import Host

pytestmark = [
    pytest.mark.rack,
    pytest.mark.skipif(os.geteuid() != 0, reason="a rack needs root"),
    pytest.mark.timeout(300),
]

ADMIN = """
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: https://127.0.0.1:{port}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"""
"""As kubeadm writes it."""
CERTIFICATES = """
new() { openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null; }
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 1 -subj /CN=authority 2>/dev/null
echo subjectAltName=IP:127.0.0.1 >names
new server /CN=server
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 1 -out server.crt -extfile names 2>/dev/null
for who in /O=system:masters/CN=admin /CN=nobody; do
    name="${who##*=}"
    new "$name" "$who"
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -days 1 -out "$name.crt" 2>/dev/null
done
openssl genrsa -out sa.key 2048 2>/dev/null
"""
CHART = """
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {a: "{{ .Values.a }}"}
---
apiVersion: v1
kind: Secret
metadata: {name: filled}
---
apiVersion: v1
kind: Service
metadata: {name: svc}
spec: {ports: [{port: 80}], selector: {app: thing}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: thing-role}
rules: []
"""
Kubectl = Callable[..., str]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    with ExitStack() as open_now:
        sockets = [open_now.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def start(folder: Path, bin_folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    client, peer = (f"http://127.0.0.1:{free}" for free in free_ports(2))
    commands = [
        f"etcd --data-dir etcd --listen-client-urls {client} --advertise-client-urls {client} "
        f"--listen-peer-urls {peer}",
        f"kube-apiserver --etcd-servers {client} --secure-port {port} --bind-address 127.0.0.1 "
        "--client-ca-file ca.crt --tls-cert-file server.crt --tls-private-key-file server.key "
        "--service-account-key-file sa.key --service-account-signing-key-file sa.key "
        "--service-account-issuer https://x --authorization-mode RBAC "
        "--service-cluster-ip-range 10.99.0.0/24 --disable-admission-plugins ServiceAccount",
    ]
    started = []
    for command in commands:
        name, *rest = command.split()
        with (folder / f"{name}.log").open("wb") as log:
            argv = [str(bin_folder / name), *rest]
            started.append(subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log))
    return started


def admin_of(name: str, folder: Path, port: int) -> str:
    """An admin.conf with the certificate of this name."""
    fields = {"ca": "ca.crt", "certificate": f"{name}.crt", "key": f"{name}.key"}
    read = {key: base64.b64encode((folder / file).read_bytes()).decode() for key, file in fields.items()}
    return ADMIN.format(port=port, **read)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("api")
    (port,) = free_ports(1)
    built = asyncio.run(build(("kube",), cache=default_cache(), report=lambda _who, _line: None))
    found = Host(folder / "root")
    programs = found.root / "opt/deskside/bin"
    programs.mkdir(parents=True)
    for name in ("etcd", "kube-apiserver", "kubectl", "helm"):
        (programs / name).symlink_to(built["kube"].path)
    (found.root / "etc/kubernetes").mkdir(parents=True)
    subprocess.run(["sh", "-eu"], input=CERTIFICATES, text=True, cwd=folder, check=True, timeout=60)
    (found.root / "etc/kubernetes/admin.conf").write_text(admin_of("admin", folder, port))
    (folder / "chart/templates").mkdir(parents=True)
    (folder / "chart/Chart.yaml").write_text("apiVersion: v2\nname: thing\nversion: 1.0.0\n")
    (folder / "chart/templates/all.yaml").write_text(CHART)
    started = start(folder, programs, port)
    try:
        yield found
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


@pytest.fixture
def kubectl(host: Host) -> Kubectl:
    program, admin = host.root / "opt/deskside/bin/kubectl", host.root / "etc/kubernetes/admin.conf"

    def call(*argv: str, stdin: str = "") -> str:
        whole = [str(program), "--kubeconfig", str(admin), *argv]
        return subprocess.run(whole, input=stdin, capture_output=True, text=True, check=True).stdout

    end = time.monotonic() + 90
    while True:
        try:
            call("get", "namespace", "default")
            return call
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def applied(host: Host, a: str) -> Mapping[str, object]:
    return host.act(
        {
            "op": "apply_release",
            "namespace": "hub",
            "name": "thing",
            "chart": str(host.root.parent / "chart"),
            "chart_digest": "c1",
            "values": f"a: '{a}'\n",
            "values_digest": f"v{a}",
            "timeout": 60,
            "labels": {"team": "x"},
        }
    )


def found(host: Host) -> Mapping[str, object]:
    return host.read({"op": "release", "namespace": "hub", "name": "thing"})


def test_a_release_is_recorded_and_its_drift_is_seen_and_healed(host: Host, kubectl: Kubectl) -> None:
    assert found(host) == {"reachable": True, "status": "", "revision": 0, "record": {}, "drifted": []}
    applied(host, "1")
    deployed = {"reachable": True, "status": "deployed", "revision": 1, "drifted": []}
    assert found(host) == {**deployed, "record": {"chart": "c1", "values": "v1"}}
    assert '"team":"x"' in kubectl("get", "namespace", "hub", "-o", "jsonpath={.metadata.labels}")
    # What the chart renders empty is somebody else's to fill.
    kubectl("patch", "secret", "filled", "-n", "hub", "-p", '{"data":{"tls":"eA=="}}')
    assert found(host)["drifted"] == []
    kubectl("patch", "configmap", "conf", "-n", "hub", "-p", '{"data":{"a":"9"}}')
    kubectl("delete", "service", "svc", "-n", "hub")
    assert found(host)["drifted"] == ["ConfigMap hub/conf", "Service hub/svc"]
    assert "keeps them" not in str(applied(host, "1")["stdout"])
    assert found(host)["drifted"] == []
    assert kubectl("get", "configmap", "conf", "-n", "hub", "-o", "jsonpath={.data.a}") == "1"


def test_a_field_that_helm_leaves_is_named(host: Host, kubectl: Kubectl) -> None:
    applied(host, "1")
    kubectl("patch", "configmap", "conf", "-n", "hub", "-p", '{"data":{"extra":"9"}}')
    assert found(host)["drifted"] == ["ConfigMap hub/conf"]
    said = str(applied(host, "1")["stdout"])
    assert "has fields that the chart does not set, and keeps them: ConfigMap hub/conf" in said


def test_f8_a_release_that_was_left_pending_is_gone_on_with(host: Host, kubectl: Kubectl) -> None:
    applied(host, "1")
    name = f"sh.helm.release.v1.thing.v{found(host)['revision']}"
    secret = json.loads(kubectl("get", "secret", name, "-n", "hub", "-o", "json"))
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    release["info"]["status"] = secret["metadata"]["labels"]["status"] = "pending-upgrade"
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    secret["data"]["release"] = base64.b64encode(packed).decode()
    kubectl("replace", "-f", "-", stdin=json.dumps(secret))
    assert found(host)["status"] == "pending-upgrade"
    assert "was left pending-upgrade and is marked failed" in str(applied(host, "2")["stdout"])
    assert found(host)["status"] == "deployed"
    assert kubectl("get", "configmap", "conf", "-n", "hub", "-o", "jsonpath={.data.a}") == "2"


def test_a_secret_is_made_once_and_keys_are_added(host: Host, kubectl: Kubectl) -> None:
    make = {"op": "make_cluster_secret", "namespace": "desks", "name": "tokens"}
    host.act({**make, "keys": {"a": 16}})
    first = json.loads(kubectl("get", "secret", "tokens", "-n", "desks", "-o", "jsonpath={.data}"))
    assert len(base64.b64decode(first["a"])) == 32
    host.act({**make, "keys": {"a": 16, "b": 8}})
    both = json.loads(kubectl("get", "secret", "tokens", "-n", "desks", "-o", "jsonpath={.data}"))
    assert both["a"] == first["a"]
    assert len(base64.b64decode(both["b"])) == 16


def test_objects_secrets_and_releases_are_told_together(host: Host, kubectl: Kubectl) -> None:
    applied(host, "1")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "known",
            "namespace": "hub",
            "annotations": {"deskside/digest": "d1", "somebody/last-applied": "canary-in-annotation"},
        },
        "stringData": {"password": "canary-in-data", "description": "canary-in-remark"},
    }
    ticket = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ticket", "namespace": "hub"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-secret": "canary-in-ticket", "description": "for a join"},
    }
    for item in (secret, ticket):
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(item))
    questions: list[Mapping[str, object]] = [
        {"op": "release", "namespace": "hub", "name": "thing"},
        {"op": "release", "namespace": "hub", "name": "never"},
        {"op": "objects", "wanted": [["v1", "ConfigMap", "hub", "conf"], ["v1", "ConfigMap", "hub", "no"]]},
        {"op": "objects", "wanted": [["v1", "Namespace", "", "hub"]]},
        {"op": "objects", "wanted": [["v1", "Secret", "hub", "known"]]},
        {"op": "secret_notes", "namespace": "hub"},
        {"op": "secret_notes", "namespace": "elsewhere"},
    ]
    unknown = [["x.io/v1", "Thing", "hub", "a"], ["y.io/v1", "Other", "", "b"]]
    some = [*unknown, ["v1", "ConfigMap", "hub", "conf"]]
    answers: list[Any] = [answer["ok"] for answer in host.ask(*questions)]
    asked = [{"op": "objects", "wanted": names} for names in (unknown, some)]
    again_told: list[Any] = [answer["ok"] for answer in host.ask(*asked)]
    release, never, config, namespace, known, notes, nowhere = answers
    assert (release["status"], release["drifted"], never["status"]) == ("deployed", [], "")
    assert [item["data"]["a"] for item in config["items"]] == ["1"]
    assert [item["metadata"]["labels"]["team"] for item in namespace["items"]] == ["x"]
    (shown,) = known["items"]
    assert shown["metadata"]["annotations"] == {"deskside/digest": "d1"}
    assert sorted(shown["data"]) == ["description", "password"]
    assert "canary" not in json.dumps(answers)
    assert (notes["notes"]["ticket"], notes["notes"]["known"]) == ("for a join", "")
    assert nowhere["notes"] == {}
    # A kind that the cluster does not know is nowhere, and hides nothing else.
    no_kind, one_kind = again_told
    assert no_kind["items"] == []
    assert [item["kind"] for item in one_kind["items"]] == ["ConfigMap"]


def test_a_cluster_that_is_down_is_told_from_one_that_refuses(host: Host, kubectl: Kubectl) -> None:
    question = {"op": "objects", "wanted": [["v1", "ConfigMap", "hub", "conf"]]}
    nowhere = {"op": "objects", "wanted": [["v1", "ConfigMap", "a/b", "../conf"]]}
    assert host.read(nowhere) == {"reachable": True, "items": []}
    admin = host.root / "etc/kubernetes/admin.conf"
    text = admin.read_text()
    port = int(re.findall(r"https://[^:]+:(\d+)", text)[0])
    (free,) = free_ports(1)
    stranger = host.root.parent / "stranger"
    stranger.mkdir()
    subprocess.run(["sh", "-eu"], input=CERTIFICATES, text=True, cwd=stranger, check=True, timeout=60)
    downs = {
        "nobody listens": text.replace(str(port), str(free)),
        "another authority's": admin_of("admin", stranger, port),
        "cut short": text[: len(text) // 2],
        "empty": "",
    }
    try:
        for what, broken in downs.items():
            admin.write_text(broken)
            assert host.read(question) == {"reachable": False}, what
        admin.write_text(admin_of("nobody", host.root.parent, port))
        (answer,) = host.ask(question)
        assert 'configmaps "conf" is forbidden: User "nobody"' in str(answer["error"])
        released, noted = host.ask(
            {"op": "release", "namespace": "hub", "name": "thing"}, {"op": "secret_notes", "namespace": "hub"}
        )
        assert "forbidden" in str(released["error"])
        assert "forbidden" in str(noted["error"])
    finally:
        admin.write_text(text)
