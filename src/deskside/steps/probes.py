"""Preflight checks that ask hosts a little more than the facts: who answers where, clocks, disks, the NAS.

Each host is asked once, all questions together. Nothing is changed: addresses are probed by questions that
enter nobody's cache, and the disk is timed with a file that has no name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from deskside.errors import DesksideError
from deskside.model.facts import Facts
from deskside.model.finding import Finding
from deskside.model.platform import Host, Platform
from deskside.model.query import Json, ReadOutput
from deskside.model.resource import HostReader
from deskside.resources.disks import DataDisk
from deskside.resources.system import UNIT_DIRECTORY
from deskside.site.schema import DataDevice, Site
from deskside.site.values import AddressRange
from deskside.steps.baseline import data_mounts, wanted_sysctls
from deskside.steps.directory import UNIT as DIRECTORY_UNIT
from deskside.steps.directory import has_directory
from deskside.steps.directory_settings import DATABASE
from deskside.steps.findings import fine, not_run
from deskside.steps.judging import JUDGES, Heard, Judge, Probe
from deskside.steps.names import DHCP_PORT, serves_addresses
from deskside.steps.names import UNIT as NAMES_UNIT
from deskside.steps.resolving import names_question

NFS_PORT = 2049
OFFER_SECONDS = 2.6
"""A server may look for three seconds whether anybody has the address before it offers it; we ask twice."""
MOST_ADDRESSES = 512
"""Of a load-balancer range that is probed; a longer one is probed up to here."""


def script(name: str, question: Json, timeout: float) -> ReadOutput:
    """Run one of the small programs of this folder on a host, with a question by standard input."""
    text = Path(__file__).with_name(name).read_text()
    # The program stands in the argument, so that its question can come by standard input.
    return ReadOutput(("python3", "-c", text), json.dumps(question), timeout)


def probes(site: Site, platform: Platform) -> list[Probe]:
    """What is worth asking of the hosts that answered, in their present condition."""
    hosts = platform.hosts
    found = [*_address_probes(site, hosts), *_clock_probes(hosts), *_disk_probes(hosts)]
    return [
        *found,
        *_nas_probes(site, hosts),
        *_setting_probes(hosts),
        *_dhcp_probes(site, hosts),
        *_directory_probes(site, hosts),
        *_name_probes(site, hosts),
    ]


def _joined(hosts: Iterable[Host]) -> bool:
    return any(host.facts.kubernetes.joined for host in hosts)


def wanted_addresses(site: Site, hosts: Mapping[str, Host]) -> list[str]:
    """Addresses that nobody may have yet: none once the cluster is up, none that a host of ours holds."""
    if _joined(hosts.values()):
        return []
    ours = {
        item.split("/")[0]
        for host in hosts.values()
        for card in host.facts.interfaces
        for item in card.addresses
    }
    asked = [site.network.api, *_first_of(site.network.load_balancer)]
    return [str(address) for address in asked if str(address) not in ours]


def _first_of(addresses: AddressRange) -> Iterator[IPv4Address]:
    for place in range(min(len(addresses), MOST_ADDRESSES)):
        yield addresses.first + place


def _address_probes(site: Site, hosts: Mapping[str, Host]) -> Iterator[Probe]:
    asked = wanted_addresses(site, hosts)
    for name, host in hosts.items():
        card = host.facts.interface_with(str(host.spec.address))
        if asked and card:
            question: Json = {"interface": card.name, "addresses": asked, "seconds": 0.7}
            yield Probe("addresses", name, script("arp_probe.py", question, 20.0))
            return


def _clock_probes(hosts: Mapping[str, Host]) -> Iterator[Probe]:
    # A clock that is another machine's is right or wrong together with that machine's.
    own = {name: host for name, host in hosts.items() if not host.facts.clock_shared}
    if any(host.spec.is_server and not host.facts.clock_synchronised for host in own.values()):
        for name in own:
            yield Probe("clock", name, ReadOutput(("date", "+%s.%N"), timeout=10.0))


def _disk_probes(hosts: Mapping[str, Host]) -> Iterator[Probe]:
    for name, host in hosts.items():
        if host.spec.is_server and not host.facts.kubernetes.joined:
            question: Json = {"paths": ["/var/lib/etcd", "/var/lib"], "writes": 100}
            yield Probe("fsync", name, script("fsync_probe.py", question, 20.0))
        if isinstance(host.spec.data, DataDevice):
            yield Probe("data", name, DataDisk(host.spec.data.device, host.spec.data.serial).question)
        if data_mounts(host.spec) and host.facts.kubernetes.joined:
            paths = tuple(mount.where for mount in data_mounts(host.spec))
            yield Probe("data", name, ReadOutput(("mountpoint", "--quiet", paths[-1])))


def _nas_probes(site: Site, hosts: Mapping[str, Host]) -> Iterator[Probe]:
    nas = site.homes_host
    text = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"
    for name, host in hosts.items():
        # Once it has joined, a NAS that is away shows as a mount that is down, without another question.
        if host.spec.is_worker and name != nas.name and not host.facts.kubernetes.joined:
            argv = ("python3", "-c", text, str(nas.address), str(NFS_PORT))
            yield Probe("homes", name, ReadOutput(argv, timeout=15.0))


def _setting_probes(hosts: Mapping[str, Host]) -> Iterator[Probe]:
    for name, host in hosts.items():
        if host.spec.is_node and not host.facts.writable_sysctls:
            argv = ("sysctl", "--ignore", *wanted_sysctls(host.facts))
            yield Probe("settings", name, ReadOutput(argv))


def _dhcp_probes(site: Site, hosts: Mapping[str, Host]) -> Iterator[Probe]:
    """Before ours answers for the first time; from then on `check network` asks."""
    for name, host in hosts.items():
        card = host.facts.interface_with(str(host.spec.address))
        if card and serves_addresses(site, host.spec) and not hands_out_addresses(host.facts):
            question: Json = {"interface": card.name, "seconds": OFFER_SECONDS}
            yield Probe("dhcp", name, script("dhcp_probe.py", question, 20.0))


THEIR_DIRECTORY = """
[ ! -e "$1" ] || exit 0
systemctl is-active --quiet slapd.service && echo "slapd.service runs"
[ ! -e /etc/ldap/slapd.d/cn=config.ldif ] || echo "/etc/ldap/slapd.d has its settings"
exit 0
"""
HAS_DATA = '[ -s "$1/data.mdb" ] && echo yes || echo no'


def _directory_probes(site: Site, hosts: Mapping[str, Host]) -> Iterator[Probe]:
    """Before ours is set up there: whether somebody else's directory is, and where ours has data."""
    for name, host in hosts.items():
        if has_directory(site, host.spec):
            unit = f"{UNIT_DIRECTORY}/{DIRECTORY_UNIT}"
            yield Probe("directory host", name, ReadOutput(("sh", "-c", THEIR_DIRECTORY, "sh", unit)))
            if site.identity.replica:
                yield Probe("directory data", name, ReadOutput(("sh", "-c", HAS_DATA, "sh", DATABASE)))


def _name_probes(site: Site, hosts: Mapping[str, Host]) -> Iterator[Probe]:
    """A name server that a person sets up: whether it has the site's records, seen from every host."""
    if site.network.dns is not None and site.network.dns.provider != "dnsmasq":
        for name in hosts:
            yield Probe("records", name, names_question(site))


def hands_out_addresses(facts: Facts) -> bool:
    """Whether our own DHCP server runs on the host already; a dnsmasq of somebody else's does not count."""
    return any(
        (item.protocol, item.port, item.unit) == ("udp", DHCP_PORT, NAMES_UNIT) for item in facts.listeners
    )


async def _ask(reader: HostReader, probes: Sequence[Probe]) -> list[Heard]:
    before = time.time()
    answers = await reader.read_all([probe.question for probe in probes])
    after = time.time()
    return [Heard(probe, answer, before, after) for probe, answer in zip(probes, answers, strict=True)]


async def probe_checks(
    site: Site,
    platform: Platform,
    readers: Mapping[str, HostReader],
    wanted: Sequence[Probe] | None = None,
    judges: Mapping[str, tuple[Judge, str]] = JUDGES,
) -> list[Finding]:
    """Ask, and say what the answers mean. A host that does not answer any more is a finding, not an error."""
    import asyncio

    asked: dict[str, list[Probe]] = {}
    for probe in probes(site, platform) if wanted is None else wanted:
        if probe.host in readers:
            asked.setdefault(probe.host, []).append(probe)
    jobs = [_ask(readers[name], questions) for name, questions in asked.items()]
    findings: list[Finding] = []
    heard: list[Heard] = []
    for name, answer in zip(asked, await asyncio.gather(*jobs, return_exceptions=True), strict=True):
        if isinstance(answer, DesksideError):
            findings.append(not_run("probes", name, answer.message, answer.hint))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            heard += answer
    return findings + judged(site, platform, heard, judges)


def judged(
    site: Site,
    platform: Platform,
    heard: Sequence[Heard],
    judges: Mapping[str, tuple[Judge, str]] = JUDGES,
) -> list[Finding]:
    """What the answers mean: findings by check, and one that is fine for each check that found nothing."""
    findings: list[Finding] = []
    for check, (judge, passed) in judges.items():
        answers = [item for item in heard if item.probe.check == check]
        found = list(judge(site, platform, answers))
        findings += found or ([fine(check, "site", passed)] if answers else [])
    return findings
