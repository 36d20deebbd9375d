from __future__ import annotations

import pytest

from deskside.model.action import MakeLink, RemovePath, RunCommand
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.query import Output, PathFound
from deskside.model.resource import Change
from deskside.resources.artifacts import (
    CTR,
    LIST_IMAGES,
    Archive,
    Binary,
    Images,
    UnpinnedImages,
    images_listed,
    normal_reference,
)
from deskside.resources.system import Unit

from .world import World, converge, planned, settled

SHA = "ab" * 32
KUBELET = Locked(Artifact("kubelet", "1.36.3", Kind.BINARY), SHA, 10, "recipe", "kubelet")
PLUGINS = Locked(Artifact("cni-plugins", "1.1.1", Kind.ARCHIVE), "cd" * 32, 10, "recipe", "cni.tgz")
PAUSE = Locked(
    Artifact("image-pause", "3.10", Kind.IMAGE), SHA, 900, "recipe", "x.tar", ("registry.k8s.io/pause:3.10",)
)
HUB = Locked(
    Artifact("image-hub", "4.4.0", Kind.IMAGE), "ef" * 32, 0, "upstream", "x", ("jupyterhub/k8s-hub:4.4.0",)
)

# As containerd 2.3.7's ctr printed it.
LISTING = """\
REF                        TYPE                                                 DIGEST                                                                  SIZE     PLATFORMS   LABELS
docker.io/deskside/hub:1   application/vnd.docker.distribution.manifest.v2+json sha256:07c9d2f4b92ee7a50f108df82739469ef9761e24bd3fca7cad69db714d5d558b 10.7 KiB linux/amd64 a=b
registry.k8s.io/pause:3.10 application/vnd.docker.distribution.manifest.v2+json sha256:34a1d642c0b4dd6d639dd3a46f5f9b6d87484a738eec4786a2f8b8e4e3daa612 10.7 KiB linux/amd64 deskside.archive=LABEL,io.cri-containerd.pinned=pinned
registry.k8s.io/other:1    application/vnd.docker.distribution.manifest.v2+json sha256:34a1d642c0b4dd6d639dd3a46f5f9b6d87484a738eec4786a2f8b8e4e3daa612 10.7 KiB linux/amd64 -
"""  # noqa: E501


def listed(text: str) -> World:
    return World(outputs={LIST_IMAGES.argv: Output(0, text, "")})


async def test_binary_is_stored_and_linked() -> None:
    world = World()
    binary = Binary(KUBELET, "/opt/deskside/bin/kubelet")
    change = await converge(binary, world)
    assert change.summary == f"install 1.36.3 ({SHA[:12]})"
    assert change.sends == (KUBELET,)
    assert world.paths["/opt/deskside/bin/kubelet"].target == f"/opt/deskside/store/{SHA}/kubelet"


async def test_binary_in_the_store_is_only_linked_and_a_damaged_one_installed_again() -> None:
    world = World()
    binary = Binary(KUBELET, "/opt/deskside/bin/kubelet")
    world.perform(await planned(binary, world))
    world.paths["/opt/deskside/bin/kubelet"] = PathFound("link", target="/opt/deskside/store/old/kubelet")
    change = await converge(binary, world)
    assert (change.summary, change.sends) == (f"link 1.36.3 ({SHA[:12]}), replacing what is there", ())
    world.paths[binary.stored] = PathFound("file", 0o755, "root", "root", size=3)
    assert (await converge(binary, world)).sends == (KUBELET,)


async def test_binary_inside_an_archive_is_not_compared_by_the_archives_size() -> None:
    wrapped = Locked(
        Artifact("helm", "4.3.1", Kind.ARCHIVE), SHA, 999, "upstream", "u", member="linux-amd64/helm"
    )
    world = World()
    binary = Binary(wrapped, "/opt/deskside/bin/helm")
    world.paths[binary.stored] = PathFound("file", 0o755, "root", "root", size=50)
    assert (await converge(binary, world)).sends == ()


async def test_archive_is_unpacked_and_linked() -> None:
    world = World()
    await converge(Archive(PLUGINS, "/opt/deskside/cni/bin"), world)
    assert world.paths["/opt/deskside/cni/bin"].target == f"/opt/deskside/store/{'cd' * 32}"


async def test_unit_restarts_when_its_binary_is_another_one() -> None:
    world = World()
    binary = Binary(KUBELET, "/opt/deskside/bin/kubelet")
    unit = Unit("kubelet.service", after=(binary,))
    world.perform(await planned(binary, world))
    world.perform(await planned(unit, world))
    assert await settled(unit, world)
    world.act(MakeLink(binary.path, binary.stored))
    assert (await converge(unit, world)).summary == "restart (its files changed)"


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("jupyterhub/k8s-hub:4.4.0", "docker.io/jupyterhub/k8s-hub:4.4.0"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("localhost/x", "localhost/x:latest"),
        ("nas:5000/x:1", "nas:5000/x:1"),
        ("quay.io/x@sha256:00", "quay.io/x@sha256:00"),
    ],
)
def test_normal_reference(short: str, full: str) -> None:
    assert normal_reference(short) == full


def test_images_listed() -> None:
    assert images_listed(LISTING) == {
        "docker.io/deskside/hub:1": {"a": "b"},
        "registry.k8s.io/pause:3.10": {"deskside.archive": "LABEL", "io.cri-containerd.pinned": "pinned"},
        "registry.k8s.io/other:1": {},
    }
    assert images_listed("REF TYPE DIGEST SIZE PLATFORMS LABELS \n") == {}
    assert images_listed("") == {}


async def test_image_is_imported_with_its_labels_and_the_staging_removed() -> None:
    change = await planned(Images(PAUSE), listed("REF TYPE\n"))
    staged = f"/var/lib/deskside/staging/{SHA}"
    labels = ("--label", "io.cri-containerd.pinned=pinned", "--label", f"deskside.archive={SHA[:16]}")
    assert change.summary == "import 3.10"
    assert change.sends == (PAUSE,)
    assert change.actions == (
        RunCommand((*CTR, "images", "import", *labels, staged), timeout=900.0),
        RemovePath(staged),
    )


async def test_image_waits_for_nothing_but_says_when() -> None:
    change = await planned(Images(PAUSE), World())
    assert change.summary == "import 3.10 after the container runtime is up"


async def test_image_of_another_archive_is_imported_again_and_ours_is_left() -> None:
    assert (await planned(Images(PAUSE), listed(LISTING))).summary == "import 3.10 again (another build)"
    assert await settled(Images(PAUSE), listed(LISTING.replace("LABEL", SHA[:16])))


async def test_image_that_lost_its_pin_is_pinned_again_without_an_import() -> None:
    loose = LISTING.replace("LABEL,io.cri-containerd.pinned=pinned", SHA[:16])
    change = await planned(Images(PAUSE), listed(loose))
    assert (change.summary, change.sends) == ("pin registry.k8s.io/pause:3.10", ())


async def test_upstream_image_is_pulled_by_digest_and_named() -> None:
    change = await planned(Images(HUB), listed("REF TYPE\n"))
    assert change.summary == "pull 4.4.0"
    assert change.sends == ()
    pull, tag, label = (action.argv[5:] for action in change.actions if isinstance(action, RunCommand))
    digest = f"docker.io/jupyterhub/k8s-hub@sha256:{'ef' * 32}"
    assert (pull[1], pull[-1]) == ("pull", digest)
    assert tag == ("images", "tag", "--force", digest, "docker.io/jupyterhub/k8s-hub:4.4.0")
    assert label[:3] == ("images", "label", "docker.io/jupyterhub/k8s-hub:4.4.0")


async def test_all_images_of_a_host_ask_one_and_the_same_question() -> None:
    assert LIST_IMAGES.wire() == LIST_IMAGES.wire()
    world = listed("REF TYPE\n")
    for locked in (PAUSE, HUB):
        await planned(Images(locked), world)
    assert list(world.outputs) == [LIST_IMAGES.argv]


async def test_images_that_the_lock_no_longer_names_are_unpinned() -> None:
    change = await planned(UnpinnedImages(("registry.k8s.io/pause:3.11",)), listed(LISTING))
    assert change.summary == "unpin registry.k8s.io/pause:3.10"
    assert isinstance(change, Change)
    assert await settled(UnpinnedImages(("registry.k8s.io/pause:3.10",)), listed(LISTING))
    assert await settled(UnpinnedImages(()), World())
