"""The firewall on a real cluster, scanned from inside and outside the allowed range; and its way back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Network

import pytest

from rack.docker import docker_before, docker_state
from rack.platforms import OnRack, needs_root, until
from rack.pods import Pods, pods_on
from rack.stranger import Scanner, plugged_in

pytestmark = [pytest.mark.rack, needs_root]

DOCKER_HOST, PUBLISHED = "ws2", 8099
PROGRAM = "/opt/deskside/libexec/firewall"
INSIDE, OUTSIDE = 100, 150
"""Last bytes of the scanner's two addresses: the lower half of the subnet is let in, the upper is not."""
PUBLISH = f"""
libraries=$(ldd /usr/bin/socat | grep -o '/[^ ]*')
tar -cC / --dereference usr/bin/socat $libraries | docker import - socat >/dev/null
docker run --detach --name published --publish {PUBLISHED}:{PUBLISHED} socat \
    /usr/bin/socat -u TCP-LISTEN:{PUBLISHED},fork OPEN:/dev/null
"""
UNPUBLISH = "docker rm --force published; docker rmi socat"
EVERYTHING = "10.0.0.0/8"
"""Contains the subnet, the pods and the services of a rack."""
OPENED = 8098
OPEN_UNIT = "opened-by-the-site-file"
LISTEN = f"""
import socketserver
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("", {OPENED}), socketserver.BaseRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def scanner(platform: OnRack) -> Iterator[Scanner]:
    """With an address that is let in, and one that is not."""
    with plugged_in(platform, INSIDE, OUTSIDE) as found:
        yield found


def restricted(platform: OnRack, name: str, network: str, *opened: str) -> OnRack:
    """The same site, with another `allow_from` and `open`."""
    line = f"  firewall: {{allow_from: [{network}], open: [{', '.join(opened)}]}}\n"
    return platform.with_site(name, ("  pod_network: flat\n", f"  pod_network: flat\n{line}"))


@pytest.fixture
def closed(platform: OnRack) -> Iterator[OnRack]:
    """Only the lower half of the subnet is let in, which this machine is in; a Docker publishes a port."""
    other = restricted(platform, "half-closed", f"{platform.rack.layout.prefix}0/25")
    platform.shell(DOCKER_HOST, PUBLISH)
    try:
        other.deskside("apply", "--yes")
        yield other
    finally:
        platform.shell(DOCKER_HOST, UNPUBLISH)
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()
    assert docker_state(platform, DOCKER_HOST) == docker_before(platform)


def listening(platform: OnRack, host: str) -> list[int]:
    """Ports on which anything listens, the published one, and every node port."""
    lines = platform.shell(host, "ss -Hltn").splitlines()
    services = json.loads(platform.kubectl("get", "services", "-A", "-o", "json"))["items"]
    node_ports = [port.get("nodePort") for service in services for port in service["spec"].get("ports", ())]
    found = {int(line.split()[3].rpartition(":")[2]) for line in lines}
    return sorted({*found, *(port for port in node_ports if port), PUBLISHED, 445, 2049})


def test_every_host_is_open_where_the_table_says_and_closed_elsewhere(
    closed: OnRack, scanner: Scanner
) -> None:
    table = closed.deskside("ports", "--json").document["ports"]
    for spec in closed.rack.layout.hosts:
        if not spec.managed:
            continue
        address, there = closed.rack.layout.address(spec), listening(closed, spec.name)
        assert 10250 in there
        mine = [line for line in table if line["host"] == spec.name and line["protocol"] == "tcp"]
        people = {int(line["ports"]) for line in mine if "people" in line["sources"]}
        published = {PUBLISHED} if spec.name == DOCKER_HOST else set()
        assert scanner.open_ports(INSIDE, address, there) == (people & set(there)) | published, spec.name
        # Names are for whoever has an address in the subnet, colleague or not.
        strangers = {int(line["ports"]) for line in mine if {"subnet", "anyone"} & set(line["sources"])}
        assert strangers == ({53} if spec.name == "ws1" else set())
        assert scanner.open_ports(OUTSIDE, address, there) == strangers, spec.name
    hub = closed.rack.layout.load_balancer.partition("-")[0]
    assert scanner.open_ports(INSIDE, hub, [22, 80, 10250]) == {80}
    assert scanner.open_ports(OUTSIDE, hub, [22, 80, 10250]) == set()


@pytest.fixture
def wide(platform: OnRack) -> Iterator[OnRack]:
    """People come from a network that the pods are in; every host has a service for them."""
    other = restricted(platform, "wide", EVERYTHING, f"tcp/{OPENED}")
    text = other.site_file.read_text()
    for name in ("subnet", "pods", "services"):
        (found,) = re.findall(rf"(?m)^  {name}: ([0-9./]+)", text)
        assert IPv4Network(found).subnet_of(IPv4Network(EVERYTHING)), name
    managed = [spec.name for spec in platform.rack.layout.hosts if spec.managed]
    try:
        for name in managed:
            platform.run(name, "systemd-run", "--collect", f"--unit={OPEN_UNIT}", "python3", "-c", LISTEN)
        other.deskside("apply", "--yes")
        yield other
    finally:
        for name in managed:
            platform.run(name, "systemctl", "stop", f"{OPEN_UNIT}.service", check=False)
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()


@pytest.fixture
def pods(platform: OnRack) -> Iterator[Pods]:
    """One on every host."""
    with pods_on(platform, *(spec.name for spec in platform.rack.layout.hosts if spec.managed)) as found:
        yield found


@contextmanager
def without(platform: OnRack, host: str, chain: str, comment: str) -> Iterator[None]:
    """One rule of a host is gone while the block lasts, as if it had never been written."""
    rules = platform.shell(host, f"nft --handle list chain inet deskside {chain}").splitlines()
    (rule,) = [line for line in rules if f'comment "{comment}"' in line]
    handle = rule.rpartition(" # handle ")[2]
    platform.run(host, "nft", "delete", "rule", "inet", "deskside", chain, "handle", handle)
    try:
        yield
    finally:
        platform.shell(host, "systemctl restart deskside-firewall.service")


def test_a_pod_is_nobody_of_the_people_however_wide_allow_from_is(
    wide: OnRack, pods: Pods, scanner: Scanner
) -> None:
    table = wide.deskside("ports", "--json").document["ports"]
    address = {name: wide.rack.layout.address(wide.rack.layout.host(name)) for name in pods.nodes}
    there = {name: listening(wide, name) for name in pods.nodes}

    def open_to(source: str) -> dict[str, set[int]]:
        lines = [line for line in table if line["protocol"] == "tcp" and source in line["sources"]]
        return {
            name: {int(line["ports"]) for line in lines if line["host"] == name} & set(there[name])
            for name in pods.nodes
        }

    people, guests = open_to("people"), open_to("pods")
    assert guests == {"ws1": {53, 6443}, "ws2": set(), "ws3": set()}
    for name in pods.nodes:
        assert {22, OPENED} <= people[name] - guests[name]
        assert 10250 in there[name]
        # Not vacuous: a stranger among the people is let in.
        assert scanner.open_ports(INSIDE, address[name], there[name]) == people[name], name

    def reached(here: str, host: str) -> set[int]:
        return pods.open_ports(here, address[host], there[host])

    def all_reached() -> dict[tuple[str, str], set[int]]:
        return {(here, host): reached(here, host) for here in pods.nodes for host in address}

    as_the_table_says = {(here, host): guests[host] for here in pods.nodes for host in address}
    assert all_reached() == as_the_table_says
    # Each of the two rules carries: on the pod's own host, and on its way to another.
    with without(wide, "ws2", "guests", "pods are not people"):
        assert reached("ws2", "ws2") == people["ws2"] | guests["ws2"]
        assert reached("ws1", "ws2") == guests["ws2"]
    with without(wide, "ws2", "forward", "hosts"):
        assert {22, 10250, OPENED} <= reached("ws2", "ws3")
        assert reached("ws2", "ws2") == guests["ws2"]
    assert all_reached() == as_the_table_says


HEAR = """
import json, select, socket, sys
port, heard = json.load(sys.stdin), []
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
vrrp = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
udp.bind(("", port))
while True:
    for one in select.select([udp, vrrp], [], [], 60)[0]:
        source = one.recvfrom(2048)[1][0]
        if source == "127.0.0.1":
            print(json.dumps(heard))
            sys.exit()
        heard.append(["udp" if one is udp else "vrrp", source])
"""
"""Run on a host: what came in by UDP and VRRP, and from where, until the host says that it is enough."""
ENOUGH = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', {port}))"


def test_datagrams_and_the_election_of_the_address_are_for_the_sites_hosts_alone(
    platform: OnRack, scanner: Scanner
) -> None:
    port, address = 5999, platform.rack.layout.api
    strangers = {scanner.address(number) for number in (INSIDE, OUTSIDE)}

    def heard() -> set[tuple[str, str]]:
        with ThreadPoolExecutor(1) as aside:
            hearing = aside.submit(platform.run, "ws1", "python3", "-c", HEAR, stdin=json.dumps(port))
            open_now = f"ss -Hlun sport = :{port} | grep -q ."
            until("it does not hear", 20, lambda: platform.run("ws1", "sh", "-c", open_now, check=False).ok)
            for number in (INSIDE, OUTSIDE):
                scanner.send(number, address, port)
            platform.run("ws1", "python3", "-c", ENOUGH.format(port=port))
            found = json.loads(hearing.result().out)
        return {(kind, source) for kind, source in found if source in strangers}

    assert heard() == set()
    platform.shell("ws1", "nft delete table inet deskside")
    try:
        assert heard() == {(kind, source) for kind in ("udp", "vrrp") for source in strangers}
    finally:
        platform.shell("ws1", "systemctl restart deskside-firewall.service")
    assert heard() == set()


SCAN = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
address, card, ports = json.load(sys.stdin)
def reached(port):
    with socket.socket(socket.AF_INET6) as tried:
        tried.settimeout(2)
        return tried.connect_ex((address, port, 0, socket.if_nametoindex(card))) == 0
with ThreadPoolExecutor(len(ports)) as pool:
    print(json.dumps([port for port, yes in zip(ports, pool.map(reached, ports)) if yes]))
"""
"""Run on a host: which ports of a neighbour it reaches by the address of the link."""


def test_nothing_is_open_over_ipv6(platform: OnRack) -> None:
    link = json.loads(platform.shell("ws1", "ip -json -6 address show scope link"))
    card = json.loads(platform.shell("ws3", f"ip -json route get {platform.rack.layout.api}"))[0]["dev"]
    address = next(item["local"] for one in link if one["ifname"] == card for item in one["addr_info"])
    question = json.dumps([address, card, listening(platform, "ws1")])

    def reached() -> list[int]:
        found: list[int] = json.loads(platform.run("ws3", "python3", "-c", SCAN, stdin=question).out)
        return found

    platform.run("ws3", "ping", "-6", "-c", "1", "-W", "5", f"{address}%{card}")
    assert reached() == []
    platform.shell("ws1", "nft delete table inet deskside")
    try:
        assert 22 in reached(), "the test itself reaches nothing"
    finally:
        platform.shell("ws1", "systemctl restart deskside-firewall.service")
    assert reached() == []


def test_rules_that_lock_us_out_are_taken_back(platform: OnRack) -> None:
    before = platform.shell("ws1", "nft --stateless list table inet deskside")
    stranger = restricted(platform, "locked-out", "192.0.2.0/24")
    ended = stranger.deskside("apply", "--yes", code=6)
    assert "the host takes the change back by itself" in ended.err
    assert "network.firewall.allow_from" in ended.err
    wait_for_undo(platform)
    assert platform.shell("ws1", "nft --stateless list table inet deskside") == before
    assert platform.changes() == set()


def wait_for_undo(platform: OnRack) -> None:
    """Until no host has rules on trial."""
    for spec in platform.rack.layout.hosts:
        if spec.managed:
            end = time.monotonic() + 60
            while platform.run(spec.name, "test", "-e", "/run/deskside/firewall.old", check=False).ok:
                assert time.monotonic() < end, f"{spec.name} did not take its rules back"
                time.sleep(0.5)


def test_rules_on_trial_of_a_run_that_was_killed_go_back_by_themselves(platform: OnRack) -> None:
    before = platform.shell("ws2", "nft --stateless list table inet deskside")
    trial = "table inet deskside {}\ndelete table inet deskside\n"
    platform.run("ws2", "tee", "/etc/deskside/firewall.trial", stdin=trial)
    platform.shell("ws2", f"{PROGRAM} try")
    assert "chain" not in platform.run("ws2", "nft", "list", "table", "inet", "deskside", check=False).out
    wait_for_undo(platform)
    assert platform.shell("ws2", "nft --stateless list table inet deskside") == before
    late = platform.run("ws2", PROGRAM, "keep", check=False)
    assert not late.ok
    assert "the old rules are back" in late.err


def test_a_rule_that_somebody_adds_or_takes_away_is_seen_and_put_right(platform: OnRack) -> None:
    platform.shell("ws1", "nft insert rule inet deskside input accept")
    for worker in ("ws2", "ws3"):
        platform.shell(worker, "nft delete table inet deskside")
    assert platform.changes() == {(name, "firewall") for name in ("ws1", "ws2", "ws3")}
    findings = {line["check"]: line for line in platform.deskside("verify", "--json", code=5).lines}
    assert findings["firewall"]["outcome"] == "failed"
    assert re.search("a desk on ws[123] can reach", findings["firewall"]["message"])
    platform.deskside("apply", "--yes")
    assert platform.changes() == set()


def test_verify_tries_the_firewall_of_the_second_host_too(platform: OnRack) -> None:
    """Only what leaves ws3 is not held back any more: a desk sees it there alone."""
    rather_not = "example.org/test=here:PreferNoSchedule"
    platform.kubectl("cordon", "ws1")
    platform.kubectl("taint", "node", "ws3", rather_not)
    platform.shell("ws3", "nft delete table inet deskside")
    try:
        findings = {line["check"]: line for line in platform.deskside("verify", "--json", code=5).lines}
    finally:
        platform.shell("ws3", "systemctl restart deskside-firewall.service")
        platform.kubectl("taint", "node", "ws3", f"{rather_not}-")
        platform.kubectl("uncordon", "ws1")
    assert findings["home"]["message"] == "written on ws2, read on ws3"
    assert findings["firewall"]["outcome"] == "ok"
    assert findings["firewall elsewhere"]["outcome"] == "failed"
    assert "a desk on ws3 can reach" in findings["firewall elsewhere"]["message"]
    assert {line["outcome"] for name, line in findings.items() if name != "firewall elsewhere"} == {"ok"}
    assert platform.changes() == set()


def test_the_rules_are_there_again_after_a_reboot(platform: OnRack) -> None:
    before = platform.shell("ws3", "nft --stateless list table inet deskside")
    unit = platform.shell("ws3", "systemctl show -p Before,WantedBy deskside-firewall.service")
    assert "network-pre.target" in unit
    assert "multi-user.target" in unit
    with platform.broken("power", "ws3"):
        pass
    active = ("systemctl", "is-active", "--quiet", "deskside-firewall.service")
    until("the rules are not there", 90, lambda: platform.run("ws3", *active, check=False).ok)
    assert platform.shell("ws3", "nft --stateless list table inet deskside") == before
    # Whatever comes next finds the host as it was.
    ready = ("wait", "--for=condition=Ready", "node/ws3", "--timeout=180s")
    platform.kubectl(*ready)
    until("ws3 does not let us in", 60, lambda: platform.deskside("check", code=None).code == 0)
    assert platform.changes() == set()
