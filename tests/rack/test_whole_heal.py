"""Three things break on the finished platform: the plan names exactly these, apply heals them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deskside.resources.artifacts import ARCHIVE_KEY, CTR, PIN_KEY
from deskside.steps.storage import HOMES
from rack.platforms import OnRack, needs_root

pytestmark = [pytest.mark.rack, needs_root]

FILE = "/etc/deskside/cni/net.d/10-deskside.conflist"
UNIT = "deskside-pod-network.service"


@pytest.fixture(autouse=True)
def healed(platform: OnRack) -> Iterator[None]:
    """What a test that failed has left broken is no other test's matter."""
    yield
    if platform.changes():
        platform.deskside("apply", "--yes")


def replicas(platform: OnRack) -> int:
    found = json.loads(platform.kubectl("get", "deployment", "hub", "-n", "jupyterhub", "-o", "json"))
    return int(found["spec"]["replicas"])


def test_a_file_a_unit_and_an_object_are_named_and_healed(platform: OnRack) -> None:
    before = platform.shell("ws2", f"stat -c '%a %u' {FILE}; cat {FILE}")
    with platform.broken("file", "ws2", FILE), platform.broken("service", "ws3", UNIT):
        platform.kubectl("scale", "deployment", "hub", "-n", "jupyterhub", "--replicas=0")
        # A kubelet may have seen already that its host's network is broken; then apply waits for that node.
        assert platform.changes() - {("ws1", "nodes")} == {
            ("ws2", f"file {FILE}"),
            ("ws3", f"unit {UNIT}"),
            ("ws1", "release jupyterhub/jupyterhub"),
        }
        said = platform.deskside("plan", "--exit-code", "-v", code=10).out
        assert "-# edited by: deskside lab break file" in said
        assert "restore" in said
        # The same break proves a check of the acceptance test: nobody answers.
        platform.kubectl(
            "wait", "--for=delete", "pod", "-n", "jupyterhub", "-l", "component=hub", "--timeout=120s"
        )
        found = {one["check"]: one["outcome"] for one in platform.deskside("verify", "--json", code=5).lines}
        assert [found.pop(name) for name in ("names", "directory", "address")] == ["ok", "ok", "failed"]
        assert set(found.values()) == {"not run"}
        platform.deskside("apply", "--yes")
        assert platform.shell("ws2", f"stat -c '%a %u' {FILE}; cat {FILE}") == before
        assert platform.shell("ws3", f"systemctl is-active {UNIT}").strip() == "active"
        assert replicas(platform) == 1
        platform.deskside("plan", "--exit-code")
    assert platform.changes() == set()


def test_a_saved_plan_holds_where_nothing_moved_and_nowhere_else(platform: OnRack, tmp_path: Path) -> None:
    kept = tmp_path / "lab.plan"
    before = {name: platform.shell(name, f"cat {FILE}") for name in ("ws2", "ws3")}
    for name in before:
        platform.shell(name, f"echo '# somebody was here' >> {FILE}")
    said = platform.deskside("plan", "--out", str(kept))
    assert f"deskside apply {kept}" in said.out
    assert kept.stat().st_mode & 0o777 == 0o600
    # Somebody goes on meanwhile: what would be lost is not what was shown.
    platform.shell("ws3", f"echo '# and left a note' >> {FILE}")
    ended = platform.deskside("apply", str(kept), "--yes", code=6)
    assert f"pod_network@ws3: file {FILE}" in ended.out
    assert '"write (1 line differs)" was approved, now it is "write (2 lines differ)"' in ended.err
    assert f"deskside plan --out {kept}" in ended.out + ended.err
    assert platform.shell("ws2", f"cat {FILE}") == before["ws2"]
    assert platform.shell("ws3", f"cat {FILE}").endswith("# somebody was here\n# and left a note\n")
    platform.deskside("plan", "--out", str(kept))
    platform.deskside("apply", str(kept), "--yes")
    assert platform.shell("ws3", f"cat {FILE}") == before["ws3"]
    assert platform.changes() == set()
    kept.write_text(kept.read_text().replace("somebody", "nobody"))
    assert "was changed after Deskside wrote it" in platform.deskside("apply", str(kept), code=2).err


def test_a_worker_without_the_nas_writes_nothing_to_its_own_disk(platform: OnRack) -> None:
    unit = platform.shell("ws2", f"systemd-escape --path --suffix=mount {HOMES}").strip()
    platform.shell("ws2", f"touch {HOMES}/on-the-nas && systemctl stop {unit}")
    assert not platform.run("ws2", "mkdir", f"{HOMES}/ann", check=False).ok
    assert platform.changes() == {("ws2", f"mount {HOMES}")}
    platform.deskside("apply", "--yes")
    assert platform.changes() == set()
    platform.shell("ws2", f"rm {HOMES}/on-the-nas")


def test_an_image_that_is_wanted_no_longer_is_left_to_the_kubelet(platform: OnRack) -> None:
    """As after an upgrade: an image that Deskside once imported, of which the lock knows nothing."""
    old, pinned = "example.org/once-imported:1", f"{PIN_KEY}=pinned"
    present = platform.run("ws3", *CTR, "images", "ls", "-q", "name~=pause").out.split()[0]
    platform.run("ws3", *CTR, "images", "tag", present, old)
    platform.run("ws3", *CTR, "images", "label", old, pinned, f"{ARCHIVE_KEY}=of-another-lock")
    try:
        assert platform.changes() == {("ws3", "images no longer wanted")}
        platform.deskside("apply", "--yes")
        assert pinned not in platform.run("ws3", *CTR, "images", "ls", f"name=={old}").out
        assert pinned in platform.run("ws3", *CTR, "images", "ls", f"name=={present}").out
        assert platform.changes() == set()
    finally:
        platform.run("ws3", *CTR, "images", "rm", old)
