"""What fake hosts are taught, so that the catalog's steps find the programs that they use."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from deskside.hosts.fake import FakeHost
from deskside.model.artifact import Locked
from deskside.model.query import Output
from deskside.resources import firewall
from deskside.resources.artifacts import CTR
from deskside.resources.mounts import ask_mount_point, mount_point
from deskside.resources.objects import reference
from deskside.resources.release import KUBECTL


def teach_host_steps(host: FakeHost, lock: Mapping[str, Locked]) -> None:
    """What every step needs that is made without a cluster."""
    teach_containerd(host, lock)
    teach_mount_points(host)
    teach_firewall(host)
    host.effect("/usr/sbin/dnsmasq", "--test")
    for unit in ("systemd-networkd.service", "systemd-journald.service"):
        host.files.put(f"/usr/lib/systemd/system/{unit}", "[Install]\nWantedBy=multi-user.target\n")


def teach_containerd(host: FakeHost, lock: Mapping[str, Locked]) -> None:
    """Let `ctr` import archives and list images with their labels, once containerd runs."""
    images: dict[str, str] = {}
    running = "deskside-containerd.service"

    def listed(fake: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        if fake.units.answer(running)["active"] != "active":
            return Output(1, "", "no such socket")
        lines = [f"{name} type digest size platforms {labels}" for name, labels in images.items()]
        return Output(0, "\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *lines]), "")

    def imported(fake: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        digest = argv[-1].rpartition("/")[2]
        assert fake.files.exists(argv[-1]), "imported before it was sent"
        labels = ",".join(argv[place + 1] for place, word in enumerate(argv) if word == "--label")
        for locked in lock.values():
            if locked.sha256 == digest:
                images.update(dict.fromkeys(locked.references, labels))
        return Output(0, "", "")

    host.answer(*CTR, "images", "ls", says=listed)
    host.effect(*CTR, "images", "import", does=imported)


def teach_mount_points(host: FakeHost) -> None:
    """Let the host keep which folders are immutable."""
    asked, guarded = ask_mount_point("").argv[:-1], mount_point("").argv[:-1]
    immutable: set[str] = set()

    def guard(fake: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        immutable.add(argv[-1])
        return Output(0, "", "")

    def look(fake: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        return Output(0, f"----i---- {argv[-1]}" if argv[-1] in immutable else "absent", "")

    host.answer(*asked, says=look)
    host.effect(*guarded, does=guard)


def teach_firewall(host: FakeHost) -> None:
    """Let the host try rules, and keep them."""

    def keep(fake: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        content = fake.files.answer_path(firewall.TRIAL, True, False)["content"]
        fake.files.put(firewall.RULES, base64.b64decode(str(content)).decode())
        fake.answer(firewall.PROGRAM, "look", says=firewall.IN_STEP)
        return Output(0, "", "")

    host.answer(firewall.PROGRAM, "look", says="differs")
    host.effect(firewall.PROGRAM, "try")
    host.effect(firewall.PROGRAM, "keep", does=keep)


def teach_cluster(host: FakeHost) -> None:
    """Let the host serve a cluster that answers, and keeps the objects that are applied."""
    for path in ("/etc/kubernetes/admin.conf", KUBECTL[0], "/opt/deskside/bin/helm"):
        host.files.put(path, "", 0o755)

    def applied(fake: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        fake.cluster.objects.update({reference(item): item for item in json.loads(given)["items"]})
        return Output(0, "", "")

    host.effect(*KUBECTL, "apply", does=applied)
