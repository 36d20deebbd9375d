from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import pytest

from deskside.errors import Unreachable
from deskside.model.facts import Disk, Interface, KubernetesFacts, Listener
from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output, ReadOutput
from deskside.site.schema import Site
from deskside.steps.checks import CHECKS, fact_checks, probe_checks
from deskside.steps.probes import wanted_addresses

from .sites import GIB, NAMES, Told, bad, make_hosts, make_platform, make_site

SITE = make_site()
JOINED = KubernetesFacts(joined=True, kubelet_conf=True, admin_conf=True)


def found(site: Site = SITE, **changes: Mapping[str, object]) -> list[Finding]:
    return bad(fact_checks(site, make_hosts(site, **changes)))


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert findings[0].outcome is Outcome.OK or findings[0].hint
    return findings[0]


def test_a_healthy_site_passes_each_check_with_one_finding() -> None:
    findings = fact_checks(SITE, make_hosts(SITE))
    assert [finding.check for finding in findings] == list(CHECKS)
    assert {finding.outcome for finding in findings} == {Outcome.OK}


def test_all_problems_are_told_at_once() -> None:
    findings = found(ws1={"cpus": 1, "machine_id": "x"}, ws2={"machine_id": "x", "architecture": "aarch64"})
    assert {finding.check for finding in findings} == {"power", "identity", "system"}


def test_unsupported_systems() -> None:
    assert only(found(ws1={"os_version": "11"})).hint == "install debian 12 or 13"
    assert only(found(ws1={"os_version": "11"})).message == "ws1 runs debian 11, which is not supported"
    assert "aarch64" in only(found(ws3={"architecture": "aarch64"})).message
    assert "3.10 is needed" in only(found(ws3={"python": "3.9.2"})).message


def test_another_kubernetes_is_refused() -> None:
    finding = only(found(ws3={"kubernetes": KubernetesFacts(foreign="k3s")}))
    assert (finding.outcome, finding.message) == (
        Outcome.FAILED,
        "ws3 already has another Kubernetes (k3s)",
    )


def test_a_port_that_somebody_else_has_is_refused_by_name() -> None:
    nginx = Listener(protocol="tcp", address="0.0.0.0", port=6443, program="nginx")
    finding = only(found(ws1={"listeners": (nginx,)}))
    assert finding.outcome is Outcome.FAILED
    assert finding.message == "port 6443 on ws1 is taken by nginx; kube-apiserver needs it"
    assert "sport = :6443" in finding.hint
    assert not found(ws3={"listeners": (nginx,)}), "a worker does not need the port of the API"


def test_our_own_programs_may_have_their_ports() -> None:
    ours = tuple(
        Listener(protocol="tcp", address="127.0.0.1", port=port, program=program)
        for port, program in ((6443, "kube-apiserver"), (10257, "kube-controller"), (2379, "etcd"))
    )
    assert not found(ws1={"listeners": ours, "kubernetes": JOINED})
    assert len(found(ws1={"listeners": ours})) == 3, "without a trace of our cluster they are not ours"


def space(free: int, inodes: int = 10_000_000, size: int = 500 * GIB) -> dict[str, object]:
    disk = Disk(path="/var/lib/deskside", filesystem="ext4", size=size, free=free, inodes_free=inodes)
    return {"disks": (disk,)}


def test_disk_too_small() -> None:
    finding = only(found(ws2=space(2 * GIB)))
    assert finding.outcome is Outcome.FAILED
    assert finding.message == "ws2 has 2.0 GiB free for /var/lib/deskside; 4 GiB are needed"
    assert only(found(ws2=space(20 * GIB))).outcome is Outcome.WARNING
    assert "inodes" in only(found(ws2=space(300 * GIB, inodes=1000))).message


def test_a_full_disk_of_a_joined_host_is_a_warning_that_lets_apply_heal() -> None:
    finding = only(found(ws2={**space(20 * GIB), "kubernetes": JOINED}))
    assert (finding.outcome, "under 15% of it" in finding.message) == (Outcome.WARNING, True)
    assert not found(ws2={**space(100 * GIB), "kubernetes": JOINED})


def test_space_of_the_data_folder_counts_where_there_is_one() -> None:
    hosts = [{**spec.model_dump(mode="json"), "data": "/data"} for spec in SITE.hosts if spec.name == "ws2"]
    site = make_site(hosts=[*(s.model_dump(mode="json") for s in SITE.hosts if s.name != "ws2"), *hosts])
    disk = Disk(path="/data", filesystem="ext4", size=100 * GIB, free=GIB, inodes_free=9_999_999)
    assert "for /data" in only(found(site, ws2={"disks": (disk,)})).message


def test_unallocated_lvm_space_is_told_with_the_command_that_would_use_it() -> None:
    finding = only(found(ws1={"volume_group_free": {"ubuntu-vg": 800 * GIB}}))
    assert finding.outcome is Outcome.WARNING
    assert "sudo lvextend --resizefs --extents +100%FREE" in finding.hint
    assert not found(ws1={"volume_group_free": {"ubuntu-vg": GIB}})


def test_f20_duplicate_host_name_mac_uuid_and_host_key() -> None:
    assert (
        "same host name (ubuntu)"
        in only(found(ws1={"hostname": "ubuntu"}, ws2={"hostname": "ubuntu"})).message
    )
    assert only(found(ws1={"host_keys": ("K",)}, ws2={"host_keys": ("K",)})).check == "identity"
    uuid = only(found(ws1={"product_uuid": "a"}, ws2={"product_uuid": "A"}))
    assert uuid.outcome is Outcome.WARNING
    assert not found(ws1={"product_uuid": ""}, ws2={"product_uuid": ""})


def card(address: str, mac: str = "02:00:00:00:00:01", **changes: object) -> dict[str, object]:
    raw = {"name": "eno1", "mac": mac, "addresses": (f"{address}/24",), **changes}
    return {"interfaces": (Interface.model_validate(raw),)}


def test_f20_duplicate_mac_of_the_card_in_use() -> None:
    finding = only(
        found(ws1=card("10.20.0.11", "02:00:00:00:00:99"), ws2=card("10.20.0.12", "02:00:00:00:00:99"))
    )
    assert finding.message == "ws1 and ws2 have the same MAC address (02:00:00:00:00:99)"


def test_f21_duplicate_machine_id() -> None:
    finding = only(found(ws1={"machine_id": "abc"}, ws3={"machine_id": "abc"}))
    assert (finding.outcome, finding.subject) == (Outcome.FAILED, "ws1, ws3")
    assert finding.message == "ws1 and ws3 have the same machine-id (abc)"
    assert "systemd-machine-id-setup" in finding.hint


def test_f23_server_on_a_dynamic_lease() -> None:
    assert only(found(ws1=card("10.20.0.11", dynamic=True))).outcome is Outcome.FAILED
    assert only(found(ws3=card("10.20.0.13", "02:00:00:00:00:03", dynamic=True))).outcome is Outcome.WARNING
    hosts = [spec.model_dump(mode="json") for spec in SITE.hosts]
    hosts[0]["mac"] = "02:00:00:00:00:01"
    site = make_site(hosts=hosts)
    reserved = only(found(site, ws1=card("10.20.0.11", dynamic=True)))
    assert reserved.outcome is Outcome.WARNING, "whoever wrote the MAC address has thought of a reservation"
    other = only(found(site, ws1=card("10.20.0.11", "02:00:00:00:00:77")))
    assert (other.outcome, "not 02:00:00:00:00:01" in other.message) == (Outcome.FAILED, True)


def test_f24_an_address_that_is_on_no_interface() -> None:
    finding = only(found(ws1=card("192.168.1.5")))
    assert finding.outcome is Outcome.FAILED
    assert finding.message == (
        "ws1 does not have its address 10.20.0.11 on any interface (it has 192.168.1.5/24)"
    )


def test_power() -> None:
    assert only(found(ws2={"cpus": 1})).outcome is Outcome.FAILED
    assert only(found(ws2={"memory": GIB})).outcome is Outcome.FAILED
    assert only(found(ws2={"memory": 3 * GIB})).outcome is Outcome.WARNING


def test_profile_that_fits_on_no_worker() -> None:
    small = {"cpus": 2, "memory": 4 * GIB}
    findings = found(ws1=small, ws3=small)
    assert [finding.check for finding in findings] == ["profiles"]
    assert "'CPU desk' (2 cores, 4Gi) fits on no worker" in findings[0].message
    hosts = make_hosts(SITE, ws1=small, ws3=small)
    del hosts["ws3"]
    assert not bad(fact_checks(SITE, hosts)), "a worker that is down may be the one that it fits on"


def test_shared_kernel_without_modules_and_with_swap() -> None:
    shared = {"capabilities": (), "container": "systemd-nspawn"}
    finding = only(found(ws3={**shared, "modules": ("overlay",)}))
    assert "lacks br_netfilter" in finding.message
    both = {**shared, "modules": ("overlay", "br_netfilter")}
    assert not found(ws3=both)
    swap = only(found(ws3={**both, "cgroup": 1, "swap": ("/dev/sda2",)}))
    assert (swap.outcome, swap.check) == (Outcome.WARNING, "kernel")
    assert not found(ws3={**both, "cgroup": 2, "swap": ("/dev/sda2",)})


# Probes


def healthy(host: str, question: ReadOutput) -> Output:
    if "ARP" in question.argv[2]:
        return Output(0, "{}", "")
    if "fdatasync" in question.argv[2]:
        return Output(0, '{"path": "/var/lib", "milliseconds": 2.0}', "")
    return Output(0, "", "")


async def probed(
    tell: Callable[[str, ReadOutput], Output] = healthy, **changes: Mapping[str, object]
) -> list[Finding]:
    platform = make_platform(make_hosts(SITE, **changes))
    readers = {name: Told(tell, name) for name in NAMES}
    return await probe_checks(SITE, platform, readers)  # type: ignore[arg-type]


async def test_healthy_probes_pass_with_one_finding_each() -> None:
    findings = await probed()
    assert [finding.check for finding in findings] == ["addresses", "fsync", "homes"]
    assert not bad(findings)


async def test_a_cluster_that_is_up_is_asked_nothing_more() -> None:
    joined = {"kubernetes": JOINED}
    assert await probed(ws1=joined, ws2=joined, ws3=joined) == []


def answering(found: dict[str, str]) -> Callable[[str, ReadOutput], Output]:
    return lambda host, question: (
        Output(0, json.dumps(found), "") if "ARP" in question.argv[2] else healthy(host, question)
    )


async def test_api_and_load_balancer_addresses_in_use() -> None:
    taken = {"10.20.0.201": "02:00:00:00:00:02", "10.20.0.10": "0a:00:00:00:00:01"}
    api, balancer = bad(await probed(answering(taken)))
    assert api.message == (
        "the API address 10.20.0.10 is in use by a machine with the MAC address 0a:00:00:00:00:01"
    )
    assert balancer.message == ("the load-balancer address 10.20.0.201 is in use by ws2 (02:00:00:00:00:02)")
    assert {api.outcome, balancer.outcome} == {Outcome.FAILED}
    assert "network.api" in api.hint
    assert "network.load_balancer" in balancer.hint


def test_the_api_address_on_our_own_server_is_not_in_use() -> None:
    interface = Interface(name="eno1", mac="02:00:00:00:00:01", addresses=("10.20.0.11/24", "10.20.0.10/32"))
    hosts = make_hosts(SITE, ws1={"interfaces": (interface,)})
    assert wanted_addresses(SITE, hosts)[0] == "10.20.0.200"
    assert wanted_addresses(SITE, make_hosts(SITE))[:2] == ["10.20.0.10", "10.20.0.200"]


async def test_a_probe_that_does_not_run_is_no_pass() -> None:
    def broken(host: str, question: ReadOutput) -> Output:
        return Output(1, "", "PermissionError: [Errno 1] Operation not permitted")

    outcomes = {finding.check: finding.outcome for finding in await probed(broken)}
    assert outcomes == {
        "addresses": Outcome.NOT_RUN,
        "fsync": Outcome.WARNING,
        "homes": Outcome.FAILED,
    }


async def test_a_host_that_is_lost_meanwhile_is_a_finding() -> None:
    def lost(host: str, question: ReadOutput) -> Output:
        raise Unreachable(f"{host} is gone", hint="look")

    findings = await probed(lost)
    assert {finding.outcome for finding in findings} == {Outcome.NOT_RUN}
    assert {finding.subject for finding in findings} == set(NAMES)


async def test_slow_disk_of_a_server_is_a_warning() -> None:
    def slow(host: str, question: ReadOutput) -> Output:
        if "fdatasync" in question.argv[2]:
            return Output(0, '{"path": "/var/lib", "milliseconds": 45.2}', "")
        return healthy(host, question)

    findings = bad(await probed(slow))
    assert {finding.subject for finding in findings} == {"ws1", "ws2"}
    assert findings[0].message.startswith("ws1 takes 45 ms to make a small write safe")
    assert findings[0].outcome is Outcome.WARNING


@pytest.mark.parametrize(("late", "outcome"), [(-3600.0, "behind"), (90.0, "ahead of")])
async def test_f22_clock_of_a_server_that_nothing_keeps(late: float, outcome: str) -> None:
    def clock(host: str, question: ReadOutput) -> Output:
        if question.argv[0] == "date":
            return Output(0, f"{time.time() + (late if host == 'ws2' else 0.0)}\n", "")
        return healthy(host, question)

    loose: dict[str, object] = {"clock_synchronised": False}
    finding = only(bad(await probed(clock, ws2=loose)))
    assert finding.outcome is Outcome.FAILED
    assert finding.message == (
        f"the clock of ws2 is {abs(late):.1f} s {outcome} that of ws1, and nothing keeps it right"
    )
    assert not bad(await probed(clock)), "a clock that is kept will be right"
    shared = {**loose, "capabilities": ("cap_sys_module",)}
    assert not bad(await probed(clock, ws2=shared)), "a shared clock cannot be apart"


async def test_nas_that_does_not_answer() -> None:
    def refused(host: str, question: ReadOutput) -> Output:
        if question.argv[-1] == "2049":
            return Output(1, "", "Traceback ...\nConnectionRefusedError: [Errno 111] Connection refused\n")
        return healthy(host, question)

    findings = bad(await probed(refused))
    assert [finding.subject for finding in findings] == ["ws1", "ws3"]
    assert findings[0].message == (
        "nas (10.20.0.20) does not answer ws1 for NFS: ConnectionRefusedError: [Errno 111] Connection refused"
    )


async def test_kernel_settings_that_cannot_be_written() -> None:
    def sysctl(host: str, question: ReadOutput) -> Output:
        if question.argv[0] == "sysctl":
            return Output(0, "net.ipv4.ip_forward = 0\nfs.inotify.max_user_instances = 65536\n", "")
        return healthy(host, question)

    finding = only(bad(await probed(sysctl, ws3={"writable_sysctls": False})))
    assert "net.ipv4.ip_forward=1" in finding.message
    assert "max_user_instances" not in finding.message
    assert "max_user_watches" in finding.message
