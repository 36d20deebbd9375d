"""Addresses and names on a real network: a DHCP client, dig from every host, and lookups from pods."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deskside.lab.spec import RackHost
from rack.platforms import OnRack, needs_root

pytestmark = [pytest.mark.rack, needs_root]

UNIT = "deskside-names.service"
DROP_IN = "/etc/systemd/network/{file}.d/50-dhcp.conf"
BUSYBOX = "docker.io/library/busybox:1.35.0"


def managed(platform: OnRack) -> list[RackHost]:
    return [host for host in platform.rack.layout.hosts if host.managed]


def expected(platform: OnRack) -> dict[str, str]:
    """Name -> address, written down apart from the product's own list."""
    layout = platform.rack.layout
    hub = layout.load_balancer.partition("-")[0]
    known = {layout.fqdn(host): layout.address(host) for host in layout.hosts}
    return {**known, f"api.{layout.domain}": layout.api, f"notebooks.{layout.domain}": hub}


def test_dig_forward_and_reverse_from_every_host(platform: OnRack) -> None:
    layout, wanted = platform.rack.layout, expected(platform)
    wildcard = f"whatever.apps.{layout.domain}"
    for host in managed(platform):
        platform.shell(
            host.name, "command -v dig >/dev/null || apt-get -qq install -y bind9-dnsutils >/dev/null"
        )
        for name, address in {**wanted, wildcard: layout.load_balancer.partition("-")[0]}.items():
            assert platform.run(host.name, "dig", "+short", name).out.split() == [address], (host.name, name)
        for name, address in wanted.items():
            assert platform.run(host.name, "dig", "+short", "-x", address).out.split() == [f"{name}."], (
                address
            )
        nobody = platform.run(host.name, "dig", f"nobody.{layout.domain}").out
        assert "status: NXDOMAIN" in nobody


def test_names_from_a_pod_on_every_host(platform: OnRack) -> None:
    layout = platform.rack.layout
    names = [*expected(platform), f"whatever.apps.{layout.domain}"]
    asked = [*(f"-type=a {name}." for name in names), *expected(platform).values()]
    script = "; ".join(f"nslookup {one} || echo FAILED {one}" for one in asked)
    for host in managed(platform):
        spec = {
            "nodeName": host.name,
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "look", "image": BUSYBOX, "command": ["sh", "-c", script]}],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"look-{host.name}"}, "spec": spec}
        platform.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        try:
            done = "--for=jsonpath={.status.phase}=Succeeded"
            platform.kubectl("wait", done, f"pod/look-{host.name}", "--timeout=90s")
            said = platform.kubectl("logs", f"look-{host.name}")
            assert "FAILED" not in said
            for name, address in expected(platform).items():
                assert f"Address: {address}" in said, host.name
                assert f"name = {name}" in said, host.name
        finally:
            platform.kubectl("delete", "pod", f"look-{host.name}", "--wait=false")


@contextmanager
def by_dhcp(platform: OnRack, host: str) -> Iterator[None]:
    """The host's own client asks for its address, as after a fresh installation."""
    shown = platform.run(host, "networkctl", "status", "host0").out
    file = next(line.split()[-1] for line in shown.splitlines() if "Network File" in line).rpartition("/")[2]
    path = DROP_IN.format(file=file)
    text = "[Network]\nDHCP=ipv4\nAddress=\n[DHCPv4]\nClientIdentifier=mac\nUseDNS=no\n"
    platform.shell(host, f"mkdir -p {path.rpartition('/')[0]}")
    platform.run(host, "tee", path, stdin=text)
    try:
        platform.shell(host, "networkctl reload && networkctl reconfigure host0")
        yield
    finally:
        platform.shell(
            host, f"rm -r {path.rpartition('/')[0]} && networkctl reload && networkctl reconfigure host0"
        )


def pod_routes(platform: OnRack, host: str) -> str:
    """Routes of ours to the pods of other hosts."""
    return platform.run(host, "ip", "route", "show", "proto", "142").out


@pytest.mark.parametrize("name", ["ws2", "ws3"])
def test_a_real_client_gets_the_address_that_is_reserved_for_its_card(platform: OnRack, name: str) -> None:
    spec = platform.rack.layout.host(name)
    address = platform.rack.layout.address(spec)
    routes = pod_routes(platform, name)
    assert routes
    with by_dhcp(platform, name):
        end = time.monotonic() + 60
        while address not in platform.run(name, "ip", "-4", "-o", "address", "show", "dynamic").out:
            assert time.monotonic() < end, platform.run(name, "networkctl", "status", "host0").out
            time.sleep(0.5)
        route = platform.run(name, "ip", "route", "show", "default").out
        assert f"via {platform.rack.layout.gateway}" in route
        assert "proto dhcp" in route
    platform.run("ws1", "systemctl", "restart", UNIT)
    kept = platform.run("ws1", "cat", "/var/lib/deskside/names/leases").out
    mac = platform.rack.layout.mac(spec.number)
    assert f"{mac} {address} {name}" in kept
    end = time.monotonic() + 30
    while pod_routes(platform, name) != routes:
        assert time.monotonic() < end, "the routes to the pods of other hosts went with the address"
        time.sleep(0.5)
    assert platform.changes() == set()


SECOND = (
    *(
        "systemd-run",
        "--unit=second-dhcp",
        "/usr/sbin/dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
    ),
    *("--port=0", "--interface=host0", "--except-interface=lo", "--bind-interfaces", "--user=root"),
    "--dhcp-leasefile=/run/second-dhcp",
)


def test_a_second_dhcp_server_is_told_before_ours_starts(platform: OnRack) -> None:
    layout = platform.rack.layout
    platform.shell("ws2", "apt-get -qq install -y dnsmasq-base >/dev/null")
    given = f"--dhcp-range={layout.prefix}150,{layout.prefix}160,300"
    platform.shell("ws1", f"systemctl stop {UNIT}")
    try:
        free = platform.deskside("check", "--json").document
        assert [one["outcome"] for one in free if one["check"] == "dhcp"] == ["ok"]
        # The firewall of ws2 lets no question in: a router that is somebody else's has none.
        platform.shell("ws2", "nft insert rule inet deskside input udp dport 67 accept")
        platform.run("ws2", *SECOND, given)
        refused = platform.deskside("check", "--json", code=5).document
        (found,) = [one for one in refused if one["check"] == "dhcp"]
        assert found["outcome"] == "failed"
        assert layout.address(layout.host("ws2")) in found["message"]
        assert layout.mac(layout.host("ws2").number) in found["message"]
        assert "provider: router" in found["hint"]
        platform.deskside("apply", "--yes", code=5)
        assert not platform.run("ws1", "systemctl", "is-active", UNIT, check=False).ok
    finally:
        platform.run("ws2", "systemctl", "stop", "second-dhcp.service", check=False)
        platform.deskside("apply", "--yes")
    assert platform.run("ws1", "systemctl", "is-active", UNIT).ok
    assert platform.changes() == set()


def test_verify_looks_names_up(platform: OnRack) -> None:
    lines = platform.deskside("verify", "--json").lines
    (names,) = [one for one in lines if one["check"] == "names"]
    assert names["outcome"] == "ok"
    assert "on 3 hosts" in names["message"]
