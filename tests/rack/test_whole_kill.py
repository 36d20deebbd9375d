"""From bare hosts to a finished platform, killed once inside every step."""

from __future__ import annotations

import pytest

from rack.kills import BringUp
from rack.platforms import OnRack, needs_root
from rack.watching import Watch

pytestmark = [pytest.mark.rack, needs_root]

IDLE = {"directory", "host_login", "join_servers", "records"}
"""Steps with nothing to do on this rack: one server, a name server of its own, and the NAS's directory."""


def test_a_bring_up_is_killed_inside_every_step_and_ends(platform: OnRack, brought: BringUp) -> None:
    print(f"{brought.runs} runs, {brought.seconds:.0f} s, seed {brought.seed}")
    assert brought.steps - brought.worked == IDLE
    assert brought.killed == brought.worked
    assert brought.runs > 5
    assert platform.deskside("plan", "--exit-code", "--json").document["plan"]["changes"] == 0


def test_no_program_of_it_was_called_with_a_secret(platform: OnRack, programs: Watch) -> None:
    names = {line.split(" ")[0].rpartition("/")[2] for line in programs.lines()}
    assert {"kubeadm", "kubelet", "apt-get", "systemd-run"} <= names
    files = list(platform.rack.folder.rglob("*.secret"))
    assert len(files) > 3
    assert programs.holding(file.read_text().strip() for file in files) == []
