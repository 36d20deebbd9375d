from __future__ import annotations

from pathlib import Path

import pytest

from cli.running import EXAMPLE, Runner


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which hosts?"),
        (("ws9=10.0.0.1",), "ws9 is no managed host of the site file"),
        (("nas=10.0.0.1",), "nas is no managed host"),
        (("ws1=10.0.0",), "ws1=10.0.0: '10.0.0' is no IPv4 address"),
        (("ws1=10.0.0.1", "ws2=10.0.0.1"), "10.0.0.1 is given to two hosts"),
        (("ws1=10.0.0.1", "ws1=10.0.0.2"), "ws1 is named twice"),
        (("ws1", "--fingerprint", "ws1=MD5:12"), "write HOST=SHA256:..."),
        (("ws1", "--fingerprint", "ws9=SHA256:a"), "no managed host is called ws9"),
    ],
)
def test_arguments_that_do_not_fit(deskside: Runner, words: tuple[str, ...], said: str) -> None:
    ran = deskside("-f", EXAMPLE, "adopt", "--user", "ubuntu", *words)
    assert ran.status == 2
    assert said in ran.err


def test_all_that_is_wrong_is_said_at_once(deskside: Runner) -> None:
    ran = deskside("-f", EXAMPLE, "adopt", "ws9=10.0.0.1", "ws1=x", "--fingerprint", "ws8=SHA256:a")
    assert ran.status == 2
    assert "who did the installer make?" in ran.err
    assert "ws9 is no managed host" in ran.err
    assert "'x' is no IPv4 address" in ran.err
    assert "no managed host is called ws8" in ran.err


def test_somebody_has_to_say_who_the_installer_made(deskside: Runner) -> None:
    ran = deskside("-f", EXAMPLE, "adopt", "ws1=192.0.2.1")
    assert ran.status == 2
    assert "admin.installer: {user: ubuntu}" in ran.err


def test_a_password_that_others_may_read_is_refused(deskside: Runner, tmp_path: Path) -> None:
    secret = tmp_path / "installer.secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)
    ran = deskside("-f", EXAMPLE, "adopt", "--user", "ubuntu", "ws1=192.0.2.1", "--password-file", secret)
    assert ran.status == 3
    assert "hunter2" not in ran.err
