"""Mount units and the folders beneath them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskside.model.query import Output
from deskside.model.resource import Disruption
from deskside.resources.mounts import Mount, ask_mount_point, escaped_path, mount_point

from .world import World, converge, settled


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "-"),
        ("/var/lib/deskside/homes", "var-lib-deskside-homes"),
        ("//var//lib/", "var-lib"),
        ("/mnt/my-data", r"mnt-my\x2ddata"),
        ("/.hidden/.x", r"\x2ehidden-.x"),
        ("/a b/ä%", r"a\x20b-\xc3\xa4\x25"),
    ],
)
def test_escaped_path(path: str, name: str) -> None:
    assert escaped_path(path) == name


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="needs systemd-escape")
@settings(deadline=None, max_examples=25)  # each runs a program
@given(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cc", "Cs"]),
        min_size=1,
        max_size=12,
    )
)
def test_escaped_path_is_what_systemd_writes(text: str) -> None:
    path = f"/x/{text}/y"
    if {"..", "."} & set(path.split("/")):
        return
    argv = ["systemd-escape", "--path", path]
    told = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert escaped_path(path) == told.stdout.rstrip("\n")


async def test_mount_is_a_unit_that_no_boot_waits_for() -> None:
    world = World()
    mount = Mount("nas:/x", "/srv/my-x", "nfs", "softerr,_netdev")
    assert mount.file.path == "/etc/systemd/system/srv-my\\x2dx.mount"
    assert "WantedBy=remote-fs.target" in str(mount.file.content)
    change = await converge(mount, world)
    assert (change.summary, change.disruption) == ("mount nas:/x", Disruption.NONE)
    again = await converge(Mount("nas:/x", "/srv/my-x", "nfs", "hard,_netdev"), world)
    assert (again.summary, again.disruption) == (
        "mount nas:/x again (its options changed)",
        Disruption.DRAIN,
    )
    assert "+Options=hard,_netdev" in again.diff


async def test_mount_that_another_unit_starts_is_not_enabled() -> None:
    world = World()
    await converge(Mount("a:/x", "/x", "nfs", at_boot=False), world)
    assert [argv[1] for argv in world.ran] == ["daemon-reload", "restart"]


@pytest.mark.parametrize(
    ("said", "guarded"),
    [
        ("mounted\n", True),
        ("absent\n", False),
        ("--------------e------- /var/homes\n", False),
        ("----i---------e------- /var/homes\n", True),
        ("", True),
    ],
    ids=["mounted", "absent", "open", "immutable", "file system without attributes"],
)
async def test_mount_point_takes_nothing_while_nothing_is_mounted(said: str, guarded: bool) -> None:
    point = mount_point("/var/homes")
    world = World(outputs={ask_mount_point("/var/homes").argv: Output(0, said, "")})
    assert await settled(point, world) == guarded


def test_mount_point_on_this_machine(tmp_path: Path) -> None:
    """The question and the command as a host runs them; the attribute needs root and a fitting disk."""
    where = str(tmp_path / "homes")
    point = mount_point(where)

    def asked(path: str) -> Output:
        ran = subprocess.run(ask_mount_point(path).argv, capture_output=True, text=True, check=False)
        return Output(ran.returncode, ran.stdout, ran.stderr)

    assert asked("/proc").stdout == "mounted\n"
    assert asked(where).stdout == "absent\n"
    ran = subprocess.run(point.argv, capture_output=True, text=True, check=False)
    try:
        assert Path(where).is_dir()
        assert point.done(asked(where)) == (ran.returncode == 0)
    finally:
        subprocess.run(["chattr", "-i", where], capture_output=True, check=False)
