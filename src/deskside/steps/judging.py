"""What the answers to the preflight probes mean. Pure functions of answers; `probes.py` asks.

A function yields what is wrong; yielding nothing means that the check has passed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from deskside.model.finding import Finding
from deskside.model.platform import Platform
from deskside.model.query import Output, ReadOutput, object_of
from deskside.resources.disks import WIPE_HINT, DataDisk
from deskside.site.schema import DataDevice, Site
from deskside.steps.baseline import INOTIFY, wanted_sysctls
from deskside.steps.findings import failed, not_run, warning
from deskside.steps.resolving import wrong_answers

CLOCK_APART = 2.0
"""Seconds between servers: etcd and certificates bear this much."""
FSYNC_WANTED = 10.0
"""Milliseconds, 99th percentile: etcd's own figure for a disk that it runs well on."""


@dataclass(frozen=True)
class Probe:
    """One question to one host, and the check that it belongs to."""

    check: str
    host: str
    question: ReadOutput


@dataclass(frozen=True)
class Heard:
    """What a host answered; `before` and `after` are this machine's clock around the question."""

    probe: Probe
    output: Output
    before: float = 0.0
    after: float = 0.0

    @property
    def host(self) -> str:
        """Who was asked."""
        return self.probe.host


Judge = Callable[[Site, Platform, Sequence[Heard]], Iterator[Finding]]


def said_by(output: Output) -> str:
    """The last line of what a program said that did not work."""
    if output.status is None:
        return "it ran out of time"
    lines = (output.stderr or output.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit status {output.status}"


def addresses(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Somebody has the API's address, or one of the load balancer's."""
    for item in heard:
        found = object_of(item.output)
        if found is None:
            said = f"{item.host} could not look who has the addresses of API and load balancer: "
            said += said_by(item.output)
            yield not_run("addresses", item.host, said, "run as root with python3; then: deskside check")
            continue
        for text, mac in sorted(found.items(), key=lambda pair: IPv4Address(pair[0])):
            yield _taken(site, platform, text, str(mac))


def _taken(site: Site, platform: Platform, text: str, mac: str) -> Finding:
    cards = {
        card.mac.lower(): name for name, host in platform.hosts.items() for card in host.facts.interfaces
    }
    owner = cards.get(mac.lower())
    who = f"{owner} ({mac})" if owner else f"a machine with the MAC address {mac}"
    api = text == str(site.network.api)
    field = "network.api" if api else "network.load_balancer"
    said = f"{'the API address' if api else 'the load-balancer address'} {text} is in use by {who}"
    return failed("addresses", text, said, f"free it, or choose another {field} outside every DHCP range")


def clocks(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """A server whose clock no time source keeps is apart from the others."""
    offsets: dict[str, tuple[float, float]] = {}
    for item in heard:
        try:
            clock = float(item.output.stdout)
        except ValueError:
            yield not_run("clock", item.host, f"{item.host} did not tell its time: {said_by(item.output)}")
            continue
        # The clock was read somewhere between question and answer.
        offsets[item.host] = (clock - (item.before + item.after) / 2, (item.after - item.before) / 2)
    if not offsets:
        return
    kept = [name for name in offsets if platform.hosts[name].facts.clock_synchronised]
    right = kept[0] if kept else next(iter(offsets))
    for name, (offset, unsure) in offsets.items():
        host = platform.hosts[name]
        apart = offset - offsets[right][0]
        certain = abs(apart) - unsure - offsets[right][1]
        if host.spec.is_server and not host.facts.clock_synchronised and certain > CLOCK_APART:
            way = "ahead of" if apart > 0 else "behind"
            said = (
                f"the clock of {name} is {abs(apart):.1f} s {way} that of {right}, and nothing keeps it right"
            )
            hint = f"run: ssh {right} date -u +@%s | ssh {name} 'sudo date -u -s \"$(cat)\"'; then apply"
            yield failed("clock", name, said, f"{hint} sets up chrony")


def fsync(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """The disk under etcd is slow to make a write safe. A warning: it may be a bad moment."""
    for item in heard:
        found = object_of(item.output)
        taken = found.get("milliseconds") if found else None
        if not isinstance(taken, int | float):
            said = f"the disk of {item.host} could not be timed: {said_by(item.output)}"
            yield warning("fsync", item.host, said, "see that /var/lib can be written and has space")
        elif taken > FSYNC_WANTED:
            said = (
                f"{item.host} takes {taken:.0f} ms to make a small write safe (99th percentile); etcd wants "
            )
            hint = "put the system of a server on an SSD; the API may stall while the disk is busy"
            yield warning("fsync", item.host, f"{said}{FSYNC_WANTED:.0f} ms", hint)


def data(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """A data disk that may not be formatted, or a data path that came too late."""
    for item in heard:
        spec = platform.hosts[item.host].spec.data
        if item.probe.question.argv[0] == "mountpoint":
            if item.output.status != 0:
                said = f"{item.host} joined before hosts[].data was set, so its containers lie elsewhere"
                yield failed("data", item.host, said, "remove hosts[].data, or set the host up anew")
        elif isinstance(spec, DataDevice):
            objection = DataDisk(spec.device, spec.serial).objection(item.output)
            if objection:
                yield failed("data", item.host, f"on {item.host} {objection}", WIPE_HINT)


def homes(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """The storage host does not answer for NFS."""
    nas = site.homes_host
    for item in heard:
        if item.output.status != 0:
            said = f"{nas.name} ({nas.address}) does not answer {item.host} for NFS: {said_by(item.output)}"
            path = site.storage.homes.source.path
            hint = f"switch NFS on there, and allow {site.network.subnet} to mount {path} with write access"
            yield failed("homes", item.host, said, hint)


def settings(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Kernel settings that cannot be written from the host, and are wrong."""
    for item in heard:
        pairs = (line.partition("=") for line in item.output.stdout.splitlines())
        live = {key.strip(): " ".join(value.split()) for key, _, value in pairs}
        wanted = wanted_sysctls(platform.hosts[item.host].facts)
        wrong = [f"{key}={value}" for key, value in wanted.items() if not _enough(key, live.get(key), value)]
        if wrong:
            said = f"{item.host} cannot write kernel settings, and needs {', '.join(wrong)}"
            yield failed(
                "settings", item.host, said, "set them on the machine that it shares its kernel with"
            )


def _enough(key: str, live: str | None, wanted: str) -> bool:
    if live is None:
        return False
    return live == wanted or (key in INOTIFY and live.isdigit() and int(live) >= int(wanted))


def offers_in(output: Output) -> Sequence[Mapping[str, str]] | None:
    """What `dhcp_probe.py` printed; None when it printed no list."""
    try:
        found = json.loads(output.stdout) if output.status == 0 else None
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def wrong_names(site: Site, item: Heard) -> str:
    """The first wrong answer of a name server, seen from a host, and how many others; empty for none."""
    wrong = list(wrong_answers(site, item.output))
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"seen from {item.host}, {wrong[0]}{more}" if wrong else ""


def dhcp_servers(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """A second DHCP server: two of them hand out one address twice, or lead machines astray."""
    del platform
    for item in heard:
        found = offers_in(item.output)
        if found is None:
            said = f"whether another DHCP server answers is not known: {said_by(item.output)}"
            yield not_run("dhcp", item.host, said)
        for server in {one["server"]: one for one in found or ()}.values():
            where = f"{server['server']} ({server['mac']})"
            if server["server"] == str(site.network.gateway):
                where = f"{where}, the router,"
            said = f"a DHCP server at {where} answers on the network, and offers {server['offered']}"
            hint = "switch it off, or let it be the site's: network.dhcp.provider: router"
            yield failed("dhcp", server["server"], said, hint)


def name_records(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """Records that a person has still to enter. A warning: the hosts know each other by /etc/hosts."""
    del platform
    provider = site.network.dns.provider if site.network.dns else ""
    for item in heard:
        if wrong := wrong_names(site, item):
            hint = f"enter what this prints: deskside handout {provider}"
            yield warning("records", item.host, wrong, hint)


def their_directories(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """A directory of somebody else's where ours is to be: apply would put it off."""
    del site, platform
    for item in heard:
        if item.output.status != 0:
            said = f"whether {item.host} runs a directory already is not known: {said_by(item.output)}"
            yield not_run("directory host", item.host, said)
        elif found := ", ".join(item.output.stdout.split("\n")).strip(", "):
            said = f"{item.host} runs a directory of somebody else's already: {found}"
            hint = (
                "name another host in identity.on, or that one as identity.kind: ldap; one that nobody needs "
                "goes by: apt-get purge slapd"
            )
            yield failed("directory host", item.host, said, hint)


def directory_data(site: Site, platform: Platform, heard: Sequence[Heard]) -> Iterator[Finding]:
    """A first host without data beside a copy that has some: the copy would follow it and lose everything."""
    del platform
    first, copy = site.identity.on, site.identity.replica
    for item in heard:
        if item.output.status != 0:
            said = f"whether {item.host} has data of the directory is not known: {said_by(item.output)}"
            yield not_run("directory data", item.host, said)
    has = {item.host: item.output.stdout.strip() == "yes" for item in heard if item.output.status == 0}
    if has.get(first or "") is False and has.get(copy or ""):
        said = f"{first} has no data of the directory, and its copy on {copy} has: it would lose them"
        hint = f"let {copy} be the first from now on: write on: {copy}, replica: {first} under identity"
        yield failed("directory data", str(first), said, hint)


JUDGES: Mapping[str, tuple[Judge, str]] = {
    "addresses": (addresses, "nobody has the API address or one of the load balancer"),
    "clock": (clocks, "the clocks of the servers agree"),
    "fsync": (fsync, "the disks of the servers are fast enough for etcd"),
    "data": (data, "the data disks are those that the site file names"),
    "dhcp": (dhcp_servers, "no other DHCP server answers on the network"),
    "records": (name_records, "the name server has every record of the site"),
    "directory host": (their_directories, "no other directory is where ours is to be"),
    "directory data": (directory_data, "the first host of the directory has its data"),
    "homes": (homes, "the storage host answers for NFS"),
    "settings": (settings, "the kernel settings are right"),
}
"""Name of a check -> what its answers mean, and what is said when nothing is wrong."""
