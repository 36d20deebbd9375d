"""Debian 12 and 13: what their packages are called."""

from __future__ import annotations

from deskside.model.platform import HostOs

DEBIAN = HostOs(
    id="debian",
    versions=("12", "13"),
    packages={
        # On every host. ethtool and ping are called by people who look for a fault.
        "baseline": (
            *("ca-certificates", "ethtool", "iproute2", "iputils-ping"),
            *("nftables", "procps", "util-linux"),
        ),
        # kubeadm refuses to start without conntrack, losetup and mount. nsenter and iptables are called by
        # the kubelet and by CNI's port mapping.
        "node": ("conntrack", "e2fsprogs", "iptables", "kmod", "mount", "socat"),
        # Without Debian's own unit, which would answer by its own settings as soon as it is installed.
        "names": ("dnsmasq-base",),
        "updates": ("bind9-dnsutils",),
        "time": ("chrony",),
        # keepalived's check of the API calls curl.
        "failover": ("keepalived", "curl"),
        "nfs": ("nfs-common",),
        "directory": ("ldap-utils",),
        "directory server": ("slapd", "ldap-utils"),
        # A daemon of its own answers for people; PAM and the name service switch take it by their own rules.
        "people": ("sssd-ldap", "libnss-sss", "libpam-sss", "sudo"),
        "upgrades": ("unattended-upgrades",),
    },
    security=("origin=Debian,codename=${distro_codename}-security,label=Debian-Security",),
    verified="Debian 12 has run for real on virtual hosts, on amd64; not yet on workstations of metal. "
    "Debian 13 has been planned against recorded answers of a host only.",
)
