"""`check network` on a real network: each thing that it looks for is made wrong once."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from deskside.steps.names import CONFIG, UNIT
from rack.beyond import PEOPLE, STRANGER, beyond
from rack.platforms import OnRack, needs_root
from rack.stranger import plugged_in

pytestmark = [pytest.mark.rack, needs_root]

NAMED = """
options {{ directory "/run/zones"; listen-on port 5353 {{ 127.0.0.1; }}; recursion no; pid-file none; }};
controls {{ }};
zone "{forward}" {{ type master; file "{forward}.zone"; }};
zone "{reverse}" {{ type master; file "{reverse}.zone"; }};
"""


def look(platform: OnRack, code: int) -> list[dict[str, str]]:
    """Findings of `check network`."""
    found: list[dict[str, str]] = platform.deskside("check", "network", "--json", code=code).document
    return found


def wrong(platform: OnRack) -> dict[str, list[str]]:
    """Check -> messages of what failed; something has to."""
    found: dict[str, list[str]] = {}
    for one in look(platform, 5):
        if one["outcome"] == "failed":
            assert one["hint"], one
            found.setdefault(one["check"], []).append(one["message"])
    return found


def test_a_sound_network_has_nothing_wrong(platform: OnRack) -> None:
    found = {one["check"]: one["outcome"] for one in look(platform, 0)}
    assert found == dict.fromkeys(
        ("address", "identity", "owners", "packets", "dhcp", "names", "rules"), "ok"
    )


def test_f25_an_mtu_black_hole_is_found_between_the_pairs_that_it_is_between(platform: OnRack) -> None:
    layout = platform.rack.layout
    link = layout.link(layout.host("ws3"))
    subprocess.run(["ip", "link", "set", link, "mtu", "1400"], check=True)
    try:
        found = wrong(platform)
    finally:
        subprocess.run(["ip", "link", "set", link, "mtu", "1500"], check=True)
    assert set(found) == {"packets"}
    # A virtual cable lets four bytes more through, for a tag.
    assert all("ws3" in one and re.search("beyond 140[04] bytes", one) for one in found["packets"]), found
    assert len(found["packets"]) >= 4, "both ways, with each of the others"


def test_f27_an_address_that_nobody_or_a_stranger_answers_for(platform: OnRack) -> None:
    layout = platform.rack.layout
    hub = layout.load_balancer.partition("-")[0]
    platform.kubectl("delete", "l2advertisement", "site", "-n", "metallb-system")
    try:
        end = time.monotonic() + 60
        while not (found := wrong_or_nothing(platform)):
            assert time.monotonic() < end
            time.sleep(2)
        assert found == {"owners": [f"nobody answers for {hub}, the address of the hub"]}
    finally:
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()
    with plugged_in(platform, 201) as stranger:
        (message,) = wrong(platform)["owners"]
        assert stranger.mac in message
        assert f"{layout.prefix}201" in message


def wrong_or_nothing(platform: OnRack) -> dict[str, list[str]]:
    """What failed, if anything."""
    found = platform.deskside("check", "network", "--json", code=None).document
    return {one["check"]: [one["message"]] for one in found if one["outcome"] == "failed"}


def test_a_second_dhcp_server_beside_ours(platform: OnRack) -> None:
    layout = platform.rack.layout
    argv = ["/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]
    argv += [
        "--interface=host0",
        "--except-interface=lo",
        "--bind-interfaces",
        "--dhcp-leasefile=/run/second",
    ]
    argv += [f"--dhcp-range={layout.prefix}150,{layout.prefix}160,300"]
    platform.shell("ws2", "apt-get -qq install -y dnsmasq-base >/dev/null")
    platform.shell("ws2", "nft insert rule inet deskside input udp dport 67 accept")
    try:
        platform.run("ws2", "systemd-run", "--unit=second-dhcp", *argv)
        (message,) = wrong(platform)["dhcp"]
        assert layout.address(layout.host("ws2")) in message
    finally:
        platform.run("ws2", "systemctl", "stop", "second-dhcp.service", check=False)
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()


def test_a_host_without_its_reservation_and_a_range_in_the_load_balancer(platform: OnRack) -> None:
    layout = platform.rack.layout
    other, pool = f"{layout.prefix}140", f"{layout.prefix}205,{layout.prefix}210"
    platform.shell(
        "ws1",
        f"sed -i -e 's/,nas,.*/,nas,{other}/' -e 's/^dhcp-range=[^,]*,[^,]*/dhcp-range={pool}/' {CONFIG}"
        f" && systemctl restart {UNIT}",
    )
    try:
        found = wrong(platform)["dhcp"]
        assert f"nas ({layout.mac(20)}) would get {other} by DHCP, not {layout.prefix}20" in found
        assert any(one.endswith("by DHCP, which is of the load balancer") for one in found)
    finally:
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()
    assert "dhcp" not in wrong_or_nothing(platform)


def test_a_pool_that_reaches_into_the_load_balancers_range_is_found_by_asking_for_its_addresses(
    platform: OnRack,
) -> None:
    """A stranger who has no wish gets something else of that pool nearly always."""
    layout = platform.rack.layout
    pool = f"{layout.prefix}100,{layout.prefix}201"
    platform.shell(
        "ws1", f"sed -i 's/^dhcp-range=[^,]*,[^,]*/dhcp-range={pool}/' {CONFIG} && systemctl restart {UNIT}"
    )
    try:
        (message,) = wrong(platform)["dhcp"]
        assert re.fullmatch(
            rf".* would get {layout.prefix}20[01] by DHCP, which is of the load balancer", message
        )
    finally:
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()


def test_what_the_router_lets_through_is_seen_from_the_hosts(platform: OnRack) -> None:
    layout = platform.rack.layout

    def rules(findings: list[dict[str, str]]) -> dict[str, str]:
        """The one finding about them."""
        (found,) = [one for one in findings if one["check"] == "rules"]
        return found

    with beyond(platform) as there:
        line = f"  firewall: {{allow_from: [{layout.subnet}, {there.people}]}}\n"
        site = platform.with_site("two-floors", ("  pod_network: flat\n", f"  pod_network: flat\n{line}"))
        table = site.deskside("handout", "router", "--json").document["tables"]["Rules between networks"]
        wanted = [row for row in table if row["from"] == there.people]
        try:
            site.deskside("apply", "--yes")
            nobody = rules(look(site, 0))
            assert nobody["outcome"] == "warning"
            assert f"nobody of {there.people} has come through the router" in nobody["message"]
            assert f"and {len(wanted) - 1} more" in nobody["message"]
            # Each is tried from there; the router lacks a rule.
            with there.without(6443):
                one = rules(there.check_network(site))
            assert one["outcome"] == "warning"
            lacking = [row for row in wanted if row["port"] == "tcp/6443"]
            assert f"tcp/6443 ({lacking[0]['what']})" in one["message"]
            assert ("more" in one["message"]) == (len(lacking) > 1)
            assert rules(there.check_network(site))["outcome"] == "ok"
            assert rules(look(site, 0))["outcome"] == "ok"
            # The router lets somebody in whom nobody has named: the host does not, and tells.
            address = layout.address(layout.host("ws2"))
            assert there.reached(PEOPLE, address, 22)
            # The late answer of somebody's whom a host had asked is nobody who comes in.
            there.send(STRANGER, address, 50_000)
            assert rules(look(site, 0))["outcome"] == "ok"
            assert not there.reached(STRANGER, address, 22)
            (said,) = wrong(site)["rules"]
            assert said.startswith(f"{there.prefix}{STRANGER}, of no network in network.firewall.allow_from,")
            assert said.endswith(f"to ws2 ({address}, tcp/22)")
            assert site.changes() == set(), "what a firewall has seen is no change of its rules"
        finally:
            platform.deskside("apply", "--yes")
    assert platform.changes() == set()
    assert rules(look(platform, 0))["outcome"] == "ok"


def test_a_real_bind_serves_the_zone_files_of_the_handout(platform: OnRack, tmp_path: Path) -> None:
    layout = platform.rack.layout
    platform.deskside("handout", "synology", "--out", str(tmp_path))
    reverse = f"{layout.subnet_number}.77.10.in-addr.arpa"
    platform.shell(
        "ws2", "systemctl mask named.service; apt-get -qq install -y bind9 bind9-dnsutils >/dev/null"
    )
    try:
        platform.shell("ws2", "mkdir -p /run/zones")
        for name in (f"{layout.domain}.zone", f"{reverse}.zone"):
            platform.run("ws2", "tee", f"/run/zones/{name}", stdin=(tmp_path / name).read_text())
        text = NAMED.format(forward=layout.domain, reverse=reverse)
        platform.run("ws2", "tee", "/run/zones/named.conf", stdin=text)
        checked = platform.run("ws2", "named-checkconf", "-z", "/run/zones/named.conf").out
        assert "loaded serial" in checked
        platform.shell("ws2", "systemd-run --quiet --unit=zones /usr/sbin/named -f -c /run/zones/named.conf")
        ask = ("dig", "@127.0.0.1", "-p", "5353", "+short", "+tries=1", "+timeout=2")
        nas = layout.host("nas")
        end = time.monotonic() + 30
        while not platform.run("ws2", *ask, "soa", layout.domain, check=False).ok:
            assert time.monotonic() < end, platform.run(
                "ws2", "journalctl", "-u", "zones.service", "-n", "20"
            ).out
            time.sleep(0.5)
        assert platform.run("ws2", *ask, layout.fqdn(nas)).out.split() == [layout.address(nas)]
        assert platform.run("ws2", *ask, f"x.apps.{layout.domain}").out.split() == [f"{layout.prefix}200"]
        assert platform.run("ws2", *ask, "-x", layout.api).out.split() == [f"api.{layout.domain}."]
    finally:
        platform.run("ws2", "systemctl", "stop", "zones.service", check=False)
        platform.shell(
            "ws2", "rm -r /run/zones; apt-get -qq purge -y bind9 >/dev/null; systemctl unmask named.service"
        )
    document = json.loads((platform.deskside("handout", "router", "--json")).out)
    rows = document["tables"]["DHCP reservations"]
    assert {"MAC address": layout.mac(20), "address": layout.address(nas), "name": "nas"} in rows
