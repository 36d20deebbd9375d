"""The firewall of every managed host: closed but for the doors of what the site installs.

`input` drops by default. What is translated to another address before it gets there (the load balancer's
range, ports that a Docker publishes, node ports) is judged in `prerouting`, before the translation. `forward`
drops nothing but what pods may not reach: a pod leaves its host under the host's own address, so that a
server of files could not tell the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deskside.model.door import Door, Source, on_nodes
from deskside.model.facts import Facts
from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.files import File
from deskside.resources.firewall import PROGRAM, PROGRAM_TEXT, Firewall
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import HostSpec, Role, Site, people_networks

UNIT = "deskside-firewall.service"
NO_TABLE = "table inet deskside {}\ndelete table inet deskside\n"
SSH = 22
FILE_PORTS = {
    "tcp": (111, 139, 445, 548, 873, 2049, 20048),
    "udp": (111, 137, 138, 2049),
}
"""Of a server of files: portmapper, SMB, AFP, rsync, NFS and its mount service."""
NODE_PORTS = "30000-32767"
CROSSED = "crossed"
"""Set of what came in from outside the subnet: who, to which address, protocol and port."""
NO_ROUTER = "169.254.0.0/16"
"""Addresses of a link: no router passes them on."""
FROM = {
    Source.PEOPLE: "ip saddr @people ",
    Source.NODES: "ip saddr @nodes ",
    Source.SERVERS: "ip saddr @servers ",
    Source.PODS: "ip saddr @pods ",
    Source.SUBNET: "ip saddr @subnet ",
    Source.ANYONE: "",
}

UNIT_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: firewall
DefaultDependencies=no
After=local-fs.target nftables.service ufw.service firewalld.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={PROGRAM} load
ExecReload={PROGRAM} load

[Install]
WantedBy=multi-user.target
"""


@step(needs=("baseline",), on=frozenset(Role), deadline=180.0)
def firewall(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Close the host but for what the site needs."""
    program = File(PROGRAM, PROGRAM_TEXT, 0o755)
    unit = File(f"{UNIT_DIRECTORY}/{UNIT}", UNIT_TEXT)
    yield from (program, unit)
    yield Unit(UNIT, after=(unit,), reload=True)
    yield Firewall(ruleset(site, platform.doors, host) if site.network.firewall.enabled else NO_TABLE)


def login_ports(facts: Facts, site: Site) -> tuple[int, ...]:
    """Where SSH listens: what the site file says, and wherever the host's own sshd is."""
    seen = {item.port for item in facts.listeners if item.protocol == "tcp" and item.program == "sshd"}
    return tuple(sorted({site.admin.port or SSH, *seen}))


def openings(site: Site) -> Iterator[tuple[str, str]]:
    """Protocol and ports of each of `firewall.open`."""
    for opening in site.network.firewall.open:
        protocol, _, ports = opening.partition("/")
        yield protocol, ports


def doors_of(site: Site, doors: Iterable[Door], host: HostSpec, login: Iterable[int]) -> tuple[Door, ...]:
    """The doors of one host: SSH, those of the plug-ins, and what the site file opens."""
    people = (Source.PEOPLE, Source.NODES)
    ssh = [Door("SSH", "tcp", str(port), people, on_nodes) for port in login]
    opened = [
        Door("opened by the site file", protocol, ports, (Source.PEOPLE,), on_nodes)
        for protocol, ports in openings(site)
    ]
    return (*ssh, *(door for door in doors if door.on(site, host)), *opened)


def ruleset(site: Site, doors: Iterable[Door], host: Host) -> str:
    """The whole table of a host, as a script of nft that replaces it in one transaction."""
    login = login_ports(host.facts, site)
    doors = tuple(doors)
    own = doors_of(site, doors, host.spec, login)
    card = host.facts.interface_with(str(host.spec.address))
    link = card.name if card else host.facts.route_interface
    lines = [
        *_sets(site),
        f"set {CROSSED} {{",
        "    type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic,timeout;",
        "    timeout 30d; size 4096;",
        "}",
        *_chain("guests", "", _guests(own)),
        *_chain("crossing", "", CROSSING),
        *_chain(
            "prerouting",
            "type filter hook prerouting priority dstnat - 10; policy accept;",
            _before(site, link),
        ),
        *_chain("input", "type filter hook input priority filter; policy drop;", INPUT),
        *_chain(
            "forward",
            "type filter hook forward priority filter - 10; policy accept;",
            _from_pods(site, doors, login),
        ),
    ]
    body = "".join(f"    {line}\n" if line else "\n" for line in lines)
    return f"# Written by Deskside.\n{NO_TABLE}table inet deskside {{\n{body}}}\n"


def _chain(name: str, hook: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"chain {name} {{"
    yield from (f"    {line}" for line in (hook, *rules) if line)
    yield "}"


def _sets(site: Site) -> Iterator[str]:
    nodes = [str(spec.address) for spec in site.nodes]
    servers = [str(spec.address) for spec in site.servers]
    stores = [str(spec.address) for spec in site.storage_hosts]
    yield from _set("people", map(str, people_networks(site.network)))
    yield from _set("subnet", [str(site.network.subnet)])
    yield from _set("pods", [str(site.network.pods)])
    yield from _set("services", [str(site.network.services)])
    yield from _set("nodes", [*nodes, str(site.network.api)])
    yield from _set("servers", servers)
    yield from _set("stores", stores)


def _set(name: str, elements: Iterable[str]) -> Iterator[str]:
    yield f"set {name} {{"
    yield "    type ipv4_addr; flags interval; auto-merge;"
    yield f"    elements = {{ {', '.join(sorted(set(elements)))} }}"
    yield "}"


ALWAYS = (
    "icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept",
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, "
    "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
    # Answers of a DHCP server to a host that has no address yet.
    "udp sport 67 udp dport 68 accept",
    "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
)
INPUT = (
    "iif lo accept",
    "ct state established,related accept",
    "ct state invalid drop",
    "jump guests",
)


_KEPT = f"update @{CROSSED} {{ ip saddr . ip daddr . meta l4proto . th dport }}"
CROSSING = (
    # Only what begins something: to a host that was off, answers of others are new, too.
    f"tcp flags & (fin | syn | rst | ack) == syn {_KEPT}",
    f"ip saddr @people meta l4proto udp {_KEPT}",
    f"udp dport 1-32767 {_KEPT}",
)
"""What is remembered of who comes from outside the subnet; see `crossings`. It decides nothing."""
TO_PODS = (Source.PODS, Source.ANYONE)
"""Sources that a pod is one of; no other lets a pod in."""


def _guests(doors: tuple[Door, ...]) -> Iterator[str]:
    """Who may come in: pods to what is open to pods, and none of them as one of the people after that."""
    yield from ALWAYS
    yield from _rules(doors, TO_PODS)
    for inside in ("pods", "services"):
        # `firewall.allow_from` may contain them: 10.0.0.0/8 does.
        yield f'ip saddr @{inside} drop comment "{inside} are not people"'
    yield from _rules(doors, tuple(source for source in Source if source not in TO_PODS))


def _rules(doors: Iterable[Door], sources: tuple[Source, ...]) -> Iterator[str]:
    for door in doors:
        for source in door.sources:
            if source in sources:
                yield f'{FROM[source]}{door.rule} accept comment "{door.name}"'


def _before(site: Site, link: str) -> Iterator[str]:
    """Before addresses are translated: what comes from strangers, whatever it would become."""
    yield "iif lo accept"
    yield "ct state established,related accept"
    elsewhere = f"ip saddr != @subnet ip saddr != @pods ip saddr != {NO_ROUTER}"
    yield f'iifname "{link}" {elsewhere} ip daddr @subnet jump crossing'
    for protocol, ports in openings(site):
        yield f"ip saddr @people {protocol} dport {ports} accept"
    for protocol in ("tcp", "udp"):
        ports = f"{protocol} dport {NODE_PORTS}"
        yield f'fib daddr type local ip saddr != @nodes {ports} drop comment "node ports"'
    for known in ("people", "nodes", "pods"):
        yield f"ip saddr @{known} accept"
    # Containers of a Docker on this host.
    yield f'meta iifkind "bridge" iifname != "{link}" accept'
    yield f'ip daddr {site.network.load_balancer} drop comment "load balancer"'
    yield "fib daddr type local jump guests"
    yield 'fib daddr type local drop comment "published ports"'


def _from_pods(site: Site, doors: Iterable[Door], login: Iterable[int]) -> Iterator[str]:
    """What pods may not reach beyond their host, judged by the final address."""
    yield "ct state established,related accept"
    for door in doors:
        places = [str(spec.address) for spec in site.nodes if door.on(site, spec)]
        if Source.PODS in door.sources and places:
            # The API's address is that of a server, in turn.
            there = ", ".join([*places, str(site.network.api)])
            yield f'ip saddr @pods ip daddr {{ {there} }} {door.rule} accept comment "{door.name}"'
    yield 'ip saddr @pods ip daddr @nodes meta l4proto { tcp, udp } drop comment "hosts"'
    shells = (*login, SSH)
    for protocol, ports in FILE_PORTS.items():
        closed = ", ".join(str(port) for port in sorted({*ports, *(shells if protocol == "tcp" else ())}))
        yield f'ip saddr @pods ip daddr @stores {protocol} dport {{ {closed} }} drop comment "files"'
