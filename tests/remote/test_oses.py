"""Each release that a plug-in serves: raw files of such a host in, its facts out, and a plan on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from addons.sites import CA, locked_artifacts
from deskside.app.workspace import Workspace
from deskside.catalog import all_oses, make_platform, os_of, steps_for
from deskside.engine.graph import make_graph
from deskside.engine.planner import NodePlan, make_plan
from deskside.hosts.fake import FakeHost, bare_facts
from deskside.model.action import WriteFile
from deskside.model.facts import Facts
from deskside.model.platform import Given
from deskside.model.query import Json
from remote.onhost import Host

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/site.yaml"


@dataclass(frozen=True)
class Release:
    """What a freshly installed host of a release holds, as far as Deskside looks."""

    os: str
    version: str
    codename: str
    release: str
    """/etc/os-release."""
    units: str
    """What systemctl lists of the units that are watched."""
    cloud_init: bool = False
    desktop: bool = False

    @property
    def name(self) -> str:
        return f"{self.os}-{self.version}{'-desktop' if self.desktop else ''}"


def ubuntu(version: str, codename: str, title: str, *, desktop: bool = False) -> Release:
    text = f"""\
PRETTY_NAME="Ubuntu {version} LTS"
NAME="Ubuntu"
VERSION_ID="{version}"
VERSION="{version} LTS ({title})"
VERSION_CODENAME={codename}
ID=ubuntu
ID_LIKE=debian
HOME_URL="https://www.ubuntu.com/"
SUPPORT_URL="https://help.ubuntu.com/"
BUG_REPORT_URL="https://bugs.launchpad.net/ubuntu/"
PRIVACY_POLICY_URL="https://www.ubuntu.com/legal/terms-and-policies/privacy-policy"
UBUNTU_CODENAME={codename}
"""
    unit = "NetworkManager" if desktop else "systemd-networkd"
    units = f"{unit}.service loaded active running Network\n"
    return Release("ubuntu", version, codename, text, units, cloud_init=True, desktop=desktop)


def debian(version: str, codename: str) -> Release:
    text = f"""\
PRETTY_NAME="Debian GNU/Linux {version} ({codename})"
NAME="Debian GNU/Linux"
VERSION_ID="{version}"
VERSION="{version} ({codename})"
VERSION_CODENAME={codename}
ID=debian
HOME_URL="https://www.debian.org/"
SUPPORT_URL="https://www.debian.org/support"
BUG_REPORT_URL="https://bugs.debian.org/"
"""
    # The installer leaves ifupdown, which is neither.
    return Release("debian", version, codename, text, "")


RELEASES = (
    debian("12", "bookworm"),
    debian("13", "trixie"),
    ubuntu("22.04", "jammy", "Jammy Jellyfish"),
    ubuntu("24.04", "noble", "Noble Numbat"),
    ubuntu("24.04", "noble", "Noble Numbat", desktop=True),
    ubuntu("26.04", "resolute", "Resolute Raccoon"),
)


def installed(root: Path, release: Release) -> Host:
    """A folder that looks like a fresh installation."""
    host = Host(root)
    host.put("/etc/os-release", release.release)
    host.put("/etc/hostname", "ws1\n")
    host.put("/proc/sys/kernel/hostname", "ws1\n")
    host.put("/proc/1/status", "CapBnd:\t000001ffffffffff\n")
    host.put("/proc/swaps", "Filename Type Size Used Priority\n/swap.img file 4194300 0 -2\n")
    host.put("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    host.put("/proc/sys/kernel/panic", "0\n")
    host.tool("systemctl", f"printf '{release.units}'")
    host.tool("ip", "echo '[]'")
    if release.cloud_init:
        host.put("/etc/cloud/cloud.cfg", "preserve_hostname: false\n")
    if release.desktop:
        host.put("/etc/systemd/system/display-manager.service")
    (host.root / "usr/lib/systemd/system").mkdir(parents=True, exist_ok=True)
    (host.root / "usr/lib/systemd/system/default.target").symlink_to("graphical.target")
    return host


def facts_of(root: Path, release: Release) -> dict[str, Json]:
    """Raw facts, as the remote program finds them."""
    return dict(cast("dict[str, Json]", installed(root, release).read({"op": "facts", "paths": ["/"]})))


def test_every_release_of_every_plug_in_is_tried_here() -> None:
    assert {(one.os, one.version) for one in RELEASES} == {
        (system.id, version) for system in all_oses() for version in system.versions
    }


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_facts_of_a_fresh_installation(release: Release, tmp_path: Path) -> None:
    facts = Facts.from_raw(facts_of(tmp_path, release))
    assert (facts.os_id, facts.os_version, facts.os_codename) == (
        release.os,
        release.version,
        release.codename,
    )
    assert facts.desktop == release.desktop, "servers have the graphical target too"
    assert (facts.networkd, facts.network_manager) == (
        "networkd" in release.units,
        "NetworkManager" in release.units,
    )
    assert facts.cloud_init == release.cloud_init
    assert (facts.cgroup, facts.swap, facts.modules_shared) == (2, ("/swap.img",), False)
    system = os_of(facts)
    assert system is not None
    assert system.id == release.os


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
async def test_a_plan_on_a_fresh_installation(release: Release, tmp_path: Path) -> None:
    baseline = await planned(tmp_path, release)
    subjects = {change.subject for change in baseline.changes}
    assert ("file /etc/cloud/cloud.cfg.d/99-zz-deskside.cfg" in subjects) == release.cloud_init
    assert ("unit NetworkManager.service" in subjects) == release.desktop
    assert ("masked hibernate.target" in subjects) == release.desktop
    assert "swap" not in subjects, "the kubelet copes with swap on cgroup v2"
    assert {"block site in /etc/hosts", "sysctls baseline", "kernel modules"} <= subjects


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
async def test_security_updates_come_from_the_releases_own_origin(release: Release, tmp_path: Path) -> None:
    updates = await planned(tmp_path, release, "security_updates")
    assert updates.changes[0].summary == "install unattended-upgrades"
    written = [action for change in updates.changes for action in change.actions]
    texts = [str(action.content) for action in written if isinstance(action, WriteFile)]
    origins = [line.strip() for text in texts for line in text.splitlines() if '"origin=' in line]
    assert all(line.startswith(f'"origin={release.os.capitalize()}') for line in origins)
    assert origins
    assert all("-security" in line for line in origins)


async def planned(root: Path, release: Release, step: str = "baseline") -> NodePlan:
    """The plan of a step for ws1, which is such a host; the others are Debian 12."""
    workspace = Workspace.open(EXAMPLE)
    hosts = {
        spec.name: FakeHost(spec.name, facts=bare_facts(spec.name, str(spec.address)))
        for spec in workspace.site.managed_hosts
    }
    raw = facts_of(root, release)
    kept = ("interfaces", "modules", "disks", "kubernetes", "capabilities", "hostname", "machine_id")
    hosts["ws1"].facts.update({key: value for key, value in raw.items() if key not in kept})
    facts = {name: Facts.from_raw({**host.facts, "hostname": name}) for name, host in hosts.items()}
    lock = locked_artifacts(workspace.train)
    platform = make_platform(workspace.site, workspace.train, lock, facts, Given(CA))
    assert platform.hosts["ws1"].os.id == release.os
    chosen = [one for one in steps_for(platform) if one.name in ("baseline", step)]
    plan = await make_plan(make_graph(chosen, platform), workspace.site, platform, hosts)
    assert not plan.failures
    assert not hosts["ws1"].writes
    return next(node for node in plan.nodes if node.node == f"{step}@ws1")
