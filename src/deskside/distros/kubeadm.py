"""kubeadm: upstream Kubernetes, brought up by its own tool. The default distribution.

Says which resources make a node; how kubeadm is called is in `kubeadm_run`, what it is told in
`kubeadm_config`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deskside.distros import certificates
from deskside.distros import kubeadm_config as config
from deskside.distros.failover import failover
from deskside.distros.kubeadm_run import (
    KUBELET_UNIT,
    FirstServer,
    Membership,
    NoTickets,
    ReadyNodes,
    Replicas,
    Ticket,
)
from deskside.distros.names import cluster_names
from deskside.errors import CheckFailed
from deskside.model.door import Door, Source, nowhere, on_nodes, on_servers
from deskside.model.platform import Certificate, Host, JoinTicket, Platform
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import Resource
from deskside.resources.artifacts import Binary, images_of
from deskside.resources.files import File
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import Site

BIN = "/opt/deskside/bin"
ON_EVERY_NODE = ("kubeadm", "kubelet")
ON_SERVERS = ("kubectl", "helm")
SERVER_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
NODE_IMAGES = ("kube-proxy", "coredns", "pause")
RUNTIME = ("containerd", "runc", "cni-plugins", "crictl")
API = Door("Kubernetes API", "tcp", "6443", (Source.PEOPLE, Source.NODES, Source.PODS), on_servers)
API_ADDRESS = replace(API, on=nowhere, address=lambda site: site.network.api)
"""The same at the address that moves from server to server, which people use."""
ETCD = Door("etcd", "tcp", "2379-2380", (Source.SERVERS,), on_servers)
KUBELET = Door("kubelet", "tcp", "10250", (Source.NODES,), on_nodes)
DROP_INS = "/etc/deskside/kubelet.conf.d"


def _kubelet_unit(host: Host) -> str:
    return f"""\
# Written by Deskside. kubeadm starts it by the name of its alias.
[Unit]
Description=Deskside: the node agent of Kubernetes (kubelet)
Wants=network-online.target
After=network-online.target deskside-containerd.service
ConditionPathExists=/var/lib/kubelet/config.yaml
RequiresMountsFor=/var/lib/kubelet
StartLimitIntervalSec=0

[Service]
Environment=PATH={BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart={BIN}/kubelet --config=/var/lib/kubelet/config.yaml --config-dir={DROP_INS} \\
  --kubeconfig=/etc/kubernetes/kubelet.conf --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
  --node-ip={host.spec.address} $KUBELET_KUBEADM_ARGS
CPUAccounting=true
MemoryAccounting=true
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
Alias=kubelet.service
"""


@dataclass(frozen=True)
class Kubeadm:
    """The distribution; without fields, because all it knows is in the site and the facts."""

    name: str = "kubeadm"
    kubeconfig: str = "/etc/kubernetes/admin.conf"
    artifacts: tuple[str, ...] = (*ON_EVERY_NODE, *ON_SERVERS, *RUNTIME, *SERVER_IMAGES, *NODE_IMAGES)

    def software(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """Programs, images and the kubelet's unit; on a server also the API's address."""
        if host.spec.is_server:
            yield from failover(site, host)
        wanted = (*ON_EVERY_NODE, *(ON_SERVERS if host.spec.is_server else ()))
        programs = {name: Binary(platform.artifact(name), f"{BIN}/{name}") for name in wanted}
        yield from programs.values()
        images = (*(SERVER_IMAGES if host.spec.is_server else ()), *NODE_IMAGES)
        yield from images_of(platform.artifact(name) for name in images)
        unit = File(f"{UNIT_DIRECTORY}/{KUBELET_UNIT}", _kubelet_unit(host))
        drop_in = File(f"{DROP_INS}/10-deskside.conf", config.kubelet_drop_in(host.facts))
        yield from (unit, drop_in)
        # Before the join the kubelet has nothing to read: kubeadm starts it when it has.
        joined = host.facts.kubernetes.joined
        yield Unit(KUBELET_UNIT, after=(programs["kubelet"], unit, drop_in), running=joined)

    def first_server(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """`kubeadm init`. Raises CheckFailed where a second cluster might be begun beside the first (F31)."""
        if not host.facts.kubernetes.joined:
            _refuse_second_cluster(site, platform)
        yield FirstServer(config.init_config(site, platform, host), config.ignored_checks(host.facts))

    def ticket(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """A ticket, when somebody waits for one."""
        waiting = [other for other in _outside(platform) if other.name != host.name]
        if waiting:
            names = tuple(other.name for other in waiting)
            yield Ticket(site, platform, names, any(other.spec.is_server for other in waiting))

    def join(
        self, site: Site, platform: Platform, host: Host, ticket: JoinTicket | None
    ) -> Iterator[Resource]:
        """Membership of every host but the leader, which began the cluster."""
        if host.name != platform.leader.name:
            yield Membership(site, host, ticket)

    def settled(self, site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        """No tickets, all nodes Ready, and the site's names in CoreDNS."""
        del host
        nodes = tuple(other.name for other in platform.hosts.values() if other.spec.is_node)
        yield NoTickets()
        yield Replicas("coredns", min(2, len(site.nodes)))
        yield ReadyNodes(nodes)
        yield cluster_names(site, platform, config.CLUSTER_DOMAIN)

    def certificate_questions(self, host: Host) -> tuple[ReadOutput, ...]:
        """See `certificates`."""
        return certificates.questions(host)

    def certificates(self, host: Host, answers: Sequence[Output]) -> tuple[Certificate, ...]:
        """See `certificates`."""
        return certificates.answers(host, answers)


def _outside(platform: Platform) -> list[Host]:
    """Hosts that should be nodes and have not joined."""
    nodes = [host for host in platform.hosts.values() if host.spec.is_node]
    return [host for host in nodes if not host.facts.kubernetes.joined]


def _refuse_second_cluster(site: Site, platform: Platform) -> None:
    """A cluster may be begun only when every server was looked at and no host belongs to one."""
    silent = [spec.name for spec in site.servers if spec.name not in platform.hosts]
    if silent:
        raise CheckFailed(
            f"no cluster is begun while {', '.join(silent)} cannot be asked: it may hold this site's",
            hint="bring it back, or take it out of the site file",
        )
    joined = [host.name for host in platform.hosts.values() if host.facts.kubernetes.joined]
    if joined:
        raise CheckFailed(
            f"no cluster is begun: {', '.join(joined)} already belongs to one, of which no server is left",
            hint="restore a server from a backup, or reset these hosts",
        )


KUBEADM = Kubeadm()
