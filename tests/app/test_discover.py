from __future__ import annotations

import pytest

from deskside.app.discover import leases_of, mac_text, neighbours_of_arp, neighbours_of_ip


def test_neighbours_of_linux_lately_seen_first() -> None:
    rows = """[
     {"dst":"10.20.0.150","dev":"eth0","lladdr":"02:00:00:00:00:12","state":["STALE"]},
     {"dst":"10.20.0.57","dev":"eth0","lladdr":"02:00:00:00:00:12","state":["REACHABLE"]},
     {"dst":"fe80::1","dev":"eth0","lladdr":"02:00:00:00:00:13","router":null,"state":["REACHABLE"]},
     {"dst":"10.20.0.58","dev":"eth0","state":["FAILED"]},
     {"dst":"10.20.0.59","dev":"eth0","lladdr":"02:00:00:00:00:14","state":["FAILED"]}]"""
    assert neighbours_of_ip(rows) == {"02:00:00:00:00:12": ["10.20.0.57", "10.20.0.150"]}
    assert neighbours_of_ip("") == {}
    assert neighbours_of_ip("no json") == {}


def test_neighbours_of_a_mac_which_leaves_out_zeros() -> None:
    text = "? (10.20.0.57) at 2:0:0:0:0:12 on en0 ifscope [ethernet]\n? (10.20.0.9) at (incomplete) on en0\n"
    assert neighbours_of_arp(text) == {"02:00:00:00:00:12": ["10.20.0.57"]}


def test_leases_of_dnsmasq() -> None:
    text = """\
1795500000 02:00:00:00:00:11 10.20.0.101 ws1 01:02:00:00:00:00:11
1795400000 02:00:00:00:00:12 10.20.0.102 * *
1795600000 02:00:00:00:00:12 10.20.0.103 ws2 *
0 02:00:00:00:00:13 10.20.0.104 ws3 *
1795700000 02:00:00:00:00:13 10.20.0.105 ws3 *
duid 00:01:00:01:2c:aa:bb:cc:02:00:00:00:00:11
1795600000 123456 fd00::11 ws1 00:01:00:01
torn line
"""
    assert leases_of(text) == {
        "02:00:00:00:00:11": "10.20.0.101",
        "02:00:00:00:00:12": "10.20.0.103",
        "02:00:00:00:00:13": "10.20.0.104",
    }


@pytest.mark.parametrize("text", ["", "*", "02:00", "02:00:00:00:00:zz", "02:00:00:00:00:11:22"])
def test_what_is_no_mac_address(text: str) -> None:
    assert mac_text(text) == ""
