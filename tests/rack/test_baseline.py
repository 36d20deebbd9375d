"""The baseline on a real host: its name, pod links that networkd leaves alone, inotify, nightly updates."""

from __future__ import annotations

import asyncio

import pytest

from deskside.app.runs import new_owner
from deskside.steps.baseline import INOTIFY, baseline, time_sync
from deskside.steps.updates import HELD, security_updates
from rack.carrying import carried_out, working_on
from rack.platforms import OnRack, needs_root, until

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(300, func_only=True)]

HOST = "ws1"


@pytest.fixture(scope="module")
def based(contacted: OnRack) -> OnRack:
    """The host with its baseline."""
    contacted.shell(HOST, f"printf '127.0.0.1 localhost\\n127.0.1.1 {HOST}\\n' > /etc/hosts")
    carried_out(contacted, HOST, baseline)
    assert carried_out(contacted, HOST, baseline) == []
    return contacted


def test_the_full_name_is_that_of_the_site(based: OnRack) -> None:
    full = f"{HOST}.{based.rack.layout.domain}"
    assert based.shell(HOST, "hostname; hostname -f").split() == [HOST, full]
    assert based.shell(HOST, f"getent ahostsv4 {HOST} | head -1").split()[0] == based.rack.host(HOST).address


EVERYTHING = "/etc/systemd/network/99-everything.network"
POD_LINK = f"""
cat > {EVERYTHING} <<'END'
[Match]
Name=*
[Network]
IPv6AcceptRA=no
LinkLocalAddressing=no
Address=192.0.2.9/24
END
ip link add cali00f26 type veth peer name f26peer
ip address add 10.42.26.1/32 dev cali00f26
ip link set cali00f26 up
ip link set f26peer up
ip route add 10.42.26.7/32 dev cali00f26
systemctl restart systemd-networkd
/lib/systemd/systemd-networkd-wait-online --interface=f26peer --timeout=30
"""
LEFT = """
ip -o -4 address show dev cali00f26
ip -o route show dev cali00f26
networkctl --no-legend list cali00f26
"""
OURS = "/etc/systemd/network/05-deskside-pods.network /etc/systemd/networkd.conf.d/80-deskside.conf"


def test_f26_networkd_that_manages_everything_leaves_pod_links_alone(based: OnRack) -> None:
    try:
        based.shell(HOST, POD_LINK)
        kept = based.shell(HOST, LEFT)
        assert "10.42.26.1/32" in kept
        assert "10.42.26.7" in kept
        assert "unmanaged" in kept
        assert "192.0.2.9" not in kept
        assert "192.0.2.9/24" in based.shell(HOST, "ip -o -4 address show dev f26peer"), (
            "others it does manage"
        )
        # The same without what the baseline wrote: the fault is real.
        based.shell(
            HOST, f"tar -cPf /root/ours.tar {OURS} && rm {OURS} && systemctl restart systemd-networkd"
        )
        based.shell(HOST, "/lib/systemd/systemd-networkd-wait-online --interface=cali00f26 --timeout=30")
        assert "192.0.2.9" in based.shell(HOST, LEFT)
    finally:
        based.shell(
            HOST, f"ip link del cali00f26; rm -f {EVERYTHING}; tar -xPf /root/ours.tar; rm /root/ours.tar"
        )
        based.shell(HOST, "ip address flush to 192.0.2.9; systemctl restart systemd-networkd")
    assert carried_out(based, HOST, baseline) == []


NETWORK_MANAGER = """
cp /etc/resolv.conf /root/resolv.conf
ip link add cali00f26 type veth peer name f26peer
ip address add 10.42.26.1/32 dev cali00f26
ip link set cali00f26 up
ip link set f26peer up
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# A host of the rack has no events of udev: only what is there before NetworkManager is taken.
apt-get -qq install --no-install-recommends network-manager >/dev/null
timeout 30 sh -c "until nmcli -t -f DEVICE,STATE device | grep -q '^cali00f26:connected'; do sleep 0.1; done"
"""


def test_f26_networkmanager_lets_go_of_pod_links(based: OnRack) -> None:
    """A desktop's NetworkManager takes every link that comes up, until the baseline tells it not to."""
    try:
        based.shell(HOST, NETWORK_MANAGER)
        assert len(carried_out(based, HOST, baseline)) == 2, "its configuration, and a reload"
        free = "nmcli -t -f DEVICE,STATE device | grep -qx cali00f26:unmanaged"
        based.shell(HOST, f"timeout 20 sh -c 'until {free}; do sleep 0.1; done'")
        assert "10.42.26.1/32" in based.shell(HOST, "ip -o -4 address show dev cali00f26")
        assert carried_out(based, HOST, baseline) == []
    finally:
        based.shell(HOST, "ip link del cali00f26; apt-get -qq purge network-manager >/dev/null")
        based.shell(HOST, "rm -rf /etc/NetworkManager; rm -f /etc/resolv.conf; mv /root/resolv.conf /etc/")


TAKE = """
import ctypes, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (9000, 9000))
os.setuid(int(sys.argv[1]))
libc, taken = ctypes.CDLL(None, use_errno=True), 0
while taken < int(sys.argv[2]) and libc.inotify_init() >= 0:
    taken += 1
print(taken, os.strerror(ctypes.get_errno()) if taken < int(sys.argv[2]) else "enough", flush=True)
sys.stdin.read()
"""


def test_f29_one_desk_cannot_use_up_inotify_for_the_others(based: OnRack) -> None:
    most = int(INOTIFY["fs.inotify.max_user_instances"])
    script = f"""
cat > /root/take.py <<'END'
{TAKE}
END
mkfifo /root/hold
python3 /root/take.py 4029 4000 < /root/hold > /root/first &
exec 9> /root/hold
until [ -s /root/first ]; do sleep 0.1; done
cat /root/first
python3 /root/take.py 4029 1000 < /dev/null
python3 /root/take.py 4029 {most} < /dev/null
exec 9>&-
wait
rm /root/take.py /root/hold /root/first
"""
    first, second, third = based.shell(HOST, script).splitlines()
    assert (first, second) == ("4000 enough", "1000 enough"), "the kernel's 128 would have ended the first"
    taken, _, said = third.partition(" ")
    assert int(taken) >= most - 4000
    assert "Too many open files" in said or int(taken) == most


def test_security_updates_install_themselves_without_what_desks_stand_on(contacted: OnRack) -> None:
    carried_out(contacted, HOST, security_updates)
    assert carried_out(contacted, HOST, security_updates) == []
    said = contacted.shell(HOST, "unattended-upgrade --dry-run --debug 2>&1 || :")
    (origins,) = [line for line in said.splitlines() if line.startswith("Allowed origins are:")]
    assert origins == "Allowed origins are: origin=Debian,codename=bookworm-security,label=Debian-Security"
    (held,) = [line for line in said.splitlines() if line.startswith("Initial blacklist:")]
    assert held == f"Initial blacklist: {' '.join(HELD)}"
    timers = "systemctl is-active apt-daily.timer apt-daily-upgrade.timer"
    assert contacted.shell(HOST, timers).split() == ["active", "active"]


def test_a_host_that_is_only_storage_has_name_time_and_updates_and_nothing_of_pods(contacted: OnRack) -> None:
    store = "ws2"
    mac = contacted.rack.layout.mac(12)
    plain = f'mac: "{mac}", roles: [worker]'
    site = contacted.with_site("store", (plain, f'mac: "{mac}", roles: [storage]'))
    contacted.shell(store, "hostnamectl set-hostname x")
    for step in (baseline, time_sync, security_updates):
        assert carried_out(site, store, step)
        assert carried_out(site, store, step) == []
    assert contacted.shell(store, "hostname -f").strip() == f"{store}.{contacted.rack.layout.domain}"
    wanted = "chrony.service apt-daily-upgrade.timer systemd-journald.service"
    assert contacted.shell(store, f"systemctl is-active {wanted}").split() == ["active"] * 3
    assert not contacted.run(store, "test", "-e", "/var/lib/deskside/containerd", check=False).ok


def test_f9_nightly_updates_wait_while_an_apply_holds_the_host(based: OnRack) -> None:
    carried_out(based, HOST, security_updates)
    assert carried_out(based, HOST, security_updates) == []
    # What the service does is not looked at here, only whether it may begin.
    based.shell(HOST, "mkdir -p /run/systemd/system/apt-daily.service.d")
    nothing = "[Service]\\nExecStartPre=\\nExecStart=\\nExecStart=/usr/bin/touch /run/updated\\n"
    based.shell(HOST, f"printf '{nothing}' > /run/systemd/system/apt-daily.service.d/99-test.conf")
    based.shell(HOST, "systemctl daemon-reload; rm -f /run/updated")
    begin = "systemctl start apt-daily.service; test ! -e /run/updated || echo updated"

    async def held() -> str:
        async with working_on(based, HOST) as (_, session):
            await session.hold(new_owner("apply"))
            return await asyncio.to_thread(based.shell, HOST, begin)

    try:
        assert asyncio.run(held()) == ""
        assert based.shell(HOST, "systemctl show -P Result apt-daily.service").strip() == "exec-condition"
        free = ("flock", "--nonblock", "--shared", "/run/deskside/lease", "true")
        until("the lease ends with its owner", 20, lambda: based.run(HOST, *free, check=False).ok)
        assert based.shell(HOST, begin).strip() == "updated"
    finally:
        based.shell(HOST, "rm -rf /run/systemd/system/apt-daily.service.d; systemctl daemon-reload")
