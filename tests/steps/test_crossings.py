"""The router's rules, as hosts saw them; the rack has a router, a network behind it, and nft."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from deskside.app import knocking
from deskside.catalog import all_doors
from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output
from deskside.site.machines import Firewall
from deskside.site.schema import Site
from deskside.steps.crossings import QUESTION, Arrival, Crossing, arrivals, crossings
from deskside.steps.judging import Heard, Probe
from deskside.steps.network_check import NETWORK_JUDGES, network_probes
from deskside.steps.probes import judged

from .sites import make_hosts, make_platform, make_site

OFFICE = IPv4Network("10.8.0.0/24")
PLAIN = make_site()


def with_people(*networks: IPv4Network) -> Site:
    network = PLAIN.network.model_copy(update={"firewall": Firewall(allow_from=networks)})
    return PLAIN.model_copy(update={"network": network})


SITE = with_people(PLAIN.network.subnet, OFFICE)
WANTED = list(crossings(SITE, all_doors()))


def kept(*came: tuple[str, str, object, object]) -> str:
    """What `nft --json list set` prints; an element may or may not tell when it goes."""
    elements: list[object] = [{"elem": {"val": {"concat": list(one)}, "expires": 9}} for one in came[1:]]
    elements += [{"concat": list(one)} for one in came[:1]]
    found: dict[str, object] = {"family": "inet", "name": "crossed", "table": "deskside"}
    if elements:
        found["elem"] = elements
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": found}]})


def findings(site: Site, **told: str | None) -> list[Finding]:
    """What it means that hosts say this; None: their firewall keeps no such set."""
    heard = [
        Heard(
            Probe("rules", host, QUESTION), Output(0, text, "") if text else Output(1, "", "Error: No such")
        )
        for host, text in told.items()
    ]
    platform = replace(make_platform(make_hosts(site)), doors=all_doors())
    return judged(site, platform, heard, {"rules": NETWORK_JUDGES["rules"]})


def every(source: str = "10.8.0.7") -> list[tuple[str, str, object, object]]:
    """Somebody has come by each rule."""
    return [(source, one.address, one.protocol, int(one.ports.partition("-")[0])) for one in WANTED]


def test_rules_are_for_other_networks_alone() -> None:
    assert {one.source for one in WANTED} == {OFFICE}
    assert {"10.20.0.200", "10.20.0.11"} <= {one.address for one in WANTED}
    assert list(crossings(PLAIN, all_doors())) == []
    asked = {probe.host for probe in network_probes(SITE, make_platform(make_hosts(SITE)))}
    assert asked == {"ws1", "ws2", "ws3"}


def test_all_rules_seen_is_fine_and_none_of_them_is_not() -> None:
    (found,) = findings(SITE, ws1=kept(*every()), ws2=kept())
    assert found.outcome is Outcome.OK
    (found,) = findings(SITE, ws1=kept(), ws2=kept())
    assert found.outcome is Outcome.WARNING
    assert found.message.startswith("nobody of 10.8.0.0/24 has come through the router to 10.20.0.11 tcp/22")
    assert f"and {len(WANTED) - 1} more yet" in found.message
    assert "run on a machine of that network: deskside check network" in found.hint
    (found,) = findings(PLAIN, ws1=kept())
    assert found.outcome is Outcome.OK


@pytest.mark.parametrize("lacking", range(len(WANTED)))
def test_each_rule_that_is_lacking_is_named(lacking: int) -> None:
    came = every()
    rule = WANTED[lacking]
    (found,) = findings(SITE, ws1=kept(*came[:lacking], *came[lacking + 1 :]))
    assert f"to {rule.address} {rule.door} ({rule.service}) yet" in found.message


def test_strangers_are_told_whether_or_not_all_is_seen() -> None:
    came = [*every(), ("203.0.113.9", "10.20.0.200", "tcp", 443), ("203.0.113.10", "10.20.0.12", "udp", 53)]
    (found,) = findings(SITE, ws1=kept(*came[:1]), ws2=kept(*came[1:]))
    assert found.outcome is Outcome.FAILED
    assert "203.0.113.9, of no network" in found.message
    assert "to the load balancer (10.20.0.200, tcp/443), and so did 1 other" in found.message
    (stranger, unseen) = findings(SITE, ws1=kept(("203.0.113.9", "10.20.0.12", "tcp", 22)))
    assert (stranger.outcome, unseen.outcome) == (Outcome.FAILED, Outcome.WARNING)
    assert "to ws2 (10.20.0.12, tcp/22)" in stranger.message


def test_a_firewall_without_the_record_is_told_and_is_no_pass() -> None:
    (found,) = findings(PLAIN, ws1=None)
    assert (found.outcome, found.hint) == (Outcome.WARNING, "run: deskside apply")
    (found,) = findings(SITE, ws1=None, ws2=kept(*every()))
    assert found.outcome is Outcome.WARNING


def test_protocols_may_come_as_numbers_and_ports_as_ranges() -> None:
    output = Output(0, kept(("10.8.0.7", "10.20.0.11", 6, 30001), ("10.8.0.7", "10.20.0.11", 17, "53")), "")
    found = arrivals(output)
    source = IPv4Address("10.8.0.7")
    assert found == {Arrival(source, "10.20.0.11", "tcp", 30001), Arrival(source, "10.20.0.11", "udp", 53)}
    rule = Crossing(OFFICE, "10.20.0.11", "tcp", "30000-30002", "x")
    assert [one.port for one in found if rule.covers(one)] == [30001]


def test_knocking_is_for_rules_of_ones_own_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as other:
        listening.settimeout(5)
        other.settimeout(0.1)
        here, elsewhere = IPv4Network("127.0.0.0/8"), OFFICE
        rules = [
            Crossing(here, "127.0.0.1", "tcp", str(listening.getsockname()[1]), "x"),
            Crossing(elsewhere, "127.0.0.1", "tcp", str(other.getsockname()[1]), "x"),
        ]
        asyncio.run(knocking.knock(rules))
        listening.accept()[0].close()
        with pytest.raises(TimeoutError):
            other.accept()
    asyncio.run(knocking.knock(rules[:1]))  # nobody listens any more: no error
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        datagrams.settimeout(5)
        port = str(datagrams.getsockname()[1])
        asyncio.run(knocking.knock([Crossing(here, "127.0.0.1", "udp", port, "x")]))
        assert datagrams.recv(10) == b""
