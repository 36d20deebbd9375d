"""kubeadm as resources: begun, interrupted and finished, planned from what lies on the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from deskside.distros import kubeadm_run as run
from deskside.distros.kubeadm import KUBEADM
from deskside.errors import CheckFailed, StepFailed
from deskside.model.action import ActionResult, RemovePath, RunCommand, WriteFile
from deskside.model.platform import JoinTicket
from deskside.model.query import NotesFound, ObjectsFound, PathFound
from deskside.model.resource import Change, Deferred, HostReader
from deskside.site.secrets import Secret

from .test_kubeadm_config import RACK, TICKET, cluster

ABSENT, FILE, FOLDER = PathFound("absent"), PathFound("file"), PathFound("directory")
JOINED = {**RACK, "kubernetes": {"joined": True, "kubelet_conf": True}}


def authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def commands(change: Change) -> list[str]:
    return [" ".join(action.argv) for action in change.actions if isinstance(action, RunCommand)]


def membership(name: str, ticket: JoinTicket | None = TICKET) -> run.Membership:
    site, _, hosts = cluster(RACK)
    return run.Membership(site, hosts[name], ticket)


def test_the_marker_is_the_last_thing_that_is_written() -> None:
    first = run.FirstServer("text").difference(ABSENT, ABSENT, ABSENT)
    join = membership("ws2").difference((ABSENT, ABSENT, ABSENT, ABSENT))
    for change in (first, join):
        assert change
        paths = [action.path for action in change.actions if isinstance(action, WriteFile)]
        assert paths[0] == run.BEGUN
        assert isinstance(change.actions[-1], WriteFile)
        assert paths[-1] == change.actions[-1].path == run.MARKER


def test_what_is_finished_is_left_alone() -> None:
    assert run.FirstServer("text").difference(FILE, FILE, FOLDER) is None
    assert membership("ws3").difference((FILE, FILE, FILE, FILE)) is None


def test_a_first_try_ignores_no_trace_of_others() -> None:
    change = run.FirstServer("text", ("SystemVerification",)).difference(ABSENT, ABSENT, ABSENT)
    assert change
    assert commands(change)[0].endswith("--ignore-preflight-errors=SystemVerification")


def test_f30_an_init_that_no_machine_has_seen_begins_anew() -> None:
    change = run.FirstServer("text").difference(ABSENT, FILE, ABSENT)
    assert change
    assert commands(change)[:2] == [
        f"systemctl stop {run.KUBELET_UNIT}",
        "rm -rf --one-file-system /etc/kubernetes/pki /etc/kubernetes/manifests /etc/kubernetes/admin.conf "
        "/etc/kubernetes/super-admin.conf /etc/kubernetes/controller-manager.conf "
        "/etc/kubernetes/scheduler.conf /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf",
    ]
    assert "Port-6443" in commands(change)[2]


def test_f30_an_init_with_data_keeps_its_certificates() -> None:
    change = run.FirstServer("text").difference(ABSENT, FILE, FOLDER)
    assert change
    assert not any(command.startswith("rm") for command in commands(change))
    assert "DirAvailable--var-lib-etcd" in commands(change)[1]


def test_f30_a_server_that_the_cluster_knows_is_not_bootstrapped_again() -> None:
    change = membership("ws2").difference((ABSENT, FILE, FILE, ABSENT))
    assert change
    assert any("--skip-phases=kubelet-start" in command for command in commands(change))
    assert not any(command.startswith("rm") for command in commands(change))


def test_f30_a_worker_that_the_cluster_knows_needs_nothing_but_its_kubelet() -> None:
    change = membership("ws3").difference((ABSENT, FILE, FILE, ABSENT))
    assert change
    assert commands(change) == [f"systemctl restart {run.KUBELET_UNIT}"]


def test_a_host_of_another_cluster_is_refused() -> None:
    other = PathFound("file", content=authority())
    with pytest.raises(StepFailed, match="ws3 belongs to another cluster"):
        membership("ws3").difference((ABSENT, FILE, FILE, other))


def test_without_a_ticket_the_join_is_planned_and_cannot_be_carried_out() -> None:
    change = membership("ws3", None).difference((ABSENT, ABSENT, ABSENT, ABSENT))
    assert change
    assert change.summary == "join as worker (kubeadm join)"
    assert [command for command in commands(change) if "exit 1" in command] == commands(change)


def test_secrets_of_a_join_travel_as_secrets_and_are_removed() -> None:
    change = membership("ws2").difference((ABSENT, ABSENT, ABSENT, ABSENT))
    assert change
    written = [
        action for action in change.actions if isinstance(action, WriteFile) and "join.yaml" in action.path
    ]
    assert [(type(action.content), action.mode) for action in written] == [(Secret, 0o600)]
    assert RemovePath("/run/deskside/kubeadm-join.yaml") in change.actions
    assert TICKET.token not in repr(change)
    assert TICKET.certificate_key not in repr(change)


async def test_a_ticket_is_in_no_argument_and_no_output(reader: HostReader) -> None:
    site, platform, _ = cluster(RACK)
    change = await run.Ticket(site, platform, ("ws2", "ws3"), servers=True).plan(reader)
    pem = authority()
    assert change.result
    results = [ActionResult(0, pem.decode()), ActionResult(0), ActionResult(0)]
    ticket = change.result(results)
    assert isinstance(ticket, JoinTicket)
    assert ticket.ca_hash == run.ca_hash(pem)
    assert len(ticket.certificate_key) == 64
    assert ticket.token not in repr(change)
    assert ticket.certificate_key not in repr(change)
    quiet = [action for action in change.actions if isinstance(action, RunCommand) and action.stdin]
    assert len(quiet) == 2
    for action in quiet:
        assert action.argv[-1].endswith(">/dev/null")
        assert ticket.token in str(action.wire()["stdin"])


async def test_workers_need_no_keys_of_the_cluster(reader: HostReader) -> None:
    site, platform, _ = cluster(RACK)
    change = await run.Ticket(site, platform, ("ws3",), servers=False).plan(reader)
    assert not any("upload-certs" in command for command in commands(change))


@pytest.fixture
def reader() -> HostReader:
    class Silent:
        name = "ws1"

    return Silent()  # type: ignore[return-value]  # a ticket asks nothing


def test_tickets_are_deleted_and_tokens_of_people_stay() -> None:
    notes = {
        "bootstrap-token-aaaaaa": "made by deskside for a join",
        "bootstrap-token-bbbbbb": "for the new printer",
        "bootstrap-token-cccccc": "Proxy for managing TTL for the kubeadm-certs secret",
        "kubeadm-certs": "",
        "other": "",
    }
    change = run.NoTickets().difference(NotesFound(True, notes))
    assert isinstance(change, Change)
    assert commands(change)[0].endswith("bootstrap-token-aaaaaa bootstrap-token-cccccc kubeadm-certs")
    assert run.NoTickets().difference(NotesFound(True, {"other": ""})) is None


def test_what_the_cluster_says_is_deferred_until_it_answers() -> None:
    down = ObjectsFound(False)
    for found in (
        run.NoTickets().difference(NotesFound(False, {})),
        run.ReadyNodes(("ws1",)).difference(down),
        run.Replicas("coredns", 2).difference(down),
    ):
        assert isinstance(found, Deferred)


def nodes_found(**ready: str) -> ObjectsFound:
    """Nodes with the status of their condition Ready."""
    return ObjectsFound(
        True,
        tuple(
            {
                "kind": "Node",
                "metadata": {"name": name},
                "status": {
                    "conditions": [
                        {"type": "DiskPressure", "status": "True"},
                        {"type": "Ready", "status": status},
                    ]
                },
            }
            for name, status in ready.items()
        ),
    )


def test_nodes_that_are_late_are_waited_for() -> None:
    nodes = run.ReadyNodes(("ws1", "ws2", "ws3"))
    change = nodes.difference(nodes_found(ws1="True", ws2="Unknown"))
    assert isinstance(change, Change)
    assert change.summary == "wait until ws2, ws3 are ready"
    waits = [action.argv for action in change.actions if isinstance(action, RunCommand)]
    assert [next(word for word in argv if word.startswith("--for")) for argv in waits] == [
        *("--for=create", "--for=condition=Ready")
    ], "a node that is not registered yet is waited for, too"
    assert [action.attempts > 1 for action in change.actions if isinstance(action, RunCommand)] == [
        True,
        False,
    ]
    assert nodes.difference(nodes_found(ws1="True", ws2="True", ws3="True")) is None


def test_replicas_are_set_where_they_are_others() -> None:
    replicas = run.Replicas("coredns", 2)
    two, one = ({"kind": "Deployment", "spec": {"replicas": number}} for number in (2, 1))
    assert replicas.difference(ObjectsFound(True, (two,))) is None
    for items, now in (((one,), "1"), ((), "unknown")):
        change = replicas.difference(ObjectsFound(True, items))
        assert isinstance(change, Change)
        assert change.summary == f"set to 2 (is {now})"
        assert commands(change)[0].endswith("scale deployment coredns -n kube-system --replicas=2")


def test_f31_no_cluster_is_begun_while_a_server_is_silent() -> None:
    site, platform, hosts = cluster(RACK)
    del platform.hosts["ws2"]  # type: ignore[attr-defined]
    with pytest.raises(CheckFailed, match="while ws2 cannot be asked"):
        list(KUBEADM.first_server(site, platform, hosts["ws1"]))


def test_f31_no_cluster_is_begun_beside_one_that_lost_its_servers() -> None:
    site, platform, hosts = cluster(RACK)
    joined = cluster(JOINED)[2]["ws3"]
    platform.hosts["ws3"] = joined  # type: ignore[index]
    with pytest.raises(CheckFailed, match="ws3 already belongs to one"):
        list(KUBEADM.first_server(site, platform, hosts["ws1"]))


def test_a_ticket_is_made_only_when_somebody_waits() -> None:
    site, platform, hosts = cluster(RACK)
    assert len(list(KUBEADM.ticket(site, platform, hosts["ws1"]))) == 1
    site, platform, hosts = cluster(JOINED)
    assert not list(KUBEADM.ticket(site, platform, hosts["ws1"]))


def test_the_leader_joins_nothing() -> None:
    site, platform, hosts = cluster(RACK)
    assert not list(KUBEADM.join(site, platform, hosts["ws1"], TICKET))
    assert len(list(KUBEADM.join(site, platform, hosts["ws2"], TICKET))) == 1
