from __future__ import annotations

from dataclasses import replace

import pytest

from deskside.model.action import InstallPackages
from deskside.model.query import Output, PathFound, ReadOutput, UnitFound
from deskside.model.resource import Disruption
from deskside.resources.command import Command
from deskside.resources.disks import DataDisk
from deskside.resources.files import File
from deskside.resources.packages import Packages
from deskside.resources.system import (
    Hostname,
    Masked,
    Modules,
    Sysctls,
    Unit,
)

from .world import World, converge, planned, settled


async def test_f10_packages_name_only_what_is_missing() -> None:
    world = World(packages={"kmod": "30"})
    change = await converge(Packages(("kmod", "socat", "conntrack")), world)
    assert change.summary == "install socat, conntrack"
    assert change.actions == (InstallPackages(("socat", "conntrack")),)
    assert Packages(("a", "b", "c", "d")).subject == "packages a, b, c and 1 more"


async def test_sysctls_write_the_file_and_the_live_values() -> None:
    world = World(sysctls={"net.ipv4.ip_forward": "0"})
    wanted = Sysctls("x", {"net.ipv4.ip_forward": "1", "kernel.panic": "10"})
    change = await converge(wanted, world)
    assert change.summary == (
        "set net.ipv4.ip_forward = 1 (is 0), set kernel.panic = 10 (is not there), write the file (new)"
    )
    world.sysctls["kernel.panic"] = "0"
    assert (await converge(wanted, world)).summary == "set kernel.panic = 10 (is 0)"


async def test_f29_a_higher_inotify_limit_is_left_alone() -> None:
    key = "fs.inotify.max_user_instances"
    world = World(sysctls={key: "65536"})
    wanted = Sysctls("x", {key: "8192"}, at_least=frozenset({key}))
    world.write(wanted.file.path, str(wanted.file.content))
    assert await settled(wanted, world)
    world.sysctls[key] = "128"
    assert (await converge(wanted, world)).summary == f"set {key} = 8192 (is 128)"


async def test_modules_are_loaded_now_and_at_boot() -> None:
    change = await converge(Modules(("overlay", "br_netfilter"), present=("overlay",)), World())
    assert change.summary == "load br_netfilter, write the file (new)"


async def test_hostname() -> None:
    world = World(sysctls={"kernel.hostname": "ubuntu"})
    assert (await converge(Hostname("ws1"), world)).summary == "set to ws1 (is ubuntu)"
    world.sysctls["kernel.hostname"] = "ws9"
    await converge(Hostname("ws1"), world)


CONFIG = File("/etc/thing.conf", "a = 1\n")


async def test_unit_that_is_stopped_is_enabled_and_started_without_disruption() -> None:
    world = World(units={"thing.service": UnitFound("loaded", "inactive", "disabled", 0.0, False)})
    change = await converge(Unit("thing.service"), world)
    assert change.summary == "enable, start (inactive)"
    assert change.disruption is Disruption.NONE
    assert world.ran == [("systemctl", "enable", "thing.service"), ("systemctl", "start", "thing.service")]


async def test_unit_that_is_not_there_yet_is_planned_and_reloads_systemd() -> None:
    file = File("/etc/systemd/system/thing.service", "[Service]\n")
    world = World()
    change = await planned(Unit("thing.service", after=(file,)), world)
    assert change.summary == "enable, start (inactive)"
    assert [action.argv[1] for action in change.actions] == ["daemon-reload", "enable", "restart"]  # type: ignore[attr-defined]


def running(started: float, **changes: object) -> UnitFound:
    return replace(UnitFound("loaded", "active", "enabled", started, False), **changes)  # type: ignore[arg-type]


async def test_unit_is_restarted_when_its_file_is_about_to_change() -> None:
    world = World(units={"thing.service": running(500.0)})
    world.write(CONFIG.path, "a = 0\n", mtime=1.0)
    change = await planned(Unit("thing.service", after=(CONFIG,)), world)
    assert (change.summary, change.disruption) == ("restart (its files changed)", Disruption.RESTART)
    world.perform(await planned(CONFIG, world))
    await converge(Unit("thing.service", after=(CONFIG,)), world)


async def test_unit_is_restarted_when_it_started_before_its_file_was_written() -> None:
    # What a run that died between the two actions leaves behind.
    world = World(units={"thing.service": running(500.0)})
    world.write(CONFIG.path, "a = 1\n", mtime=500.5)
    assert await settled(CONFIG, world)
    change = await converge(Unit("thing.service", after=(CONFIG,)), world)
    assert world.ran == [("systemctl", "restart", "thing.service")]
    assert change.disruption is Disruption.RESTART


async def test_unit_that_reloads_is_not_disturbed_and_remembers_the_reload() -> None:
    world = World(units={"thing.service": running(500.0)})
    world.write(CONFIG.path, "a = 1\n", mtime=600.0)
    change = await converge(Unit("thing.service", after=(CONFIG,), reload=True), world)
    assert change.disruption is Disruption.NONE
    assert world.ran == [("systemctl", "reload-or-restart", "thing.service")]


async def test_unit_that_is_started_takes_up_a_drop_in_that_systemd_has_not_heard_of() -> None:
    # What a run that died between the two actions leaves behind, of a unit that was known before.
    drop_in = File("/etc/systemd/system/thing.service.d/80-deskside.conf", "[Unit]\n")
    world = World(units={"thing.service": UnitFound("loaded", "inactive", "enabled", 0.0, False)})
    world.write(drop_in.path, "[Unit]\n", mtime=500.5)
    await converge(Unit("thing.service", after=(drop_in,)), world)
    assert [argv[1] for argv in world.ran] == ["daemon-reload", "start"]


async def test_f17_systemd_is_not_reloaded_to_start_a_unit_that_it_knows() -> None:
    world = World(units={"thing.service": UnitFound("loaded", "inactive", "enabled", 0.0, False)})
    world.write(CONFIG.path, "a = 1\n", mtime=500.5)
    await converge(Unit("thing.service", after=(CONFIG,)), world)
    assert [argv[1] for argv in world.ran] == ["start"]


async def test_unit_edited_behind_systemds_back_is_reloaded() -> None:
    world = World(units={"thing.service": running(500.0, needs_reload=True)})
    change = await converge(Unit("thing.service"), world)
    assert (change.summary, change.disruption) == ("reload systemd", Disruption.NONE)


async def test_failed_masked_and_unwanted_units() -> None:
    world = World(units={"thing.service": running(500.0, active="failed")})
    await converge(Unit("thing.service"), world)
    assert [argv[1] for argv in world.ran] == ["reset-failed", "start"]
    world = World(units={"thing.service": running(0.0, active="inactive", load="masked", enabled="masked")})
    change = await converge(Unit("thing.service"), world)
    assert change.summary == "unmask, enable, start (inactive)"
    world = World(units={"thing.service": running(500.0)})
    change = await converge(Unit("thing.service", enabled=False, running=False), world)
    assert (change.summary, change.disruption) == ("disable, stop", Disruption.RESTART)


async def test_masked() -> None:
    world = World(units={"sleep.target": UnitFound("loaded", "inactive", "static", 0.0, False)})
    assert (await converge(Masked("sleep.target"), world)).summary == "mask"


async def test_command_runs_until_it_is_done() -> None:
    question = ReadOutput(("swapon", "--show=NAME"))
    command = Command(
        "swap",
        ("swapoff", "-a"),
        asks=question,
        done=lambda found: found.status == 0 and not found.stdout,
        summary="switch swap off",
        disruption=Disruption.DRAIN,
    )
    world = World(outputs={question.argv: Output(0, "/dev/sda2", "")})
    change = await planned(command, world)
    assert (change.subject, change.summary, change.disruption) == (
        "swap",
        "switch swap off",
        Disruption.DRAIN,
    )
    world.outputs[question.argv] = Output(0, "", "")
    assert await settled(command, world)


DISK = DataDisk("/dev/nvme1n1", "S3R1AL")


def lsblk(**fields: object) -> Output:
    import json

    disk = {"path": "/dev/nvme1n1", "serial": "S3R1AL", "type": "disk", "fstype": None, "pttype": None}
    return Output(0, json.dumps({"blockdevices": [{**disk, "uuid": None, **fields}]}), "")


async def test_blank_disk_with_the_typed_serial_is_formatted_after_a_last_look() -> None:
    world = World(outputs={DISK.question.argv: lsblk()})
    change = await planned(DISK, world)
    assert change.summary == "format as ext4 (blank, serial number S3R1AL)"
    look, make, _ = change.actions
    assert (look.argv, look.ok) == (("blkid", "--probe", "/dev/nvme1n1"), (2,))  # type: ignore[attr-defined]
    assert make.argv[0] == "mkfs.ext4"  # type: ignore[attr-defined]
    assert DISK.uuid in make.argv  # type: ignore[attr-defined]
    world.outputs[DISK.question.argv] = lsblk(fstype="ext4", uuid=DISK.uuid)
    assert await settled(DISK, world)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"serial": "OTHER"}, "has the serial number OTHER, not S3R1AL"),
        ({"serial": None}, "has the serial number (none)"),
        ({"fstype": "ext4", "uuid": "0-1"}, "is not blank (it has ext4)"),
        ({"fstype": "LVM2_member"}, "is not blank (it has LVM2_member)"),
        ({"pttype": "gpt"}, "is not blank (it has gpt)"),
        ({"children": [{"path": "/dev/nvme1n1p1"}]}, "is not blank (it has partitions)"),
        ({"type": "part"}, "is no whole disk but a part"),
    ],
)
async def test_any_other_disk_is_never_formatted(fields: dict[str, object], words: str) -> None:
    from deskside.errors import StepFailed

    world = World(outputs={DISK.question.argv: lsblk(**fields)})
    with pytest.raises(StepFailed) as raised:
        await DISK.plan(world)  # type: ignore[arg-type]
    assert words in raised.value.message


async def test_a_disk_that_is_not_there_is_refused() -> None:
    assert "is not there" in DISK.objection(Output(32, "", "lsblk: /dev/nvme1n1: not a block device"))


def test_directories_do_not_restart_units() -> None:
    found = PathFound("directory", mtime=9e9)
    unit = Unit("thing.service", after=(CONFIG,))
    world = World()
    world.write(CONFIG.path, "a = 1\n", mtime=1.0)
    file = world.answer(CONFIG.reads[0])
    assert isinstance(file, PathFound)
    assert unit.difference((running(500.0), file)) is None
    assert found.kind == "directory"
