"""Debian 12: what its packages are called."""

from __future__ import annotations

from deskside.model.platform import HostOs

DEBIAN = HostOs(
    id="debian",
    versions=("12",),
    packages={
        # kubeadm refuses to start without conntrack, losetup and mount. nsenter and iptables are called by
        # the kubelet and by CNI's port mapping, ethtool and ping by people who look for a fault.
        "baseline": (
            "ca-certificates",
            "conntrack",
            "e2fsprogs",
            "ethtool",
            "iproute2",
            "iptables",
            "iputils-ping",
            "kmod",
            "mount",
            "nftables",
            "procps",
            "socat",
            "util-linux",
        ),
        # Without Debian's own unit, which would answer by its own settings as soon as it is installed.
        "names": ("dnsmasq-base",),
        "time": ("chrony",),
        # keepalived's check of the API calls curl.
        "failover": ("keepalived", "curl"),
        "nfs": ("nfs-common",),
        "directory": ("ldap-utils",),
    },
    verified="Debian 12 has run for real on virtual hosts, on amd64; not yet on workstations of metal.",
)
