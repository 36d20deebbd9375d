"""The acceptance test fails when what it checks is broken: each check is broken once, for real.

The check `address` is broken in `test_whole_heal.py`. What a test changed it puts back.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from rack.platforms import PATIENCE, OnRack, assert_said_well, needs_root

pytestmark = [pytest.mark.rack, needs_root]

STARTUP = "/volume1/homes/ann/.ipython/profile_default/startup/00-broken.py"
HOMES = "/var/lib/deskside/homes"
WRONG_HUB = """\
  values:
    hub:
      config:
        JupyterHub: {authenticator_class: dummy}
        Authenticator: {allow_all: true}
    singleuser:
      profileList: [{display_name: Another desk, default: true}]
"""


def outcomes(platform: OnRack, code: int = 5) -> Mapping[str, str]:
    """Check -> outcome, of a run that must end with that status."""
    found = platform.deskside("verify", "--json", code=code).lines
    for one in found:
        assert one["message"]
        assert one["hint"] or one["outcome"] != "failed"
    return {one["check"]: one["outcome"] for one in found}


@contextmanager
def other_hub(platform: OnRack) -> Iterator[OnRack]:
    """A hub that lets anybody in, with another list of desks: by the escape hatch of the site file."""
    profiles = re.search(r"(?m)^  profiles:\n", platform.site_file.read_text())
    assert profiles
    other = platform.with_site("wrong-hub", (profiles[0], WRONG_HUB + profiles[0]))
    other.deskside("apply", "--yes")
    try:
        yield other
    finally:
        platform.deskside("apply", "--yes")
        assert platform.changes() == set()


@pytest.fixture(autouse=True)
def _as_found(platform: OnRack) -> Iterator[None]:
    yield
    assert "SchedulingDisabled" not in platform.kubectl("get", "nodes")
    assert desks(platform) == []


def desks(platform: OnRack) -> list[str]:
    found = platform.kubectl(
        "get", "pods", "-n", "jupyterhub", "-l", "component=singleuser-server", "-o", "name"
    )
    return found.split()


def test_a_directory_that_is_off_fails_every_check_of_a_password(platform: OnRack) -> None:
    with platform.broken("service", "nas", "slapd.service"):
        found = outcomes(platform)
    assert found["address"] == "ok"
    password = ("directory", "wrong password", "outsider", "log in")
    assert [found[name] for name in password] == ["failed"] * 4
    assert {found[name] for name in ("profiles", "desk", "cell", "home", "firewall elsewhere")} == {"not run"}


def test_a_hub_that_lets_anybody_in_and_offers_other_desks(platform: OnRack) -> None:
    with other_hub(platform) as other:
        found = outcomes(other)
    assert [found[name] for name in ("wrong password", "outsider", "log in", "profiles")] == [
        *("failed", "failed"),
        *("ok", "failed"),
    ]
    assert {found[name] for name in ("desk", "cell", "home", "firewall elsewhere")} == {"not run"}


def test_an_outsider_with_a_wrong_password_and_a_desk_that_may_not_start(platform: OnRack) -> None:
    other = platform.with_site("wrong-outsider", ("{file: bob.secret}", "{file: cyd.secret}"))
    platform.kubectl("create", "quota", "none", "-n", "jupyterhub", "--hard=pods=0")
    try:
        # The quota counts once its controller has seen what is there.
        wanted = "jsonpath={.status.hard.pods}"
        platform.kubectl("wait", "quota", "none", "-n", "jupyterhub", f"--for={wanted}=0", "--timeout=60s")
        found = outcomes(other)
    finally:
        platform.kubectl("delete", "quota", "none", "-n", "jupyterhub")
    assert [found[name] for name in ("wrong password", "outsider", "profiles")] == ["ok", "failed", "ok"]
    assert [found[name] for name in ("desk", "cell", "home")] == ["failed", "not run", "not run"]


def test_a_kernel_that_prints_nothing(platform: OnRack) -> None:
    text = "import builtins\nbuiltins.print = lambda *_, **__: None\n"
    platform.run("nas", "install", "-D", "-m", "644", "/dev/stdin", STARTUP, stdin=text)
    try:
        found = outcomes(platform)
    finally:
        platform.run("nas", "rm", STARTUP)
    assert [found[name] for name in ("desk", "cell", "home")] == ["ok", "failed", "not run"]


def test_homes_that_are_not_shared(platform: OnRack) -> None:
    hosts = ("ws2", "ws3")
    for host in hosts:
        platform.shell(host, f"mount -t tmpfs -o mode=755 not-the-nas {HOMES}")
    try:
        found = outcomes(platform)
    finally:
        for host in hosts:
            platform.shell(host, f"umount {HOMES}")
    assert [found[name] for name in ("desk", "cell", "home")] == ["ok", "ok", "failed"]
    assert platform.changes() == set()


def test_everything_is_put_back_after_ctrl_c(platform: OnRack) -> None:
    log = platform.log(("verify", "interrupted"))
    with log.open("w") as file:
        process = subprocess.Popen(
            # Who runs the tests in the background has told them to ignore Ctrl-C.
            ["env", "--default-signal=INT", *platform.argv("verify")],
            env=platform.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            end = time.monotonic() + PATIENCE
            while "SchedulingDisabled" not in platform.kubectl("get", "nodes"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE)
        finally:
            process.kill()
    assert_said_well(log.read_text())
    assert code == 130, log.read_text()
    nodes = json.loads(platform.kubectl("get", "nodes", "-o", "json"))["items"]
    assert not [node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")]
