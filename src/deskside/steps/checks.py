"""Preflight: what would make an apply fail, told before it starts. Changes nothing.

`fact_checks` is a pure function of facts; `probe_checks` asks hosts a little more. A check that finds nothing
wrong ends in one finding that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from deskside.model.finding import Finding
from deskside.model.platform import Host
from deskside.site.schema import Site
from deskside.steps import preflight_hosts, preflight_site
from deskside.steps.findings import fine
from deskside.steps.probes import probe_checks

__all__ = ["CHECKS", "fact_checks", "probe_checks"]

Check = Callable[[Site, Mapping[str, Host]], Iterator[Finding]]

CHECKS: Mapping[str, tuple[Check, str]] = {
    "system": (preflight_hosts.system, "every host runs a system that is supported"),
    "kubernetes": (preflight_hosts.foreign, "no host has another Kubernetes"),
    "power": (preflight_hosts.power, "every host has the processors and memory for its roles"),
    "ports": (preflight_hosts.ports, "the ports that the site needs are free, or its own"),
    "names": (preflight_hosts.name_ports, "nobody answers for names or addresses where the site is to"),
    "firewall": (preflight_hosts.firewalls, "no host has a firewall of somebody else's"),
    "space": (preflight_hosts.space, "there is room for images and desks on every host"),
    "lvm": (preflight_hosts.volume_groups, "no volume group has much space unallocated"),
    "address": (preflight_hosts.address, "every host has its own address, and keeps it"),
    "kernel": (preflight_hosts.kernel, "the kernels have what containers need"),
    "identity": (preflight_site.identity, "no two hosts are clones of each other"),
    "profiles": (preflight_site.profiles, "every desk fits on some worker"),
}
"""Name of a check -> what it does, and what is said when it finds nothing wrong."""


def fact_checks(site: Site, hosts: Mapping[str, Host]) -> list[Finding]:
    """What the facts of all hosts that answered say, all at once."""
    findings: list[Finding] = []
    for name, (check, passed) in CHECKS.items():
        findings += list(check(site, hosts)) or [fine(name, "site", passed)]
    return findings
