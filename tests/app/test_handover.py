from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deskside.app import handover
from deskside.app.handover import (
    CLOSED_DOOR,
    DOOR_SECONDS,
    DROP_IN,
    SUDOERS,
    account_actions,
    door_actions,
    finish_undo_action,
    keep_action,
    public_key_line,
    remove_account_action,
    undo_action,
    undo_script,
)
from deskside.errors import SiteError
from deskside.model.action import Action, RunCommand, WriteFile
from steps.sites import make_site

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBYTzs3JbGyVSG8xMDSB2nF5Kq5o9t7pM3rXz9n3h5fC ops@desk"


def scripts() -> list[str]:
    actions: list[Action] = [
        *account_actions(make_site(), [KEY]),
        *door_actions(["a b"]),
        keep_action(),
        undo_action(),
        finish_undo_action(),
        remove_account_action("ubuntu"),
    ]
    found = [
        action.argv[2] for action in actions if isinstance(action, RunCommand) and action.argv[0] == "sh"
    ]
    return [*found, undo_script("ops")]


@pytest.mark.parametrize("text", scripts(), ids=range(len(scripts())))
def test_every_script_is_one_for_a_plain_shell(text: str) -> None:
    shell = shutil.which("dash") or "sh"
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_way_back_is_there_before_the_first_change() -> None:
    actions = account_actions(make_site(), [KEY])
    timer = actions.index(RunCommand(("systemctl", "restart", f"{handover.UNDO}.timer")))
    account = next(
        place
        for place, action in enumerate(actions)
        if isinstance(action, RunCommand) and "useradd" in " ".join(action.argv)
    )
    assert timer < account


@pytest.mark.parametrize("kept", ["adopt", "adopt-undoing"])
def test_what_an_unfinished_takeover_found_is_never_overwritten(tmp_path: Path, kept: str) -> None:
    snapshot = account_actions(make_site(), [KEY])[0]
    assert isinstance(snapshot, RunCommand)
    (tmp_path / kept).mkdir()
    (tmp_path / kept / "sshd").write_text("as it was")
    words = [str(tmp_path / "adopt"), "nobody-here", str(tmp_path / "drop-in"), str(tmp_path / "sudoers")]
    done = subprocess.run([*snapshot.argv[:4], *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds what an unfinished takeover found" in done.stderr
    assert (tmp_path / kept / "sshd").read_text() == "as it was"


def test_an_undo_that_lost_power_half_way_runs_on_from_where_it_lies() -> None:
    (service,) = [
        str(action.content)
        for action in account_actions(make_site(), [KEY])
        if isinstance(action, WriteFile) and action.path == handover.UNDO_UNITS[0]
    ]
    assert f"cd {handover.PLACE} 2>/dev/null || cd {handover.PLACE}-undoing" in service


def test_the_door_closes_only_once_the_way_back_is_half_a_minute_away() -> None:
    actions = door_actions(["permitrootlogin no"])
    timer = actions.index(RunCommand(("systemctl", "restart", f"{handover.UNDO}.timer")))
    assert timer < actions.index(WriteFile(DROP_IN, CLOSED_DOOR))
    assert isinstance(actions[0], WriteFile)
    assert f"OnActiveSec={DOOR_SECONDS}\n" in str(actions[0].content)
    last = actions[-1]
    assert isinstance(last, RunCommand)
    assert "reload" in last.argv[1], "looked at before it is taken up"


def test_the_rule_of_sudo_needs_nothing_that_sudo_rs_lacks() -> None:
    rule = account_actions(make_site(), [KEY])[-1]
    assert isinstance(rule, RunCommand)
    assert rule.argv[-1] == SUDOERS
    assert "." not in SUDOERS.rpartition("/")[2], "sudo reads no file with a dot in its name"
    assert rule.stdin == "# Written by Deskside.\nops ALL=(ALL:ALL) NOPASSWD: ALL\n"


def test_public_keys() -> None:
    assert public_key_line(f"# mine\n{KEY}\n", "a.pub") == KEY
    for text in ("", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", f"{KEY}\n{KEY}\n", "ssh-ed25519"):
        with pytest.raises(SiteError, match=r"a\.pub holds no SSH public key"):
            public_key_line(text, "a.pub")
