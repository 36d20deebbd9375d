"""A small rack for real: up, SSH, reboot, power cut, cable, full disk, directory, homes, takeover, down."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deskside.errors import DesksideError, UsageError
from deskside.lab import hosts, kernel, rack
from deskside.lab.machine import kill_tree, this_machine
from deskside.lab.recipes import build, default_cache
from deskside.lab.spec import Layout, RackSpec, workstations

pytestmark = [
    pytest.mark.rack,
    pytest.mark.skipif(os.geteuid() != 0, reason="a rack needs root"),
]

NAME = "t-lab"
SPEC = RackSpec(NAME, workstations(1, 1, disk=4))
HOMES_UNIT = """\
[Unit]
After=network-online.target
Wants=network-online.target
[Mount]
What=nas.t-lab.example:/volume1/homes
Where=/srv/homes
Type=nfs
Options=rw,hard,nfsvers=4.1,noatime,_netdev
[Install]
WantedBy=multi-user.target
"""


def words(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def traces() -> dict[str, object]:
    """Everything that a rack may leave on a machine, other racks' left out."""
    ours = ("t-lab", "t_lab")

    def told(lines: list[str]) -> list[str]:
        return sorted(line for line in lines if any(one in line for one in ours))

    cgroups = [str(one) for one in Path("/sys/fs/cgroup").rglob("*t-lab*")]
    return {
        "links": told(words("ip", "-brief", "link").splitlines()),
        "rules": told(words("nft", "list", "ruleset").splitlines()),
        "mounts": told(Path("/proc/self/mountinfo").read_text().splitlines()),
        "loops": told(words("losetup", "--list", "--output", "NAME,BACK-FILE").splitlines()),
        "cgroups": cgroups,
        "run": told([str(one) for one in Path("/run").glob("*/**/*")]),
        "swaps": Path("/proc/swaps").read_text(),
        "processes": told([" ".join(cmdline(pid)) for pid in Path("/proc").glob("[0-9]*")]),
    }


def cmdline(process: Path) -> list[str]:
    try:
        return [
            one
            for one in (process / "cmdline").read_text().split("\0")
            if "deskside.lab" in one or "nspawn" in one
        ]
    except OSError:
        return []


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESKSIDE_RACKS", str(tmp_path_factory.mktemp("racks")))
        yield


async def trees() -> dict[str, Path]:
    built = await build(rack.BASES, cache=default_cache(), report=lambda _who, _line: None)
    return {name: Path(built[name].path) for name in rack.BASES}


def quiet(_who: str, _line: str) -> None:
    """Nobody reads it."""


@pytest.fixture(scope="module")
def found(_folder: None) -> Iterator[rack.Rack]:
    async def fresh() -> rack.Rack:
        await rack.down(NAME, quiet)
        return await rack.up(SPEC, await trees(), quiet)

    yield asyncio.run(fresh())
    asyncio.run(rack.down(NAME, quiet))


async def ssh(found: rack.Rack, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    argv = found.host(host).ssh_argv(command)
    argv[1:1] = ["-o", "ConnectTimeout=2", "-o", "BatchMode=yes"]
    return await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, check=False, timeout=30
    )


async def until(what: str, seconds: float, check: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.1)


async def boot_id(host: rack.Host) -> str:
    """Start time of the host's init; empty while the host is on its way down or up."""
    try:
        return (await host.run(["cat", "/proc/1/stat"])).out.split()[21]
    except (DesksideError, IndexError):
        return ""


async def test_hosts_are_as_an_installer_leaves_them(found: rack.Rack) -> None:
    seen = set()
    for host in found.hosts:
        said = await ssh(found, host.name, "sudo", "cat", "/etc/hostname", "/etc/machine-id")
        assert said.returncode == 0, said.stderr
        name, machine_id = said.stdout.split()
        assert name == host.name
        seen.add(machine_id)
        running = await host.run(["systemctl", "is-system-running"])
        assert running.out.strip() == "running"
    assert len(seen) == len(found.hosts)


async def test_network_address_hardware_address_and_neighbours(found: rack.Rack) -> None:
    layout, ws1 = found.layout, found.host("ws1")
    link = json.loads((await ws1.run(["ip", "-json", "address", "show", "host0"])).out)[0]
    assert link["address"] == layout.mac(ws1.spec.number)
    assert ws1.address in [one["local"] for one in link["addr_info"]]
    assert (await ws1.run(["ping", "-c1", "-W2", found.host("ws2").address])).code in (0, 127)
    other = f"exec 3<>/dev/tcp/{found.host('ws2').address}/22 && head -c4 <&3"
    assert (await ws1.run(["bash", "-c", other])).out == "SSH-"


async def test_the_clock_and_modules_are_out_of_reach(found: rack.Rack) -> None:
    before = time.time()
    assert (await ssh(found, "ws1", "sudo", "date", "--set=2020-01-01")).returncode != 0
    assert (await found.host("ws1").run(["date", "--set=2020-01-01"])).code != 0
    assert abs(time.time() - before) < 30


async def test_up_again_says_so_at_once(found: rack.Rack) -> None:
    lines: list[str] = []
    start = time.monotonic()
    await rack.up(SPEC, {}, lambda _who, line: lines.append(line))
    assert time.monotonic() - start < 1
    assert any("is up" in line for line in lines)


async def test_up_with_other_hosts_is_refused(found: rack.Rack) -> None:
    with pytest.raises(UsageError, match="other hosts"):
        await rack.up(RackSpec(NAME, workstations(3, 0)), {}, quiet)


async def test_the_directory_checks_names_and_passwords_over_tls(found: rack.Rack) -> None:
    top, server = found.layout.directory_root, "nas.t-lab.example"
    nas = found.host("nas")

    async def search(url: str, user: str, password: str, *more: str) -> str:
        argv = ["ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no", "-H", url, *more]
        argv += [
            "-D",
            f"uid={user},cn=users,{top}",
            "-y",
            "/dev/stdin",
            "-b",
            f"cn=groups,{top}",
            "(cn=ai)",
            "member",
        ]
        done = await nas.run(argv, stdin=password)
        return done.out + done.err

    ann, bob = ((found.folder / f"{user}.secret").read_text().strip() for user in ("ann", "bob"))
    members = await search(f"ldaps://{server}", "ann", ann)
    assert f"member: uid=ann,cn=users,{top}" in members
    assert f"member: uid=cyd,cn=users,{top}" in members
    assert "bob" not in members
    assert "member: uid=cyd" in await search(f"ldap://{server}", "bob", bob, "-ZZ")
    assert "Confidentiality required" in await search(f"ldap://{server}", "ann", ann)
    assert "Invalid credentials" in await search(f"ldaps://{server}", "ann", bob)
    argv = ["ldapwhoami", "-x", "-d1", "-H", "ldaps://127.0.0.1", "-D", f"uid=ann,cn=users,{top}", "-w", "x"]
    other_name = await nas.run(argv)
    assert not other_name.ok
    assert "does not match" in other_name.err
    anonymous = await nas.run(["ldapsearch", "-x", "-H", f"ldaps://{server}", "-b", top])
    assert "anonymous bind disallowed" in anonymous.err


async def test_homes_are_mounted_by_a_unit_and_after_a_reboot(found: rack.Rack) -> None:
    ws1, nas = found.host("ws1"), found.host("nas")
    await ws1.run(["tee", "-a", "/etc/hosts"], stdin=f"{nas.address} nas.t-lab.example nas\n")
    await ws1.run(["tee", "/etc/systemd/system/srv-homes.mount"], stdin=HOMES_UNIT)
    done = await ws1.run(["systemctl", "enable", "--now", "srv-homes.mount"])
    assert done.ok, done.err
    script = "cd /srv/homes; mkdir u; chown 1000:1000 u; chmod 700 u; su ops -c 'echo hi > u/f'"
    assert (await ws1.run(["sh", "-ec", script])).ok
    assert (await nas.run(["stat", "-c", "%u %g %a", "/volume1/homes/u", "/volume1/homes/u/f"])).out.split()[
        :3
    ] == [
        *("1000", "1000", "700"),
    ]
    refused = await ws1.run(["mount", "-t", "nfs", "nas.t-lab.example:/volume1/secret", "/mnt"])
    assert "access denied" in refused.err
    before = await boot_id(ws1)
    await ws1.run(["systemctl", "reboot"])

    async def rebooted() -> bool:
        return ws1.powered and await boot_id(ws1) not in ("", before)

    await asyncio.sleep(1)
    await until("ws1 did not come back", 30, rebooted)
    await ws1.wait_ready()
    assert (await ws1.run(["systemctl", "is-system-running"])).out.strip() == "running"
    assert (await ws1.run(["cat", "/srv/homes/u/f"])).out == "hi\n"
    assert (await ws1.run(["systemctl", "stop", "srv-homes.mount"])).ok
    assert not (await ws1.run(["mountpoint", "-q", "/srv/homes"])).ok


async def test_an_absent_nas_refuses_mounts(found: rack.Rack) -> None:
    await found.make_break("service", "nas", "nfs-exports.service")
    refused = await found.host("ws1").run(["mount", "-t", "nfs", "nas.t-lab.example:/volume1/homes", "/mnt"])
    assert "failed" in refused.err
    await found.mend()
    assert (
        await found.host("ws1").run(["mount", "-t", "nfs", "nas.t-lab.example:/volume1/homes", "/mnt"])
    ).ok
    assert (await found.host("ws1").run(["umount", "/mnt"])).ok


async def test_a_cut_cable_is_silence_and_stays_cut_over_a_reboot(found: rack.Rack) -> None:
    ws2 = found.host("ws2")
    await found.make_break("cable", "ws2")
    assert not await hosts.answers_ssh(ws2.address)
    assert (await rack.status(NAME)).breaks[0].kind == "cable"
    before = await boot_id(ws2)
    await ws2.run(["systemctl", "reboot", "--no-block"])

    async def rebooted() -> bool:
        return ws2.powered and await boot_id(ws2) not in ("", before)

    await asyncio.sleep(1)
    await until("ws2 did not come back", 30, rebooted)
    await asyncio.sleep(2)
    assert not await hosts.answers_ssh(ws2.address)
    await found.mend("cable", "ws2")
    await ws2.wait_ready()


async def test_a_power_cut_and_power_again(found: rack.Rack) -> None:
    ws2 = found.host("ws2")
    await ws2.run(["sh", "-c", "echo kept > /root/kept; sync /root/kept"])
    await found.make_break("power", "ws2")
    assert not ws2.powered
    assert not found.machine.processes(NAME, "ws2")
    assert await rack.is_up(NAME) is None
    await found.mend("power", "ws2")
    assert (await ws2.run(["cat", "/root/kept"])).out == "kept\n"
    assert await rack.is_up(NAME)


async def test_a_full_disk_is_the_hosts_own(found: rack.Rack) -> None:
    ws2 = found.host("ws2")
    taken = (await rack.status(NAME)).disk_bytes
    await found.make_break("disk", "ws2")
    full = await ws2.run(["dd", "if=/dev/zero", "of=/root/more", "bs=1M", "count=64"])
    assert "No space left" in full.err
    assert (await found.host("ws1").run(["dd", "if=/dev/zero", "of=/root/more", "bs=1M", "count=64"])).ok
    assert (await rack.status(NAME)).disk_bytes - taken < 300 * 2**20
    await found.mend("disk", "ws2")
    assert (await ws2.run(["dd", "if=/dev/zero", "of=/root/more", "bs=1M", "count=64"])).ok


async def test_a_service_and_a_file_are_broken_and_mended(found: rack.Rack) -> None:
    ws1 = found.host("ws1")
    was = await ws1.run(["sh", "-c", "stat -c '%a %U' /etc/hostname; cat /etc/hostname"])
    await found.make_break("file", "ws1", "/etc/hostname")
    await found.make_break("service", "ws1", "systemd-logind.service")
    assert "lab break" in (await ws1.run(["cat", "/etc/hostname"])).out
    assert (await ws1.run(["systemctl", "is-active", "systemd-logind"])).out.strip() == "inactive"
    assert len(await found.mend()) == 2
    assert (await ws1.run(["sh", "-c", "stat -c '%a %U' /etc/hostname; cat /etc/hostname"])).out == was.out
    assert (await ws1.run(["systemctl", "is-active", "systemd-logind"])).out.strip() == "active"


def kill_everything(layout: Layout) -> None:
    """As a machine's restart does: no process is left, but mounts, links, cgroups and rules are."""
    for host in layout.hosts:
        pid = (layout.place(host) / "supervisor.pid").read_text().strip()
        subprocess.run(["kill", "-KILL", pid], check=False)
    machine = this_machine()
    for host in layout.hosts:
        kill_tree(machine, layout.name, host.name)


async def test_up_takes_over_what_was_killed(found: rack.Rack) -> None:
    layout = found.layout
    await asyncio.to_thread(kill_everything, layout)
    subprocess.run(["ip", "link", "delete", layout.bridge], check=True)
    subprocess.run(["umount", layout.root(layout.host("ws2"))], check=True)
    assert await rack.is_up(NAME) is None
    again = await rack.up(SPEC, await trees(), quiet)
    assert (await ssh(again, "ws2", "cat", "/etc/hostname")).stdout == "ws2\n"


async def test_down_leaves_nothing(found: rack.Rack) -> None:
    alone = set(kernel.racks_here()) == {NAME}
    before = json.loads((kernel.RUN / kernel.RECORD).read_text())["settings"]
    await found.host("ws1").run(["sh", "-c", "echo 1 > /proc/sys/vm/overcommit_memory"])
    assert await rack.down(NAME, quiet)
    left = {kind: one for kind, one in traces().items() if one and kind != "swaps"}
    assert left == {}
    assert not found.folder.exists()
    if alone:
        now = kernel.settings()
        assert {name: now[name] for name in before if now.get(name) != before[name]} == {}
        assert not kernel.RUN.exists()
    else:
        # Another rack is up: the settings stay recorded until it goes.
        assert NAME not in kernel.racks_here()
    assert not await rack.down(NAME, quiet)
