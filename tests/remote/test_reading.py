"""What a host answers: raw files in, answers out."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from deskside.model.facts import Facts
from deskside.model.query import Json
from remote.onhost import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "root")


def test_only_fully_installed_packages_count(host: Host) -> None:
    states = {
        "good": "install ok installed",
        "held": "hold ok installed",
        "gone": "deinstall ok config-files",
    }
    states["half"] = "install ok half-configured"
    blocks = [f"Package: {name}\nStatus: {state}\nVersion: 1-{name}\n" for name, state in states.items()]
    host.put(
        "/var/lib/dpkg/status",
        "\n".join(blocks) + "\nPackage: last\nStatus: install ok installed\nVersion: 2",
    )
    answer = host.read({"op": "packages", "names": ["good", "held", "gone", "half", "last", "never"]})
    assert answer == {"installed": {"good": "1-good", "held": "1-held", "last": "2"}}


SHOWN = """
case "$*" in *bad*) echo 'Invalid unit name' >&2; exit 1;; esac
[ "$1" = show ] || exit 9
shift 4
for unit; do
echo LoadState=loaded; echo ActiveState=active; echo UnitFileState=enabled
echo "ActiveEnterTimestamp=Mon 2026-11-23 21:51:28.250000 UTC"; echo NeedDaemonReload=no; echo
done
"""


def test_units_are_asked_together_and_a_bad_one_spoils_no_other(host: Host) -> None:
    host.tool("systemctl", SHOWN)
    good, other = host.ask({"op": "unit", "name": "a.service"}, {"op": "unit", "name": "b.service"})
    assert good == other
    unit = good["ok"]
    assert isinstance(unit, dict)
    assert (unit["active"], unit["started"], unit["needs_reload"]) == ("active", 1795470688.25, False)
    bad, good = host.ask({"op": "unit", "name": "bad"}, {"op": "unit", "name": "a.service"})
    assert "Invalid unit name" in str(bad["error"])
    assert "ok" in good


def test_a_unit_that_never_ran_has_no_start(host: Host) -> None:
    assert host.program.moment("") == 0.0
    assert host.program.moment("n/a") == 0.0


def test_sysctls_by_dots_or_slashes(host: Host) -> None:
    host.put("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    host.put("/proc/sys/net/ipv4/conf/eth0.5/rp_filter", "2\n")
    names = ["net.ipv4.ip_local_port_range", "net/ipv4/conf/eth0.5/rp_filter", "no.such"]
    assert host.read({"op": "sysctls", "names": names}) == {
        "values": {names[0]: "32768 60999", names[1]: "2"},
    }


def test_a_large_file_is_not_fetched(host: Host) -> None:
    host.put("/etc/large", "x" * ((1 << 20) + 1))
    (answer,) = host.ask({"op": "path", "path": "/etc/large", "content": True})
    assert answer == {"error": "/etc/large is larger than 1 MiB and is not fetched"}


def test_a_program_that_hangs_has_no_status(host: Host) -> None:
    answer = host.read({"op": "output", "argv": ["sh", "-c", "echo a; sleep 30"], "timeout": 0.5})
    assert answer == {"status": None, "stdout": "a\n", "stderr": ""}


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1
   1: 0B00140A:0016 0100140A:C350 01 00000000:00000000 00:00000000 00000000     0        0 102 1
"""
TCP6 = """  sl  local_address
   0: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 103 1
"""


def bare(host: Host) -> None:
    host.put("/etc/os-release", 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n')
    host.put("/proc/1/status", "Name:\tsystemd\nCapBnd:\t000001fffdfeffff\n")
    host.put("/proc/1/stat", "1 (a b) S " + " ".join(["0"] * 18) + " 250 0")
    host.put("/proc/stat", "cpu 1\nbtime 1795000000\n")
    host.put("/proc/meminfo", "MemTotal:       16000000 kB\n")
    host.put("/proc/net/tcp", TCP)
    host.put("/proc/net/tcp6", TCP6)
    host.put("/proc/77/comm", "sshd\n")
    host.put("/proc/77/cgroup", "0::/system.slice/ssh.service\n")
    host.put("/proc/net/udp", UDP)
    host.tool("ss", "exit 1")
    (host.root / "proc/77/fd").mkdir()
    (host.root / "proc/77/fd/3").symlink_to("socket:[101]")
    host.put("/proc/net/route", "Iface\tDestination\nenp5s0\t00000000\t0100140A\t3\t0\t0\t100\t00000000\t0\n")
    host.put("/proc/swaps", "Filename Type Size\n/dev/dm-1 partition 8\n")
    host.put("/etc/resolv.conf", "nameserver 127.0.0.53\n")
    host.put("/run/systemd/resolve/resolv.conf", "nameserver 10.20.0.1\n")
    host.put("/sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")
    host.put("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    host.put("/sys/bus/pci/devices/0000:01:00.0/device", "0x2684\n")
    (host.root / "sys/bus/pci/devices/0000:01:00.0/driver").symlink_to("../../drivers/nouveau")
    host.put("/sys/bus/pci/devices/0000:02:00.0/class", "0x020000\n")
    host.tool("ip", f"cat {host.put('/addr.json', ADDRESSES)}")
    host.tool(
        "systemctl",
        "echo 'systemd-networkd.service loaded active running x'; echo 'deskside-run-r1.service x'",
    )


ADDRESSES = """[{"ifname":"lo"},{"ifname":"enp5s0","address":"02:00:00:00:00:11","mtu":1500,"addr_info":[
{"family":"inet","local":"10.20.0.11","prefixlen":24,"scope":"global","dynamic":true},
{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"""


def facts(host: Host) -> Facts:
    raw = host.read({"op": "facts", "paths": ["/var/lib"], "ports": True})
    return Facts.from_raw(cast("Mapping[str, Json]", raw))


def test_facts_of_a_workstation(host: Host) -> None:
    bare(host)
    found = facts(host)
    assert (found.os_id, found.os_version, found.memory) == ("ubuntu", "24.04", 16_000_000 * 1024)
    assert found.booted_at == 1795000000 + 250 / os.sysconf("SC_CLK_TCK")
    assert "cap_sys_module" not in found.capabilities
    assert "cap_sys_time" not in found.capabilities
    assert {"cap_net_admin", "cap_checkpoint_restore"} <= set(found.capabilities)
    listeners = {(item.address, item.port, item.program) for item in found.listeners}
    assert listeners == {("0.0.0.0", 22, "sshd"), ("::1", 5432, ""), ("10.20.0.11", 53, "")}
    assert {(item.unit, item.device) for item in found.listeners} == {("ssh.service", ""), ("", "")}
    (interface,) = found.interfaces
    assert (interface.addresses, interface.dynamic) == (("10.20.0.11/24",), True)
    assert (found.route_interface, found.nameservers, found.swap) == (
        "enp5s0",
        ("10.20.0.1",),
        ("/dev/dm-1",),
    )
    (gpu,) = found.gpus
    assert (gpu.slot, gpu.vendor, gpu.driver) == ("0000:01:00.0", "0x10de", "nouveau")
    assert (found.networkd, found.network_manager, found.runs) == (True, False, ("r1",))
    assert found.disks[0].size > 0


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/deskside-names.service\n", "deskside-names.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope\n", "a.scope"),
        ("0::/system.slice/deskside-directory.service/inner\n", "deskside-directory.service"),
        ("9:name=systemd:/system.slice/a.service\n2:cpu,cpuacct:/b.service\n0::/\n", "a.service"),
        ("9:name=systemd:/\n0::/system.slice/a.service\n", "a.service"),
        ("4:memory:/system.slice/b.service\n0::/kubepods/pod1/c2\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process_on_both_kinds_of_cgroup(host: Host, text: str, unit: str) -> None:
    host.put("/proc/77/cgroup", text)
    host.ask()
    assert host.program.unit_of("77") == unit


UDP = """  sl  local_address
   0: 0B00140A:0035 00000000:0000 07 0:0 00:0 0 0 0 203 2
   1: 0B00140A:0035 0100140A:0035 01 0:0 00:0 0 0 0 204 2
"""
SS = """
[ "$*" = -Hlntue ] || exit 9
echo "udp UNCONN 0 0 0.0.0.0%virbr0:67 0.0.0.0:* ino:201 sk:1 cgroup:/system.slice/libvirtd.service <->"
echo "udp UNCONN 0 0 0.0.0.0:67 0.0.0.0:* ino:202 sk:2 cgroup:/system.slice/deskside-names.service <->"
echo "udp UNCONN 0 0 10.20.0.11:53 0.0.0.0:* ino:203 sk:3 <->"
echo "tcp LISTEN 0 128 [::1]%lo:5432 [::]:* ino:103 sk:4 v6only:1 <->"
echo "tcp LISTEN 0 128 *:80 *:* ino:204 sk:5 v6only:0 <->"
echo "tcp LISTEN 0 128 0.0.0.0:* 0.0.0.0:* ino:205 sk:6 <->"
echo odd
"""


def test_sockets_of_two_programs_on_one_port_are_told_apart(host: Host) -> None:
    bare(host)
    host.tool("ss", SS)
    for pid, unit, inodes in ((78, "libvirtd", (201,)), (79, "deskside-names", (202, 203))):
        host.put(f"/proc/{pid}/comm", "dnsmasq\n")
        host.put(f"/proc/{pid}/cgroup", f"1:name=systemd:/system.slice/{unit}.service\n")
        (host.root / f"proc/{pid}/fd").mkdir()
        for inode in inodes:
            (host.root / f"proc/{pid}/fd/{inode}").symlink_to(f"socket:[{inode}]")
    found = {(item.address, item.port, item.unit, item.device) for item in facts(host).listeners}
    assert found == {
        ("::1", 5432, "", "lo"),
        ("::", 80, "", ""),
        ("0.0.0.0", 67, "libvirtd.service", "virbr0"),
        ("0.0.0.0", 67, "deskside-names.service", ""),
        ("10.20.0.11", 53, "deskside-names.service", ""),
    }


def test_a_server_with_the_graphical_target_is_no_desktop(host: Host) -> None:
    bare(host)
    (host.root / "usr/lib/systemd/system").mkdir(parents=True)
    (host.root / "usr/lib/systemd/system/default.target").symlink_to("graphical.target")
    assert not facts(host).desktop
    host.put("/etc/systemd/system/display-manager.service")
    assert facts(host).desktop


def test_kubernetes_of_ours_and_of_others(host: Host) -> None:
    bare(host)
    host.put("/etc/kubernetes/kubelet.conf")
    assert facts(host).kubernetes.foreign == "kubeadm"
    assert not facts(host).kubernetes.joined
    host.put("/etc/kubernetes/deskside-joined")
    found = facts(host).kubernetes
    assert (found.joined, found.foreign) == (True, "")
    host.put("/usr/local/bin/k3s")
    assert facts(host).kubernetes.foreign == "k3s"


def test_a_broken_receipt_is_none(host: Host) -> None:
    bare(host)
    host.put("/var/lib/deskside/receipt.json", '{"site": "abc", "subjects": ["a"]}')
    assert facts(host).receipt == {"site": "abc", "subjects": '["a"]'}
    host.put("/var/lib/deskside/receipt.json", '{"site": ')
    assert facts(host).receipt == {}


NEW_KEY = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"


def certificates(folder: Path) -> None:
    """A CA, a leaf of it for `nas.example`, and a CA of somebody else."""
    leaf = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE"
    leaf += " -addext subjectAltName=DNS:nas.example,IP:127.0.0.1"
    for name, more in (("ca", ""), ("other", ""), ("leaf", leaf)):
        command = f"{NEW_KEY} -subj /CN={name} -keyout {name}.key -out {name}.pem {more}"
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


@contextmanager
def tls_server(folder: Path, starttls: bytes = b"") -> Iterator[int]:
    """A TLS server; with `starttls` it answers so to the first message."""
    import socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain:
                try:
                    if starttls:
                        assert plain.recv(4096).endswith(b"1.3.6.1.4.1.1466.20037")
                        plain.sendall(starttls)
                    with context.wrap_socket(plain, server_side=True) as link:
                        link.recv(1)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


ACCEPTED = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
REFUSED = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"


def test_tls_checks_chain_and_name_and_shows_the_names(host: Host, tmp_path: Path) -> None:
    certificates(tmp_path)
    ca, other, leaf = ((tmp_path / f"{name}.pem").read_text() for name in ("ca", "other", "leaf"))
    with tls_server(tmp_path) as port:

        def ask(name: str, ca: str) -> tuple[str, object, object]:
            query = {"op": "tls", "host": "127.0.0.1", "port": port, "name": name, "ca": ca}
            found = host.read(query)
            return str(found["error"]), found["names"], found["not_after"]

        good = ask("nas.example", ca)
        assert good[:2] == ("", ["nas.example", "127.0.0.1"])
        assert ask("other.example", ca)[0].startswith("Hostname mismatch")
        unknown = ask("nas.example", other)
        assert "unable to get local issuer" in unknown[0]
        assert unknown[1:] == good[1:]
        assert ask("nas.example", leaf)[0] != ""
        assert "cannot be read" in ask("nas.example", "no certificate")[0]


def test_starttls_is_asked_for_first(host: Host, tmp_path: Path) -> None:
    certificates(tmp_path)
    ca = (tmp_path / "ca.pem").read_text()
    for reply, error in ((ACCEPTED, ""), (REFUSED, "the server refuses StartTLS")):
        with tls_server(tmp_path, reply) as port:
            query = {"op": "tls", "host": "127.0.0.1", "port": port, "name": "nas.example", "ca": ca}
            assert host.read({**query, "starttls": True})["error"] == error
