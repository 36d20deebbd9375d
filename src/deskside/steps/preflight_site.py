"""Preflight checks between hosts, from facts alone. Pure functions; `checks.py` gathers them.

A function yields what is wrong; yielding nothing means that the check has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from deskside.model.finding import Finding
from deskside.model.platform import Host
from deskside.site.schema import Site
from deskside.steps.findings import failed, warning

GIB = 1024**3
RESERVED = GIB
"""Bytes of a worker that desks never get: kubelet, system, services. An estimate on the generous side."""


@dataclass(frozen=True)
class Identity:
    """Something that no two hosts may share."""

    what: str
    values: Callable[[Host], tuple[str, ...]]
    finding: Callable[[str, str, str, str], Finding]
    hint: str


def _mac(host: Host) -> tuple[str, ...]:
    # Only that of the card in use: bridges of Docker and others have the same address everywhere.
    card = host.facts.interface_with(str(host.spec.address))
    return (card.mac.lower(),) if card else ()


IDENTITIES = (
    Identity(
        "machine-id",
        lambda host: (host.facts.machine_id,),
        failed,
        "one was cloned from the other; on one of them, before it joins: "
        "sudo rm -f /etc/machine-id /var/lib/dbus/machine-id && sudo systemd-machine-id-setup && sudo reboot",
    ),
    Identity(
        "MAC address",
        _mac,
        failed,
        "two cards with one address cannot share a network; look for a cloned or overridden address",
    ),
    Identity(
        "product UUID",
        lambda host: (host.facts.product_uuid.lower(),),
        warning,
        "some boards are sold with one UUID for all; Kubernetes shows it and decides nothing by it",
    ),
    Identity(
        "host name",
        lambda host: (host.facts.hostname,),
        warning,
        "apply gives each host its own name; until then a DHCP server may confuse them",
    ),
    Identity(
        "SSH host key",
        lambda host: host.facts.host_keys,
        warning,
        "one was cloned from the other; on one of them: sudo rm /etc/ssh/ssh_host_* && sudo ssh-keygen -A "
        "&& sudo systemctl restart ssh; then run: deskside trust",
    ),
)


def identity(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Nothing that has to be unique is shared: clones of one image are told before they meet."""
    for kind in IDENTITIES:
        owners: dict[str, list[str]] = {}
        for name, host in hosts.items():
            for value in kind.values(host):
                owners.setdefault(value, []).append(name)
        shared = {tuple(names): value for value, names in owners.items() if value and len(names) > 1}
        for names, value in shared.items():
            said = f"{' and '.join(names)} have the same {kind.what} ({value})"
            yield kind.finding("identity", ", ".join(names), said, kind.hint)


def profiles(site: Site, hosts: Mapping[str, Host]) -> Iterator[Finding]:
    """Each desk of the list fits on some worker, all of them looked at."""
    workers = [hosts[spec.name] for spec in site.workers if spec.name in hosts]
    if len(workers) < len(site.workers) or not workers:
        return
    for profile in site.notebooks.profiles:
        if any(_fits(profile.cpu, profile.memory.bytes, host) for host in workers):
            continue
        best = max(workers, key=lambda host: host.facts.memory).facts
        said = (
            f"the desk {profile.name!r} ({profile.cpu:g} cores, {profile.memory}) fits on no worker; "
            f"the largest has {best.cpus} cores and {best.memory / GIB:.1f} GiB"
        )
        yield failed("profiles", "site", said, "lower notebooks.profiles[].cpu or .memory")


def _fits(cpu: float, memory: int, host: Host) -> bool:
    return cpu < host.facts.cpus and memory <= host.facts.memory - RESERVED
