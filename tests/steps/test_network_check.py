"""What the answers of `check network` mean; the rack asks real hosts."""

from __future__ import annotations

import json

import pytest

from deskside.model.finding import Finding
from deskside.model.query import Output, ReadOutput
from deskside.site.schema import Site
from deskside.steps import mtu_probe
from deskside.steps.judging import Heard, Probe
from deskside.steps.network_check import NETWORK_JUDGES, network_probes
from deskside.steps.probes import judged

from .sites import bad, make_hosts, make_platform
from .test_names import DHCP, DNS, served

SITE = served(DHCP, DNS)
HOSTS = make_hosts(SITE)
PLATFORM = make_platform(HOSTS)
OWN = {name: host.facts.interfaces[0].mac for name, host in HOSTS.items()}


def failures(
    check: str, answers: dict[str, object], joined: bool = False, site: Site = SITE
) -> list[Finding]:
    """What is not fine when hosts give these answers."""
    asked = {probe.host: probe for probe in network_probes(site, PLATFORM) if probe.check == check}
    heard = [
        Heard(asked.get(host, Probe(check, host, ReadOutput(("x",)))), Output(0, json.dumps(answer), ""))
        for host, answer in answers.items()
    ]
    hosts = make_hosts(site, **{name: {"kubernetes": {"joined": joined}} for name in HOSTS})
    found = judged(site, make_platform(hosts), heard, {check: NETWORK_JUDGES[check]})
    return bad(found)


RIGHT = {
    "10.20.0.11": "02:00:00:00:00:11",
    "10.20.0.12": OWN["ws2"],
    "10.20.0.20": "02:00:00:00:00:20",
    "10.20.0.10": OWN["ws1"],
    "10.20.0.200": OWN["ws3"],
}


def owners(joined: bool = True, **changes: str) -> list[str]:
    answer = {**RIGHT, **{key.replace("_", "."): value for key, value in changes.items()}}
    answer = {key: value for key, value in answer.items() if value}
    return [one.message for one in failures("owners", {"ws1": answer, "ws2": answer}, joined)]


def changed(address: str, cards: str) -> list[str]:
    answer: dict[str, object] = {key: value for key, value in {**RIGHT, address: cards}.items() if value}
    return [one.message for one in failures("owners", {"ws1": answer, "ws2": answer}, True)]


def test_right_owners_are_fine() -> None:
    assert owners() == []


def test_a_card_that_is_not_the_site_files() -> None:
    (message,) = changed("10.20.0.20", "02:00:00:00:00:99")
    assert message == "10.20.0.20 of nas is answered for by 02:00:00:00:00:99, which is not 02:00:00:00:00:20"


def test_two_machines_with_one_address() -> None:
    (message,) = changed("10.20.0.12", f"{OWN['ws2']} 02:00:00:00:00:99")
    assert "10.20.0.12 of ws2 is answered for by 02:00:00:00:00:99" in message


@pytest.mark.parametrize(
    ("address", "cards", "said"),
    [
        ("10.20.0.200", "", "nobody answers for 10.20.0.200, the address of the hub"),
        ("10.20.0.200", f"{OWN['ws2']} {OWN['ws3']}", "is answered for by ws2 and ws3 at once"),
        ("10.20.0.201", "02:00:00:00:00:99", "10.20.0.201, of the load balancer, is answered for by 02"),
        ("10.20.0.10", "", "nobody answers for 10.20.0.10, the address of the API"),
    ],
)
def test_f27_addresses_of_the_cluster(address: str, cards: str, said: str) -> None:
    (message,) = changed(address, cards)
    assert said in message


def test_nobody_has_to_answer_before_the_cluster_is_up() -> None:
    assert owners(joined=False, **{"10_20_0_200": "", "10_20_0_10": ""}) == []


def test_f25_a_black_hole_names_both_ends() -> None:
    sizes = {"10.20.0.12": 1500, "10.20.0.13": 1400, "10.20.0.20": 1500}
    (found,) = failures("packets", {"ws1": sizes})
    assert found.message == "packets from ws1 to ws3 are lost beyond 1400 bytes; 1500 are set"
    assert "MTU" in found.hint


def test_the_largest_packet_is_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def passes(address: str, size: int) -> bool:
        tried.append(size)
        return size <= 1372

    monkeypatch.setattr(mtu_probe, "passes", passes)
    assert mtu_probe.largest("10.0.0.1", 1500) == 1372
    assert len(tried) < 15
    monkeypatch.setattr(mtu_probe, "passes", lambda *_: False)
    assert mtu_probe.largest("10.0.0.1", 1500) == 0


def offered(server: str, card: str, address: str) -> dict[str, str]:
    mac = f"02:00:00:00:00:{int(server.rpartition('.')[2]):02x}"
    return {"server": server, "mac": mac, "offered": address, "card": card}


def offers(server: str, site: Site = SITE) -> list[dict[str, str]]:
    """What a server says that knows every host, and gives a stranger something of its range."""
    others = [spec for spec in site.hosts if spec.mac and str(spec.address) != server]
    known = [offered(server, str(spec.mac), str(spec.address)) for spec in others]
    return [*known, offered(server, "", "10.20.0.101")]


def test_dhcp_servers() -> None:
    ours, other = offers("10.20.0.11"), offered("10.20.0.1", "", "10.20.0.50")
    assert failures("dhcp", {"ws1": [], "ws2": ours}) == []
    (second,) = failures("dhcp", {"ws1": [other], "ws2": [*ours, other]})
    assert "a second DHCP server at 10.20.0.1" in second.message
    (none,) = failures("dhcp", {"ws1": [], "ws2": []})
    assert none.message == "no DHCP server answers on the network"


ROUTER: dict[str, object] = {"provider": "router", "range": "10.20.0.100-10.20.0.199"}


def test_what_a_router_would_give_to_hosts_and_strangers() -> None:
    site, router = served(ROUTER, DNS), "10.20.0.1"
    cards = {spec.name: spec.mac for spec in site.hosts if spec.mac}
    name, card = next(iter(cards.items()))
    address, others = site.host(name).address, [one for one in offers(router, site) if one["card"] != card]
    (found,) = failures("dhcp", {"ws1": [*others, offered(router, card, "10.20.0.140")]}, site=site)
    assert found.message == f"{name} ({card}) would get 10.20.0.140 by DHCP, not {address}"
    assert found.hint == "run: deskside handout router"
    (missing,) = failures("dhcp", {"ws1": others}, site=site)
    assert missing.message == f"nothing is offered to {name} ({card}) by DHCP"
    places = {"10.20.0.201": "the load balancer", "10.20.0.10": "the API", "10.20.0.12": "ws2"}
    for taken, whose in places.items():
        given = [*offers(router, site), offered(router, "", taken)]
        (found,) = failures("dhcp", {"ws1": given}, site=site)
        assert found.message.endswith(f"would get {taken} by DHCP, which is of {whose}")


@pytest.mark.parametrize(("provider", "ours"), [("router", "10.20.0.1"), ("synology", "10.20.0.20")])
def test_dhcp_servers_that_deskside_does_not_run(provider: str, ours: str) -> None:
    site = served({**ROUTER, "provider": provider}, DNS)
    right, other = offers(ours, site), offered("10.20.0.99", "", "10.20.0.51")
    assert failures("dhcp", {"ws1": right, "ws2": right}, site=site) == []
    (second,) = failures("dhcp", {"ws1": [*right, other]}, site=site)
    assert "a second DHCP server at 10.20.0.99" in second.message
    (instead,) = failures("dhcp", {"ws1": [other]}, site=site)
    assert instead.message == f"the DHCP server at 10.20.0.99 answers, not the {provider} at {ours}"
    (none,) = failures("dhcp", {"ws1": []}, site=site)
    assert none.message == "no DHCP server answers on the network"
