"""Programs of others beside ours: which are in the way of names, addresses and directory, and whose."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deskside.app.own_secrets import FOLDER
from deskside.resources.system import UNIT_DIRECTORY
from deskside.steps.names import CONFIG, UNIT, names
from rack.carrying import carried_out
from rack.platforms import OnRack, needs_root

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(300)]

HOST = "ws1"
DNSMASQ = "/usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --user=root --pid-file="
BRIDGE = """
ip link add virbr0 type bridge
ip address add 192.168.122.1/24 dev virbr0
ip link set virbr0 up
"""
OF_LIBVIRT = (
    "--strict-order --except-interface=lo --bind-dynamic --interface=virbr0 --dhcp-no-override "
    "--dhcp-authoritative --dhcp-lease-max=253 --dhcp-range=192.168.122.2,192.168.122.254,255.255.255.0 "
    "--dhcp-leasefile=/run/virbr0.leases"
)
# It hears every question of the network, and has no address for anybody there.
EVERYWHERE = "--dhcp-range=192.168.99.2,192.168.99.254,255.255.255.0 --dhcp-leasefile=/run/everywhere.leases"
WITHOUT_OURS = f"""
systemctl disable --now {UNIT} || true
rm -rf {UNIT_DIRECTORY}/{UNIT} {CONFIG} /var/lib/deskside/names
for place in /etc/deskside /var/lib/deskside; do
    [ ! -d $place ] || rmdir --ignore-fail-on-non-empty $place
done
systemctl daemon-reload
"""
PURGE = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq purge --auto-remove dnsmasq-base >/dev/null
rm -f /run/virbr0.leases /run/everywhere.leases
! getent passwd dnsmasq >/dev/null || userdel dnsmasq
"""


@pytest.fixture(scope="module")
def beside(bare: OnRack) -> Iterator[OnRack]:
    """A site that is to hand out addresses and names from a host where somebody's dnsmasq is installed."""
    prefix = bare.rack.layout.prefix
    dhcp = f"  dhcp: {{provider: dnsmasq, on: {HOST}, range: {prefix}100-{prefix}199}}\n"
    put = "apt-get -qq update; apt-get -qq install -y --no-install-recommends dnsmasq-base >/dev/null"
    bare.shell(HOST, put)
    try:
        yield bare.with_site("beside", ("  dns: ", f"{dhcp}  dns: "))
    finally:
        bare.shell(HOST, PURGE)


@contextmanager
def running(rack: OnRack, unit: str, command: str, *listens: str) -> Iterator[None]:
    """A program in a unit of its own, from when it listens (`u :67`) until the block ends."""
    rack.shell(HOST, f"systemd-run --quiet --collect --unit={unit} {command}")
    try:
        for one in listens:
            kind, port = one.split()
            look = f"ss -Hln{kind} 'sport = {port}' | grep -q . && exit"
            rack.shell(HOST, f"for n in $(seq 100); do {look}; sleep 0.1; done; exit 1")
        yield
    finally:
        rack.shell(HOST, f"systemctl stop {unit}.service")


def findings(rack: OnRack, code: int, check: str) -> list[dict[str, str]]:
    """What one check of `deskside check` found."""
    found: list[dict[str, str]] = json.loads(rack.deskside("check", "--json", code=code).out)
    return [one for one in found if one["check"] == check]


def outcomes(rack: OnRack) -> dict[str, str]:
    """What `deskside check`, which finds nothing wrong, says of names and of other DHCP servers."""
    found = json.loads(rack.deskside("check", "--json").out)
    return {one["check"]: one["outcome"] for one in found if one["check"] in ("names", "dhcp")}


def test_the_dnsmasq_of_a_virtual_network_is_in_nobodys_way(beside: OnRack) -> None:
    beside.shell(HOST, BRIDGE)
    try:
        with running(beside, "libvirt-names", f"{DNSMASQ} {OF_LIBVIRT}", "u :67", "t :53"):
            listening = beside.run(HOST, "ss", "-Hlntu").out
            assert "0.0.0.0%virbr0:67" in listening
            assert "192.168.122.1" in listening
            assert outcomes(beside) == {"names": "ok", "dhcp": "ok"}, "the network was asked for another"
            assert carried_out(beside, HOST, names)
            address = beside.rack.host(HOST).address
            look = f"ss -Hlnt 'sport = :53' | grep -q '{address}:53 ' && exit"
            beside.shell(HOST, f"for n in $(seq 100); do {look}; sleep 0.1; done; exit 1")
            both = "systemctl show --property=NRestarts --value"
            assert beside.shell(HOST, f"{both} {UNIT} libvirt-names.service").split() == ["0", "0"]
            assert outcomes(beside) == {"names": "ok"}, "ours is there, and the network is asked no more"
    finally:
        beside.shell(HOST, f"ip link del virbr0; {WITHOUT_OURS}")


def test_a_dnsmasq_that_listens_everywhere_is_named(beside: OnRack) -> None:
    with running(beside, "everywhere", f"{DNSMASQ} {EVERYWHERE}", "u :67", "t :53"):
        resolving, addresses = findings(beside, 5, "names")
        assert f"port 53 on {HOST} is taken by dnsmasq (everywhere.service)" in resolving["message"]
        assert f"port 67 on {HOST} is taken by dnsmasq (everywhere.service)" in addresses["message"]
        assert "network.dns.on" in resolving["hint"]
        assert "network.dhcp.on" in addresses["hint"]
        (asked,) = findings(beside, 5, "dhcp")
        assert asked["outcome"] == "ok", "the network was asked for another server"
    (free,) = findings(beside, 0, "names")
    assert free["outcome"] == "ok"


def test_a_stranger_on_a_port_of_the_directory_is_named(bare: OnRack) -> None:
    text = bare.rack.site_file.read_text()
    section = text[text.index("identity:\n") : text.index("kubernetes:")]
    lines = f"identity:\n  kind: openldap\n  on: {HOST}\n  allow: {{group: ai}}\n  admins: [ann]\n\n"
    other = bare.with_site("directory-beside", (section, lines))
    secrets = bare.rack.folder / FOLDER
    before = secrets.exists()
    try:
        with running(bare, "squatter", "python3 -m http.server 389", "t :389"):
            (found,) = findings(other, 5, "ports")
            wanted = f"port 389 on {HOST} is taken by python3 (squatter.service); the site's directory needs"
            assert wanted in found["message"]
            assert "sport = :389" in found["hint"]
            assert "identity.on" in found["hint"]
            assert [one["outcome"] for one in findings(other, 5, "directory host")] == ["ok"]
        assert [one["outcome"] for one in findings(other, 0, "ports")] == ["ok"]
    finally:
        if not before:
            shutil.rmtree(secrets, ignore_errors=True)
