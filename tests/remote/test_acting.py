"""What a host does: artifacts that may not be trusted, packages whose manager is broken or busy."""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
from hashlib import sha256
from pathlib import Path

import pytest

from remote.onhost import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path / "root")
    (found.root / "opt").mkdir(parents=True)
    return found


def archive(*members: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        for member in members:
            member.size = 2 if member.isfile() else 0
            file.addfile(member, io.BytesIO(b"hi") if member.isfile() else None)
    return data.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o4777) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode, found.uid = kind, link, mode, 1234
    return found


def staged(host: Host, data: bytes) -> str:
    digest = sha256(data).hexdigest()
    place = host.root / f"var/lib/deskside/staging/{digest}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return digest


def install(host: Host, data: bytes, **more: str) -> Path:
    digest = staged(host, data)
    action = {"op": "install_artifact", "sha256": digest, "name": "tool", "kind": "archive", **more}
    host.act(action)
    return host.root / f"opt/deskside/store/{digest}"


def test_an_archive_is_unpacked_as_roots_without_special_bits(host: Host) -> None:
    data = archive(member("./"), member("./bin/tool"), member("lib", tarfile.SYMTYPE, "bin"))
    place = install(host, data)
    tool = (place / "bin/tool").stat()
    assert (tool.st_mode & 0o7777, tool.st_uid) == (0o755, os.geteuid())
    assert os.readlink(place / "lib") == "bin"
    assert not (host.root / f"var/lib/deskside/staging/{place.name}").exists()
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("/etc/outside"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "../../outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "../outside"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
)
def test_an_archive_that_reaches_outside_is_refused_whole(host: Host, bad: tarfile.TarInfo) -> None:
    with pytest.raises(host.program.ActionFailed, match="the archive has a"):
        install(host, archive(member("good"), bad))
    assert not [
        path for path in (host.root / "opt/deskside/store").iterdir() if not path.name.startswith(".")
    ]


def test_one_member_becomes_a_program(host: Host) -> None:
    place = install(host, archive(member("x-1/other"), member("./x-1/tool", mode=0o600)), member="x-1/tool")
    assert [path.name for path in place.iterdir()] == ["tool"]
    assert (place / "tool").stat().st_mode & 0o777 == 0o755
    with pytest.raises(host.program.ActionFailed, match="has no file y"):
        install(host, archive(member("z")), member="y")


def test_a_staged_file_with_another_digest_is_thrown_away(host: Host) -> None:
    digest = staged(host, b"good")
    place = host.root / f"var/lib/deskside/staging/{digest}"
    place.write_bytes(b"evil")
    with pytest.raises(host.program.ActionFailed, match="has another digest"):
        host.act({"op": "install_artifact", "sha256": digest, "name": "tool", "kind": "binary"})
    assert not place.exists()


INSTALLED = "Package: there\nStatus: install ok installed\nVersion: 1\n\n"


@pytest.fixture
def apt(host: Host) -> Path:
    """An apt and a dpkg that write down how they are called, and fail as `fails` says."""
    log = host.root / "calls"
    host.put("/var/lib/dpkg/status", INSTALLED)
    host.put("/var/lib/apt/lists/x_Packages")
    fails = f"[ -e {host.root}/fails-$1 ] && {{ cat {host.root}/fails-$1 >&2; exit 100; }}; exit 0"
    host.tool("apt-get", f'echo "apt-get $*" >> {log}\nfor last; do :; done\nset -- "$last"\n{fails}')
    host.tool(
        "dpkg", f'[ "$1" = --audit ] && {{ cat {host.root}/audit; exit 0; }}\necho "dpkg $*" >> {log}\nexit 0'
    )
    host.put("/audit")
    return log


def want(*names: str, patience: int = 0) -> dict[str, object]:
    return {"op": "install_packages", "names": list(names), "lock_timeout": patience}


def test_nothing_is_called_for_packages_that_are_there(host: Host, apt: Path) -> None:
    host.act(want("there"))
    assert not apt.exists()


def test_only_what_is_missing_is_installed_and_lists_are_fetched_when_old(host: Host, apt: Path) -> None:
    host.act(want("there", "new"))
    (call,) = apt.read_text().splitlines()
    assert call.endswith("--no-install-recommends install new")
    assert "--force-confold" in call
    old = time.time() - 2 * 86400
    os.utime(host.root / "var/lib/apt/lists", (old, old))
    apt.unlink()
    host.act(want("new"))
    assert [line.split()[-1] for line in apt.read_text().splitlines()] == ["update", "new"]
    apt.unlink()
    host.act(want("new"))
    assert len(apt.read_text().splitlines()) == 1


def test_f10_an_interrupted_dpkg_is_repaired_first(host: Host, apt: Path) -> None:
    host.put("/audit", "The following packages are only half configured\n")
    host.act(want("new"))
    calls = [" ".join(line.split()[:1] + line.split()[-2:]) for line in apt.read_text().splitlines()]
    assert calls == ["dpkg --configure -a", "apt-get --fix-broken install", "apt-get install new"]


def test_f9_a_held_lock_is_busy_and_the_holder_is_named(host: Host, apt: Path) -> None:
    host.put("/proc/812/cmdline", "/usr/bin/unattended-upgrade\0--now\0")
    says = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)"
    host.put("/fails-new", f"{says}\n")
    with pytest.raises(host.program.ActionBusy, match=r"held by process 812 \(/usr/bin/unattended-up"):
        host.act(want("new", patience=1))
    assert any("waiting for the package lock" in line for line in host.reports)
    assert "rm " not in apt.read_text()


def test_a_failed_install_tries_fresh_lists_once(host: Host, apt: Path) -> None:
    host.put("/fails-new", "E: Unable to locate package new\n")
    with pytest.raises(host.program.ActionFailed, match="Unable to locate package new"):
        host.act(want("new"))
    assert [line.split()[-1] for line in apt.read_text().splitlines()] == ["new", "update", "new"]


def test_progress_and_failures_show_no_content_and_no_input(host: Host) -> None:
    described = host.program.described
    assert described({"op": "write_file", "path": "/etc/x", "content": "c2VjcmV0"}) == "write file /etc/x"
    assert described({"op": "run_command", "argv": ["a", "b"], "stdin": "hidden"}) == "a b"
    assert described({"op": "apply_release", "name": "hub", "values": "hidden"}) == "apply release hub"


def test_an_unknown_action_and_an_unforeseen_error_are_sentences(host: Host) -> None:
    with pytest.raises(host.program.ActionFailed, match="knows no action 'fly'"):
        host.act({"op": "fly"})
    with pytest.raises(host.program.ActionFailed, match="there is no such account here: nobody-here:root"):
        host.act({"op": "write_file", "path": "/x", "content": "", "owner": "nobody-here"})


def test_a_child_left_behind_blocks_nobody_and_output_keeps_its_end(host: Host) -> None:
    start = time.monotonic()
    script = "sleep 20 & head -c 200000 /dev/zero | tr '\\0' x; echo end"
    result = host.act({"op": "run_command", "argv": ["sh", "-c", script]})
    assert time.monotonic() - start < 15
    text = str(result["stdout"])
    assert len(text) == 64 * 1024
    assert text.endswith("xend\n")


def test_a_unit_that_does_not_start_is_quoted(host: Host) -> None:
    """Of systemctl one learns only that it failed; what the unit said is what helps."""
    host.tool("systemctl", "echo 'Job for x.service failed.' >&2; exit 1")
    host.tool("journalctl", """[ "$6" = _SYSTEMD_UNIT=x.service ] && printf 'bad key\\n\\nat line 3\\n'""")
    said = "Job for x.service failed.; x.service said: bad key | at line 3"
    with pytest.raises(host.program.ActionFailed, match=re.escape(said)):
        host.act({"op": "run_command", "argv": ["systemctl", "restart", "x.service"]})
