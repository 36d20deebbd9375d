"""The flat pod network: ranges, routes, and the program that sets them against stand-ins of ip and nft."""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from deskside.resources.files import File
from deskside.resources.system import Unit
from deskside.steps import network
from deskside.steps.baseline import POD_LINKS
from deskside.steps.network import conflist, peers, pod_mtu, pod_network

from .sites import make_hosts, make_platform, make_site

SITE = make_site()
HOSTS = make_hosts(SITE)


def test_every_node_has_a_range_of_its_own_and_the_nas_has_none() -> None:
    ranges = [
        json.loads(conflist(SITE, host))["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
        for host in HOSTS.values()
    ]
    assert ranges == ["10.42.11.0/24", "10.42.12.0/24", "10.42.13.0/24"]
    assert all(IPv4Network(item).subnet_of(SITE.network.pods) for item in ranges)
    assert "10.42.20.0/24" not in peers(SITE, HOSTS["ws1"])


def test_peers_are_all_others() -> None:
    assert peers(SITE, HOSTS["ws2"]) == (
        "# Written by Deskside.\n"
        "pods 10.42.0.0/16\n"
        "own 10.42.12.0/24\n"
        "peer 10.42.11.0/24 10.20.0.11\n"
        "peer 10.42.13.0/24 10.20.0.13\n"
    )


def test_f26_the_bridge_has_a_name_that_others_leave_alone() -> None:
    assert len(network.BRIDGE) <= 15
    assert any(network.BRIDGE.startswith(name.rstrip("*")) for name in POD_LINKS)


def test_a_new_host_is_taken_up_without_a_break() -> None:
    found = list(pod_network.resources(SITE, make_platform(HOSTS), HOSTS["ws1"]))
    unit = next(item for item in found if isinstance(item, Unit))
    assert unit.reload
    assert network.PEERS in [needed.path for needed in unit.after if isinstance(needed, File)]


def test_the_runtime_learns_of_the_network_last() -> None:
    found = list(pod_network.resources(SITE, make_platform(HOSTS), HOSTS["ws1"]))
    assert found[-1].subject == f"file {network.CONFLIST}"


def test_pods_have_the_mtu_of_the_link_or_the_sites() -> None:
    large = make_site(network={**SITE.network.model_dump(mode="json"), "mtu": 9000})
    assert pod_mtu(large, HOSTS["ws1"]) == 9000
    assert pod_mtu(SITE, HOSTS["ws1"]) == 1500


IP = """\
#!/bin/sh
echo "ip $*" >>"$LOG"
[ "$2" = route ] && printf '10.42.12.0/24 via 10.20.0.12 dev eth0\\n10.42.99.0/24 via 10.20.0.99 dev eth0\\n'
exit 0
"""
NFT = '#!/bin/sh\n{ echo "nft $*"; cat; } >>"$LOG"\n'
IPTABLES = '#!/bin/sh\necho "iptables $*" >>"$LOG"\n[ "$2" != -C ]\n'


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
def test_the_program_sets_what_is_wanted_and_removes_what_is_not(tmp_path: Path) -> None:
    for name, text in (("ip", IP), ("nft", NFT), ("iptables", IPTABLES)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "peers").write_text(peers(SITE, HOSTS["ws1"]))
    log = tmp_path / "log"
    program = network.PROGRAM_TEXT.replace(network.PEERS, str(tmp_path / "peers"))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)}
    subprocess.run(["sh", "-c", program], check=True, env=environment)
    done = log.read_text()
    assert "ip route replace 10.42.12.0/24 via 10.20.0.12 proto 142" in done
    assert "ip route replace 10.42.13.0/24 via 10.20.0.13 proto 142" in done
    assert "ip route del 10.42.99.0/24 proto 142" in done
    assert "route del 10.42.12.0/24" not in done
    assert "ip saddr 10.42.11.0/24 ip daddr != 10.42.0.0/16 masquerade" in done
    assert "iptables -w -I FORWARD -s 10.42.0.0/16" in done
