"""Addresses and names: what dnsmasq is told, who asks whom, and the programs that look from outside."""

from __future__ import annotations

import json
import socket
import struct
from typing import cast

import pytest

from deskside.model.facts import Listener
from deskside.model.finding import Outcome
from deskside.model.query import Output
from deskside.resources.files import File
from deskside.site.schema import Site
from deskside.steps import dhcp_probe, dns_probe
from deskside.steps.names import UNIT, dnsmasq_config, names, resolver
from deskside.steps.preflight_hosts import name_ports
from deskside.steps.probes import probes
from deskside.steps.resolving import expected_answers, names_question, wrong_answers

from .sites import make_hosts, make_platform, make_site

MACS = {"ws1": "02:00:00:00:00:11", "nas": "02:00:00:00:00:20"}


def served(dhcp: object = None, dns: object = None) -> Site:
    """The small site, with somebody who serves."""
    raw = make_site().model_dump(mode="json", exclude={"network": {"firewall"}})
    raw["network"]["load_balancer"] = "10.20.0.200-10.20.0.203"
    raw["network"].update(dhcp=dhcp, dns=dns)
    raw["identity"]["server"] = "ldaps://nas.lab.example"
    raw["storage"]["homes"]["source"] = "nas:/volume1/homes"
    raw["notebooks"]["profiles"] = [{"name": "CPU desk", "cpu": 2, "memory": "4Gi"}]
    for host in raw["hosts"]:
        host["mac"] = MACS.get(host["name"])
    return Site.model_validate({key: value for key, value in raw.items() if value is not None})


DHCP = {"provider": "dnsmasq", "on": "ws1", "range": "10.20.0.100-10.20.0.199"}
DNS = {"provider": "dnsmasq", "on": "ws1", "forwarders": ["10.20.0.1"]}


def lines(site: Site, name: str = "ws1") -> list[str]:
    return dnsmasq_config(site, site.host(name)).splitlines()


def test_every_host_has_its_reservation_and_its_names() -> None:
    found = lines(served(DHCP, DNS))
    assert "dhcp-host=02:00:00:00:00:11,ws1,10.20.0.11" in found
    assert "dhcp-host=02:00:00:00:00:20,nas,10.20.0.20" in found
    assert "dhcp-range=10.20.0.100,10.20.0.199,255.255.255.0,43200" in found
    assert "host-record=ws1.lab.example,ws1,10.20.0.11" in found
    assert "host-record=api.lab.example,10.20.0.10" in found
    assert "host-record=notebooks.lab.example,10.20.0.200" in found
    assert "address=/apps.lab.example/10.20.0.200" in found
    assert "server=10.20.0.1" in found
    assert "listen-address=10.20.0.11" in found


def test_one_of_the_two_alone() -> None:
    addresses = lines(served(DHCP, {"provider": "synology"}))
    assert "port=0" in addresses
    assert "dhcp-option=option:dns-server,10.20.0.20" in addresses
    only_names = lines(served(None, DNS))
    assert not any(line.startswith("dhcp-") for line in only_names)


def test_it_runs_on_one_host_and_its_file_is_tried_first() -> None:
    site = served(DHCP, DNS)
    hosts = make_hosts(site)
    assert not list(names.resources(site, make_platform(hosts), hosts["ws2"]))
    config = next(
        item for item in names.resources(site, make_platform(hosts), hosts["ws1"]) if "conf" in item.subject
    )
    assert cast("File", config).check == ("/usr/sbin/dnsmasq", "--test", "--conf-file={}")


def test_hosts_ask_the_sites_server_in_the_way_that_they_know() -> None:
    site = served(None, DNS)
    hosts = make_hosts(site, ws1={"resolved": True}, ws2={"network_manager": True})
    platform = make_platform(hosts)
    part = cast("File", next(iter(resolver.resources(site, platform, hosts["ws1"]))))
    assert "DNS=10.20.0.11\nDomains=~lab.example lab.example" in str(part.content)
    assert not list(resolver.resources(site, platform, hosts["ws2"])), "NetworkManager has it from DHCP"
    whole = cast("File", next(iter(resolver.resources(site, platform, hosts["ws3"]))))
    assert str(whole.content).splitlines()[1:4] == [
        "search lab.example",
        "nameserver 10.20.0.11",
        "nameserver 10.20.0.1",
    ]
    assert not list(resolver.resources(make_site(), platform, hosts["ws3"])), "nobody serves names"


def test_a_second_dhcp_server_is_looked_for_until_ours_listens() -> None:
    site = served(DHCP)
    asked = [probe.host for probe in probes(site, make_platform(make_hosts(site))) if probe.check == "dhcp"]
    assert asked == ["ws1"]
    for unit, expected in ((UNIT, []), ("libvirtd.service", ["ws1"]), ("", ["ws1"])):
        one = listening("0.0.0.0", 67, unit=unit)
        platform = make_platform(make_hosts(site, ws1={"listeners": (one,)}))
        assert [probe.host for probe in probes(site, platform) if probe.check == "dhcp"] == expected


def test_a_name_server_of_somebody_else_in_the_way() -> None:
    site = served(DHCP, DNS)
    stub = Listener(protocol="udp", address="127.0.0.53", port=53, program="systemd-resolve")
    named = Listener(protocol="udp", address="10.20.0.11", port=53, program="named")
    assert not list(name_ports(site, make_hosts(site, ws1={"listeners": (stub,)})))
    (found,) = name_ports(site, make_hosts(site, ws1={"listeners": (stub, named)}))
    assert (found.outcome, "taken by named" in found.message) == (Outcome.FAILED, True)


def listening(address: str, port: int, protocol: str = "udp", unit: str = "", device: str = "") -> Listener:
    """A socket of a dnsmasq."""
    return Listener(
        protocol=protocol, address=address, port=port, program="dnsmasq", unit=unit, device=device
    )


@pytest.mark.parametrize(
    "one",
    [
        listening("0.0.0.0", 67, unit=UNIT),
        listening("10.20.0.11", 53, unit=UNIT),
        listening("10.20.0.11", 53, "tcp", unit=UNIT),
        listening("0.0.0.0", 67, unit="libvirtd.service", device="virbr0"),
        listening("192.168.122.1", 53, unit="libvirtd.service"),
        listening("192.168.122.1", 53, "tcp", unit="libvirtd.service", device="virbr0"),
        listening("0.0.0.0", 67, "tcp", unit="other.service"),
    ],
)
def test_ours_and_those_of_virtual_networks_are_not_in_the_way(one: Listener) -> None:
    assert not list(name_ports(served(DHCP, DNS), make_hosts(served(DHCP, DNS), ws1={"listeners": (one,)})))


@pytest.mark.parametrize(
    ("one", "whose"),
    [
        (listening("0.0.0.0", 67, unit="dnsmasq.service"), "dnsmasq (dnsmasq.service)"),
        (listening("0.0.0.0", 67, unit="dnsmasq.service", device="eno1"), "dnsmasq (dnsmasq.service)"),
        (listening("10.20.0.11", 53, unit="dnsmasq.service"), "dnsmasq (dnsmasq.service)"),
        (listening("::", 53, "tcp"), "dnsmasq;"),
        (listening("0.0.0.0", 53, "tcp", unit="a.scope", device="virbr0"), "dnsmasq (a.scope)"),
    ],
)
def test_a_dnsmasq_of_somebody_elses_in_the_way_is_named(one: Listener, whose: str) -> None:
    site = served(DHCP, DNS)
    (found,) = name_ports(site, make_hosts(site, ws1={"listeners": (one, one)}))
    assert found.outcome is Outcome.FAILED
    assert f"port {one.port} on ws1 is taken by {whose}" in found.message
    assert f"network.{'dns' if one.port == 53 else 'dhcp'}.on" in found.hint
    assert not list(name_ports(site, make_hosts(site, ws2={"listeners": (one,)}))), "ours is on ws1"


def answer(message: bytes, offered: str, server: str) -> bytes:
    """The frame of a DHCPOFFER to a question."""
    body = message[:16] + socket.inet_aton(offered) + message[20:240]
    body += bytes((53, 1, 2, 54, 4)) + socket.inet_aton(server) + b"\xff"
    datagram = struct.pack("!HHHH", 67, 68, 8 + len(body), 0) + body + b"\0" * 60
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0)
    header += socket.inet_aton(server) + b"\xff" * 4
    return b"\xff" * 6 + b"\x02\0\0\0\0\x07" + b"\x08\0" + header + datagram


def test_dhcp_probe_asks_for_an_address_that_is_wanted() -> None:
    frame = dhcp_probe.discover(b"\x02\0\0\0\0\x01", 7, b"\x02\0\0\0\0\x09", "10.20.0.201")
    options = dhcp_probe.options_of(frame[14 + 20 + 8 + 240 :])
    assert options[53] == b"\x01"
    assert options[50] == socket.inet_aton("10.20.0.201")
    assert dhcp_probe.checksum(frame[14:34]) == 0
    without = dhcp_probe.discover(b"\x02\0\0\0\0\x01", 7, b"\x02\0\0\0\0\x09")
    assert 50 not in dhcp_probe.options_of(without[14 + 20 + 8 + 240 :])


def test_dhcp_probe_asks_and_understands_an_offer() -> None:
    frame = dhcp_probe.discover(b"\x02\0\0\0\0\x01", 7, b"\x02\0\0\0\0\x09")
    assert frame[6:12] == b"\x02\0\0\0\0\x09", "the switch sees who sends"
    assert dhcp_probe.checksum(frame[14:34]) == 0
    assert frame[34:38] == struct.pack("!HH", 68, 67)
    assert dhcp_probe.offer(frame, {7: ""}) == {}
    reply = answer(frame[42:], "10.0.0.99", "10.0.0.5")
    found = {"server": "10.0.0.5", "mac": "02:00:00:00:00:07", "offered": "10.0.0.99", "card": ""}
    assert dhcp_probe.offer(reply, {7: "", 9: "x"}) == found
    assert dhcp_probe.offer(reply, {8: ""}) == {}, "somebody else's question"


def test_dns_probe_reads_compressed_answers() -> None:
    question = dns_probe.encoded("ws1.lab.example") + struct.pack("!HH", 1, 1)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("10.20.0.11")
    head = struct.pack("!HHHHHH", 7, 0x8180, 1, 1, 0, 0)
    assert dns_probe.answers(head + question + record, dns_probe.A) == ["10.20.0.11"]
    name = b"\x03ws1\xc0\x10"
    pointer = b"\xc0\x0c" + struct.pack("!HHIH", 12, 1, 60, len(name)) + name
    assert dns_probe.answers(head + question + pointer, dns_probe.PTR) == ["ws1.lab.example"]
    assert dns_probe.reverse("10.20.0.11") == "11.0.20.10.in-addr.arpa"


def test_what_the_server_says_is_held_against_the_file() -> None:
    site = served(DHCP, DNS)
    asked = json.loads(str(names_question(site).stdin))
    assert asked["server"] == "10.20.0.11"
    assert "any.apps.lab.example" in asked["names"]
    right = {name: [address] for name, address in expected_answers(site).items()}
    assert not list(wrong_answers(site, Output(0, json.dumps(right), "")))
    wrong = {**right, "ws2.lab.example": ["10.20.0.99"], "10.20.0.20": []}
    assert list(wrong_answers(site, Output(0, json.dumps(wrong), ""))) == [
        "ws2.lab.example leads to 10.20.0.99 instead of 10.20.0.12",
        "10.20.0.20 leads to nothing instead of nas.lab.example",
    ]
    silent = dict.fromkeys(right)
    assert list(wrong_answers(site, Output(0, json.dumps(silent), ""))) == [
        "the name server 10.20.0.11 does not answer"
    ]
    assert list(wrong_answers(site, Output(1, "", "boom"))) == [
        "the name server 10.20.0.11 could not be asked"
    ]
