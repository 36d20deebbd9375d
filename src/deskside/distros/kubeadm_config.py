"""What kubeadm, kubelet and kube-proxy are told, as text. Pure functions of site and facts.

What holds for the whole cluster goes through kubeadm; what differs from host to host (cgroups, swap, what is
kept for the person at the desk) lies in the kubelet's own drop-in folder, where it is compared and healed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from deskside.model.facts import Facts
from deskside.model.platform import Host, JoinTicket, Platform
from deskside.resources.artifacts import CTR
from deskside.site.schema import HostSpec, Site
from deskside.site.secrets import Secret

API_PORT = 6443
CRI_SOCKET = f"unix://{CTR[2]}"
CLUSTER_DOMAIN = "cluster.local"
TICKET_NOTE = "made by deskside for a join"
_KUBEADM = "kubeadm.k8s.io/v1beta4"
_KUBELET = "kubelet.config.k8s.io/v1beta1"
_PROXY = "kubeproxy.config.k8s.io/v1alpha1"
_MI = 1024**2

Document = Mapping[str, object]


def _text(*documents: Document) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False, width=110)


def kubernetes_version(platform: Platform) -> str:
    """As kubeadm writes it: `v1.36.3`."""
    return f"v{platform.artifact('kubeadm').artifact.version.removeprefix('v')}"


def endpoint(site: Site) -> str:
    """Name and port of the cluster's API: the same from the first day on."""
    return f"{site.api_name}:{API_PORT}"


def certificate_names(site: Site) -> list[str]:
    """Names and addresses that the API's certificate is for."""
    names = [site.api_name, str(site.network.api)]
    for server in site.servers:
        names += [server.name, site.fqdn(server), str(server.address)]
    return list(dict.fromkeys(names))


def _registration(spec: HostSpec) -> Document:
    found: dict[str, object] = {"name": spec.name, "criSocket": CRI_SOCKET}
    if spec.is_server and spec.is_worker:
        found["taints"] = []
    return found


def cluster_document(site: Site, platform: Platform) -> Document:
    """The ClusterConfiguration of kubeadm."""
    return {
        "apiVersion": _KUBEADM,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": kubernetes_version(platform),
        "clusterName": site.name,
        "controlPlaneEndpoint": endpoint(site),
        "networking": {
            "dnsDomain": CLUSTER_DOMAIN,
            "podSubnet": str(site.network.pods),
            "serviceSubnet": str(site.network.services),
        },
        "apiServer": {"certSANs": certificate_names(site)},
        # A host's pod range follows from its address, so that nothing but the site file decides it.
        "controllerManager": {"extraArgs": [{"name": "allocate-node-cidrs", "value": "false"}]},
        "etcd": {"local": {"dataDir": "/var/lib/etcd"}},
    }


def _kubelet_document() -> Document:
    """The part of the kubelet's configuration that all hosts share."""
    return {
        "apiVersion": _KUBELET,
        "kind": "KubeletConfiguration",
        "rotateCertificates": True,
        "failSwapOn": False,
        "serializeImagePulls": False,
        "maxParallelImagePulls": 3,
        # Shares of large disks: the defaults would leave hundreds of gigabytes of a workstation unused.
        "imageGCHighThresholdPercent": 90,
        "imageGCLowThresholdPercent": 80,
        "evictionHard": {
            "memory.available": "300Mi",
            "nodefs.available": "5%",
            "nodefs.inodesFree": "3%",
            "imagefs.available": "5%",
            "imagefs.inodesFree": "3%",
        },
    }


def _proxy_document(hosts: Sequence[Host]) -> Document:
    document: dict[str, object] = {"apiVersion": _PROXY, "kind": "KubeProxyConfiguration", "mode": "nftables"}
    if any(host.facts.container or not host.facts.writable_sysctls for host in hosts):
        # The size of the connection table belongs to the kernel that they share with others.
        document["conntrack"] = {"maxPerCore": 0}
    return document


def init_config(site: Site, platform: Platform, host: Host) -> str:
    """What `kubeadm init` is told on the first server; no secret is in it."""
    init: Document = {
        "apiVersion": _KUBEADM,
        "kind": "InitConfiguration",
        # kubeadm insists on a token; nobody is told this one, and it is gone a minute later.
        "bootstrapTokens": [{"description": TICKET_NOTE, "ttl": "1m0s"}],
        "nodeRegistration": _registration(host.spec),
        "localAPIEndpoint": {"advertiseAddress": str(host.spec.address), "bindPort": API_PORT},
    }
    hosts = tuple(platform.hosts.values())
    return _text(init, cluster_document(site, platform), _kubelet_document(), _proxy_document(hosts))


def token_config(site: Site, platform: Platform, ticket: JoinTicket, ttl: str) -> Secret:
    """What kubeadm is told on a server to make a token and to upload certificates under a key."""
    init: dict[str, object] = {
        "apiVersion": _KUBEADM,
        "kind": "InitConfiguration",
        "bootstrapTokens": [{"token": ticket.token, "description": TICKET_NOTE, "ttl": ttl}],
        "nodeRegistration": {"criSocket": CRI_SOCKET},
    }
    if ticket.certificate_key:
        init["certificateKey"] = ticket.certificate_key
    return Secret(_text(init, cluster_document(site, platform)))


def join_config(site: Site, host: Host, ticket: JoinTicket) -> Secret:
    """What `kubeadm join` is told."""
    join: dict[str, object] = {
        "apiVersion": _KUBEADM,
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": endpoint(site),
                "token": ticket.token,
                "caCertHashes": [ticket.ca_hash],
            }
        },
        "nodeRegistration": _registration(host.spec),
    }
    if host.spec.is_server:
        join["controlPlane"] = {
            "certificateKey": ticket.certificate_key,
            "localAPIEndpoint": {"advertiseAddress": str(host.spec.address), "bindPort": API_PORT},
        }
    return Secret(_text(join))


def reserved(facts: Facts) -> dict[str, str]:
    """CPU and memory that pods never get: more where somebody sits at the machine's own screen."""
    share, most, cpu = (8, 4096, facts.cpus * 1000 // 8) if facts.desktop else (20, 1024, 100)
    memory = min(facts.memory // _MI // share, most)
    return {"cpu": f"{min(max(cpu, 100), 1000)}m", "memory": f"{max(memory, 256)}Mi"}


def kubelet_drop_in(facts: Facts) -> str:
    """The kubelet's configuration that follows from one host's facts."""
    document: dict[str, object] = {
        "apiVersion": _KUBELET,
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": CRI_SOCKET,
        "cgroupDriver": "systemd" if facts.cgroup == 2 else "cgroupfs",
        "failSwapOn": False,
        "kubeReserved": {"cpu": "100m", "memory": "256Mi"},
        "systemReserved": reserved(facts),
        # With logind: pods are ended in order before the machine goes down. Otherwise a reboot waits 90 s for
        # containers, whose first process is deaf to SIGTERM unless it asks for it.
        "shutdownGracePeriod": "60s",
        "shutdownGracePeriodCriticalPods": "20s",
    }
    if facts.cgroup == 2:
        document["memorySwap"] = {"swapBehavior": "NoSwap"}
    else:
        document["failCgroupV1"] = False
    if "127.0.0.53" in facts.nameservers:
        # systemd-resolved's stub listens on the host's loopback, where no pod can reach it.
        document["resolvConf"] = "/run/systemd/resolve/resolv.conf"
    return "# Written by Deskside.\n" + _text(document)


def ignored_checks(facts: Facts) -> tuple[str, ...]:
    """Checks of kubeadm that do not fit this host, from its facts."""
    if facts.cgroup == 1 or facts.container:
        # It wants cgroup v2 and the kernel's build configuration, which a container does not have.
        return ("SystemVerification",)
    return ()
