"""The firewall's rules: what is open to whom, and that nft takes them. Packets are the rack's business."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from deskside.app.ports import open_ports
from deskside.catalog import all_doors
from deskside.model.door import Source
from deskside.model.facts import Listener
from deskside.model.finding import Outcome
from deskside.resources.firewall import PROGRAM_TEXT
from deskside.steps.firewall import FROM, NO_TABLE, firewall, login_ports, ruleset
from deskside.steps.preflight_hosts import firewalls

from .sites import make_facts, make_hosts, make_platform, make_site

SITE = make_site()
HOSTS = make_hosts(SITE)
NETWORK = {
    "subnet": "10.20.0.0/24",
    "gateway": "10.20.0.1",
    "api": "10.20.0.10",
    "load_balancer": "10.20.0.200-10.20.0.203",
}


def rules_of(text: str, chain: str) -> list[str]:
    """The rules of one chain."""
    found = re.search(rf"chain {chain} {{\n(.*?)\n    }}", text, re.DOTALL)
    assert found, chain
    return [line.strip() for line in found[1].splitlines()]


def test_every_source_has_its_set_and_every_door_its_rules() -> None:
    assert set(FROM) == set(Source)
    text = ruleset(SITE, all_doors(), HOSTS["ws1"])
    for match in FROM.values():
        name = match.removeprefix("ip saddr @").strip()
        assert not name or f"set {name} {{" in text
    guests = "\n".join(rules_of(text, "guests"))
    for line in open_ports(SITE):
        if line.host == "ws1" and line.ports:
            for source in line.sources:
                assert f"{FROM[Source(source)]}{line.protocol} dport {line.ports} accept" in guests


def test_a_worker_has_no_door_of_a_server() -> None:
    worker = "\n".join(rules_of(ruleset(SITE, all_doors(), HOSTS["ws3"]), "guests"))
    server = "\n".join(rules_of(ruleset(SITE, all_doors(), HOSTS["ws1"]), "guests"))
    for door in ("6443", "2379-2380", "l4proto 112"):
        assert door in server
        assert door not in worker
    assert "10250" in worker


def test_no_table_but_ours_is_touched_and_nothing_is_flushed() -> None:
    for text in (ruleset(SITE, all_doors(), HOSTS["ws1"]), NO_TABLE, PROGRAM_TEXT):
        assert "flush" not in text
        assert "nftables.conf" not in text
        assert set(re.findall(r"table (\w+ \w+)(?: {}|$| {)", text, re.MULTILINE)) <= {"inet deskside"}
    policies = re.findall(r"hook (\w+) .*policy (\w+)", ruleset(SITE, all_doors(), HOSTS["ws1"]))
    assert dict(policies) == {"prerouting": "accept", "input": "drop", "forward": "accept"}


@pytest.mark.parametrize("name", list(HOSTS))
def test_pods_reach_the_api_but_no_shell_no_kubelet_and_no_files(name: str) -> None:
    lines = rules_of(ruleset(SITE, all_doors(), HOSTS[name]), "forward")
    stores = " ".join(line for line in lines if "@stores" in line)
    assert all(port in stores for port in ("22", "445", "2049"))
    assert "636" not in stores, "the hub asks the directory"
    accepted = [line for line in lines if "@pods" in line and "accept" in line]
    assert ["daddr { 10.20.0.11, 10.20.0.12, 10.20.0.10 } tcp dport 6443" in line for line in accepted] == [
        True
    ]
    assert lines.index(accepted[0]) < next(n for n, line in enumerate(lines) if "drop" in line)


def test_what_the_site_file_opens_is_open_to_people_alone() -> None:
    site = make_site(network={**NETWORK, "firewall": {"open": ["tcp/8080"], "allow_from": ["10.9.0.0/16"]}})
    text = ruleset(site, all_doors(), make_hosts(site)["ws3"])
    assert "elements = { 10.9.0.0/16 }" in text
    opened = [line for line in text.splitlines() if "8080" in line]
    assert len(opened) == 2
    assert all("@people" in line for line in opened)


def test_pods_are_nobody_of_the_people_whatever_network_people_come_from() -> None:
    allowed = {"open": ["tcp/8080"], "allow_from": ["10.0.0.0/8"]}
    site = make_site(network={**NETWORK, "firewall": allowed})
    assert site.network.pods.subnet_of(site.network.firewall.allow_from[0])
    for host in make_hosts(site).values():
        lines = rules_of(ruleset(site, all_doors(), host), "guests")
        for inside in ("pods", "services"):
            end = lines.index(f'ip saddr @{inside} drop comment "{inside} are not people"')
            before, after = lines[:end], lines[end:]
            assert not [line for line in before if "@people" in line or "@nodes" in line or "@subnet" in line]
            assert any("@people tcp dport 22 accept" in line for line in after)
            assert any("@people tcp dport 8080 accept" in line for line in after)
            assert not [line for line in after if "@pods" in line and "accept" in line]
    api = "ip saddr @pods tcp dport 6443 accept"
    server = rules_of(ruleset(site, all_doors(), make_hosts(site)["ws1"]), "guests")
    assert any(api in line for line in server)


def test_ssh_stays_open_wherever_it_listens() -> None:
    listener = Listener(protocol="tcp", address="0.0.0.0", port=2222, program="sshd")
    assert login_ports(make_facts(SITE, "ws1", listeners=(listener,)), SITE) == (22, 2222)


def test_a_firewall_that_is_switched_off_is_taken_away() -> None:
    site = make_site(network={**NETWORK, "firewall": {"enabled": False}})
    *_, last = firewall.resources(site, make_platform(make_hosts(site)), make_hosts(site)["ws1"])
    assert last.rules == NO_TABLE  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", list(HOSTS))
def test_nft_takes_the_rules(name: str) -> None:
    if os.geteuid() != 0 or not shutil.which("nft"):
        pytest.skip("needs root and nft")
    text = ruleset(SITE, all_doors(), HOSTS[name])
    script = "nft -f - && nft --stateless list table inet deskside"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "policy drop" in done.stdout


def test_another_firewall_is_a_finding() -> None:
    assert not list(firewalls(SITE, HOSTS))
    hosts = make_hosts(SITE, ws1={"firewalls": ("ufw", "nftables")})
    ufw, flush = firewalls(SITE, hosts)
    assert (ufw.outcome, "sudo ufw disable" in ufw.hint) == (Outcome.FAILED, True)
    assert flush.outcome is Outcome.WARNING
    assert not list(firewalls(make_site(network={**NETWORK, "firewall": {"enabled": False}}), hosts))


def test_a_managed_host_that_only_stores_is_closed_but_for_its_files() -> None:
    raw = [spec.model_dump(exclude_unset=True) for spec in SITE.hosts if spec.managed]
    store = {"name": "box", "address": "10.20.0.20", "roles": ["storage"]}
    site = make_site(hosts=[*raw, store], storage={"homes": {"source": "box:/volume1/homes"}})
    hosts = make_hosts(site)
    assert firewall.applies_to(hosts["box"], make_platform(hosts))
    guests = "\n".join(rules_of(ruleset(site, all_doors(), hosts["box"]), "guests"))
    assert "ip saddr @nodes tcp dport 2049 accept" in guests
    assert "ip saddr @people tcp dport 445 accept" in guests
    assert "ip saddr @people tcp dport 22 accept" in guests
    assert "6443" not in guests
    assert "10250" not in guests
    assert "2049" not in "\n".join(rules_of(ruleset(site, all_doors(), hosts["ws1"]), "guests"))
    assert {line.service for line in open_ports(site) if line.host == "box"} >= {"SSH", "homes (NFS)"}
