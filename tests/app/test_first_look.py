from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from deskside.app.first_look import QUESTIONS, first_look, things
from deskside.app.handover import sudo_rule
from deskside.errors import CheckFailed
from deskside.hosts.fake import FakeHost
from deskside.model.query import Json, Output
from deskside.model.takeover import Fate, Thing
from deskside.resources.disks import DataDisk
from deskside.site.schema import Site
from steps.sites import make_site

OPEN = "permitrootlogin without-password\npasswordauthentication yes\nkbdinteractiveauthentication no\n"
CLOSED = "permitrootlogin no\npasswordauthentication no\nkbdinteractiveauthentication no\n"
KEYS = ("ssh-ed25519 AAAA ops@desk", "ssh-ed25519 BBBB ops@laptop")
PUBKEY = "pubkeyauthentication yes\n"
PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
ubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
SYSTEM_DISK: dict[str, object] = {
    "name": "/dev/nvme0n1",
    "type": "disk",
    "size": 512 << 30,
    "fstype": None,
    "mountpoint": None,
    "children": [
        {"name": "/dev/nvme0n1p1", "type": "part", "fstype": "vfat", "mountpoint": "/boot/efi"},
        {
            "name": "/dev/nvme0n1p3",
            "type": "part",
            "fstype": "LVM2_member",
            "mountpoint": None,
            "children": [{"name": "/dev/mapper/vg-root", "type": "lvm", "fstype": "ext4", "mountpoint": "/"}],
        },
    ],
}


def disk(**more: object) -> dict[str, object]:
    return {"name": "/dev/sda", "type": "disk", "size": 2 << 40, "fstype": "ext4", "mountpoint": None} | more


def machine(
    facts: Mapping[str, Json] | None = None, disks: tuple[dict[str, object], ...] = (), **says: str
) -> FakeHost:
    """A fresh Ubuntu; `says` is what programs print, by the names of the questions."""
    told = {
        "accounts": PASSWD,
        "sshd": OPEN + PUBKEY,
        "ufw": "Status: inactive\n",
        "disks": json.dumps({"blockdevices": [SYSTEM_DISK, *disks]}),
        **says,
    }
    host = FakeHost("ws1", facts={"os_id": "ubuntu", "os_version": "24.04", **(facts or {})})
    for name, question in QUESTIONS.items():
        host.answer(*question.argv, says=Output(0, told[name], "") if name in told else Output(127, "", ""))
    return host


async def found(
    host: FakeHost, site: Site | None = None, *, entered: str = "ubuntu"
) -> dict[str, list[Thing]]:
    site = site or make_site()
    look = await first_look(host)
    assert host.writes == 0
    by_what: dict[str, list[Thing]] = {}
    for thing in things(site, site.host("ws1"), look, KEYS, entered=entered, installer="ubuntu"):
        by_what.setdefault(thing.what, []).append(thing)
    return by_what


async def test_a_fresh_machine_is_looked_at_in_two_rounds() -> None:
    host = machine()
    told = await found(host)
    assert {what: [thing.fate for thing in each] for what, each in told.items()} == {
        "admin": [Fate.CHANGED],
        "sshd": [Fate.CHANGED],
        "account": [Fate.CHANGED],
    }
    assert host.round_trips == 2


def taken_over(*keys: str, sudo: str = sudo_rule("ops"), name: str = "ops") -> FakeHost:
    """A machine with the site's account and a closed door."""
    passwd = PASSWD if name == "ubuntu" else PASSWD + f"{name}:x:1001:1001::/home/{name}:/bin/bash\n"
    host = machine(accounts=passwd, sshd=CLOSED + PUBKEY, sudo=sudo)
    host.files.put(f"/home/{name}/.ssh/authorized_keys", "".join(f"{key}\n" for key in keys))
    return host


async def test_a_machine_that_was_taken_over_has_nothing_to_change() -> None:
    told = await found(taken_over(*KEYS), entered="ops")
    assert not [thing for each in told.values() for thing in each if thing.fate is Fate.CHANGED]


async def test_a_key_that_the_site_file_gained_is_given_to_a_machine_that_was_taken_over() -> None:
    (thing,) = (await found(taken_over(KEYS[0]), entered="ops"))["admin"]
    assert thing.message == "the account ops is there; it gets 1 of the site's 2 keys"


async def test_an_installers_user_that_is_the_sites_account_is_told_what_it_gets() -> None:
    site = make_site(admin={"user": "ubuntu", "installer": {"user": "ubuntu"}})
    told = await found(machine(), site, entered="ubuntu")
    wanted = "the account ubuntu is there; it gets the site's keys and sudo without a password"
    assert told["admin"][0].message == wanted
    assert "account" not in told
    told = await found(taken_over(*KEYS, sudo="", name="ubuntu"), site, entered="ubuntu")
    assert told["admin"][0].message == "the account ubuntu is there; it gets sudo without a password"


async def test_a_server_that_answers_nothing_is_not_taken_for_closed() -> None:
    assert "sshd" in await found(machine(sshd=""))


async def test_people_without_a_key_are_told_about() -> None:
    host = machine()
    assert "at the machine only" in (await found(host))["account"][0].message
    host.files.put("/home/ubuntu/.ssh/authorized_keys", "ssh-ed25519 AAAA ubuntu\n")
    assert (await found(host))["account"][0].fate is Fate.KEPT


async def test_the_installers_account_is_said_to_go_when_it_will() -> None:
    site = make_site(admin={"user": "ops", "installer": {"user": "ubuntu", "keep": False}})
    (thing,) = (await found(machine(), site))["installer"]
    assert thing.message.startswith("the installer's account ubuntu is removed with /home/ubuntu")


async def test_what_is_in_use_is_kept_and_what_is_in_the_way_must_go() -> None:
    host = machine(
        {"listeners": [{"protocol": "tcp", "address": "0.0.0.0", "port": 6443, "program": "k3s-server"}]},
        containers="4f5a\n77b1\n9c2d\n",
        ufw="Status: active\n\nTo Action From\n",
        cuda="/usr/local/cuda-12.4/bin/cuda-uninstaller\n",
        driver="/usr/bin/nvidia-uninstall\n",
    )
    host.facts["kubernetes"] = {"foreign": "k3s"}
    for unit in ("docker.service", "containerd.service", "firewalld.service"):
        host.files.put(f"/usr/lib/systemd/system/{unit}", "[Service]\n")
        host.units.systemctl(("start", unit))
    told = await found(host)
    fates = {what: each[0].fate for what, each in told.items()}
    assert {what for what, fate in fates.items() if fate is Fate.MUST_GO} == {
        *("ufw", "firewalld", "driver", "kubernetes", "ports")
    }
    assert {what for what, fate in fates.items() if fate is Fate.KEPT} == {"docker", "containerd", "cuda"}
    assert "3 running containers" in told["docker"][0].message
    assert "CUDA from a runfile in /usr/local/cuda-12.4;" in told["cuda"][0].message
    assert all(thing.hint for each in told.values() for thing in each if thing.fate is Fate.MUST_GO)


async def test_data_disks_are_kept_and_the_systems_are_no_finding() -> None:
    (thing,) = (await found(machine(disks=(disk(mountpoint="/srv/data"),))))["disk"]
    assert (thing.fate, thing.message) == (Fate.KEPT, "the disk /dev/sda (ext4, 2048 GiB) at /srv/data")
    assert "disk" not in await found(machine(disks=(disk(fstype=None),)))


async def test_a_disk_that_apply_would_refuse_is_told_now() -> None:
    hosts = [spec.model_dump(mode="json") for spec in make_site().hosts]
    hosts[0]["data"] = {"device": "/dev/sda", "serial": "S3R1AL"}
    site = make_site(hosts=hosts)
    full = disk(serial="S3R1AL", uuid="0000-somebody")
    assert (await found(machine(disks=(full,)), site))["disk"][0].fate is Fate.MUST_GO
    ours = disk(serial="S3R1AL", uuid=DataDisk("/dev/sda", "S3R1AL").uuid)
    assert (await found(machine(disks=(ours,)), site))["disk"][0].fate is Fate.KEPT


async def test_another_system_is_refused_with_what_would_be_needed() -> None:
    with pytest.raises(CheckFailed, match=r"ws1 runs fedora 43, which is not supported") as refused:
        await first_look(machine({"os_id": "fedora", "os_version": "43", "os_name": ""}))
    assert "ubuntu 22.04/24.04/26.04; a new one is one file in oses/" in refused.value.hint
