"""Bad input and bad luck before anything is there: each ends in a sentence, a hint and its exit status."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deskside.app.certificates import make_authority
from deskside.lab import nas
from rack.platforms import PATIENCE, Ended, OnRack, assert_said_well, needs_root, until

pytestmark = [pytest.mark.rack, needs_root]

SUDO = "/etc/sudoers.d/ops"
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def refused(ended: Ended, *words: str) -> None:
    """An error with a hint, and in all that was said these words."""
    assert "error: " in ended.err
    assert "hint: " in ended.err, ended.err
    for word in words:
        assert word in ended.out + ended.err, f"{word!r} is not in\n{ended.out}{ended.err}"


def planned(ended: Ended) -> dict[str, int]:
    """Host -> number of changes, of `plan --json`."""
    counts: dict[str, int] = {}
    for node in ended.document["plan"]["nodes"]:
        counts[node["host"]] = counts.get(node["host"], 0) + len(node["changes"])
    return counts


def address(bare: OnRack, number: int) -> str:
    return f"{bare.rack.layout.prefix}{number}"


def test_a_host_that_cannot_be_reached_leaves_the_others_planned(bare: OnRack) -> None:
    with bare.broken("cable", "ws2"):
        ended = bare.deskside("plan", "--json", code=4)
        refused(ended, f"ws2 ({address(bare, 12)}) does not answer", "ping")
    assert planned(ended)["ws1"] > 10
    assert planned(bare.deskside("plan", "--json"))["ws2"] > 10


def test_sudo_that_refuses(bare: OnRack) -> None:
    bare.shell("ws2", f"mv {SUDO} /root/ops")
    try:
        ended = bare.deskside("plan", "--json", code=4)
    finally:
        bare.shell("ws2", f"mv /root/ops {SUDO}")
    refused(ended, "ops may not use sudo without a password on ws2", "NOPASSWD")
    assert planned(ended)["ws1"] > 10


def test_another_host_key_than_the_pinned_one(bare: OnRack) -> None:
    pins = bare.rack.layout.known_hosts
    before = pins.read_text()
    ws2, other = (
        next(line for line in before.splitlines() if line.startswith(name)) for name in ("ws2", "nas")
    )
    assert bare.deskside("trust").out.count("is pinned already") == 2
    log_ins = "journalctl --no-pager --unit ssh | grep --count Accepted || true"
    count = bare.shell("ws2", log_ins)
    pins.write_text(before.replace(ws2, f"{ws2.split()[0]} {' '.join(other.split()[1:])}"))
    try:
        ended = bare.deskside("plan", code=4)
        refused(bare.deskside("trust", code=2), "THE PINNED KEY WAS ANOTHER ONE", "--fingerprint ws2=SHA256:")
    finally:
        pins.write_text(before)
    refused(ended, "the host key of ws2", "has changed", "deskside trust")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=before, capture_output=True, text=True, check=True
    )
    prints = {line.split()[2].split(",")[0]: line.split()[1] for line in shown.stdout.splitlines()}
    assert set(FINGERPRINT.findall(ended.err)) >= {prints["ws2"], prints["nas"]}
    assert bare.shell("ws2", log_ins) == count, "it logged in nevertheless"


@pytest.mark.parametrize("kind", ["another", "leaf", "no certificate"])
def test_another_authority_of_the_directory(bare: OnRack, kind: str, tmp_path: Path) -> None:
    wrong = bare.rack.folder / "wrong-ca.pem"
    if kind == "another":
        make_authority("Somebody else", wrong, tmp_path / "key")
    elif kind == "leaf":
        wrong.write_bytes(nas.leaf(bare.rack.layout)[0])
    else:
        wrong.write_text("nothing of the kind\n")
    other = bare.with_site("wrong-ca", ("nas-ca.pem", "wrong-ca.pem"))
    said = {
        "another": "identity.ca.file: this authority did not sign the certificate",
        "leaf": "identity.ca.file holds a certificate that is no authority",
        "no certificate": "holds no PEM certificate",
    }
    refused(other.deskside("check", code=3 if kind == "no certificate" else 5), said[kind])


@contextmanager
def certificate(bare: OnRack, pair: tuple[bytes, bytes]) -> Iterator[None]:
    """The NAS's directory with another certificate."""
    before = bare.shell("nas", f"cat {nas.CERTIFICATE}"), bare.shell("nas", "cat /etc/ldap/tls/nas.key")

    def put(certificate: str, key: str) -> None:
        bare.run("nas", "tee", nas.CERTIFICATE, stdin=certificate)
        bare.run("nas", "tee", "/etc/ldap/tls/nas.key", stdin=key)
        bare.shell("nas", "systemctl restart slapd")

    put(pair[0].decode(), pair[1].decode())
    try:
        yield
    finally:
        put(*before)


def test_a_certificate_for_another_name_and_one_that_has_expired(bare: OnRack) -> None:
    with certificate(bare, nas.leaf(bare.rack.layout, "other.example")):
        refused(bare.deskside("check", code=5), "identity.server", "other.example")
    with certificate(bare, nas.leaf(bare.rack.layout, days=-1)):
        refused(bare.deskside("check", code=5), "the certificate has expired")


def test_a_wrong_base(bare: OnRack) -> None:
    top = f"dc={bare.rack.name}"
    other = bare.with_site("wrong-base", (f'base: "{top}', 'base: "dc=elsewhere'))
    refused(other.deskside("check", code=3), "identity.allow.group", "is not below the base dc=elsewhere")
    # Wrong throughout: this directory tells nobody without a password, so it is said that nothing is known.
    other = bare.with_site("wrong-base", (top, "dc=elsewhere"))
    findings = json.loads(other.deskside("check", "--json").out)
    (base,) = [one for one in findings if one["check"] == "directory base"]
    assert base["outcome"] == "warning"
    assert "dc=elsewhere" in base["message"]
    assert "deskside verify" in base["hint"]


@pytest.mark.parametrize("number", [10, 205])
def test_an_address_that_somebody_else_has(bare: OnRack, number: int) -> None:
    taken = address(bare, number)
    bare.shell("nas", f"ip address add {taken}/24 dev host0")
    try:
        ended = bare.deskside("check", code=5)
        plan = bare.deskside("apply", "--yes", code=5)
    finally:
        bare.shell("nas", f"ip address del {taken}/24 dev host0")
    field = "network.api" if number == 10 else "network.load_balancer"
    refused(ended, f"{taken} is in use", bare.rack.layout.mac(20), field)
    refused(plan, f"{taken} is in use")
    assert planned(bare.deskside("plan", "--json"))["ws1"] > 10, "apply went on nevertheless"


def test_a_port_that_is_taken(bare: OnRack) -> None:
    bare.shell("ws1", "systemd-run --quiet --unit=squatter python3 -m http.server 6443")
    try:
        listening = (
            "for n in $(seq 100); do ss -Hltn 'sport = :6443' | grep -q . && exit; sleep 0.1; done; exit 1"
        )
        bare.shell("ws1", listening)
        refused(
            bare.deskside("check", code=5), "port 6443 on ws1 is taken by python3", "kube-apiserver needs it"
        )
    finally:
        bare.shell("ws1", "systemctl stop squatter")


def test_a_disk_that_is_too_small(bare: OnRack) -> None:
    with bare.broken("disk", "ws2"):
        refused(bare.deskside("check", code=5), "ws2 has 0.0 GiB free", "4 GiB are needed")


def test_f21_two_hosts_with_one_machine_id(bare: OnRack) -> None:
    before, other = (bare.shell(host, "cat /etc/machine-id") for host in ("ws2", "ws1"))
    bare.run("ws2", "cp", "/dev/stdin", "/etc/machine-id", stdin=other)
    try:
        refused(
            bare.deskside("check", code=5), "ws1 and ws2 have the same machine-id", "systemd-machine-id-setup"
        )
    finally:
        bare.run("ws2", "cp", "/dev/stdin", "/etc/machine-id", stdin=before)


def test_flags_files_and_a_site_that_is_held(bare: OnRack) -> None:
    assert "--nonsense" in bare.deskside("plan", "--nonsense", code=2).err
    refused(bare.deskside("apply", code=2), "there is no terminal to ask on", "--yes")
    broken = bare.with_site("broken", ("roles: [worker]", "roles: [wroker]"))
    refused(broken.deskside("plan", code=3), "broken.yaml:", "worker")
    absent = OnRack(bare.rack, bare.logs, bare.rack.folder / "absent.yaml")
    refused(absent.deskside("plan", code=3), "absent.yaml")
    folder = bare.logs / "state/deskside/sites" / bare.rack.layout.domain
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(bare.deskside("apply", "--yes", code=7), "another run", "4711")


def test_a_person_who_says_no(bare: OnRack) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        bare.argv("apply"),
        env=bare.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        os.write(ours, b"n\n")
        out = process.communicate(timeout=PATIENCE)[0]
        with_rest = said + os.read(ours, 4096)
    os.close(ours)
    assert_said_well(out + with_rest.decode())
    assert process.returncode == 1
    assert planned(bare.deskside("plan", "--json"))["ws1"] > 10


def test_f7_two_people_at_once_and_one_of_them_dies(bare: OnRack, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    elsewhere = {**bare.environment, "XDG_STATE_HOME": str(tmp_path)}  # another person's machine
    with subprocess.Popen(
        bare.argv("apply"), env=bare.environment, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs
    ) as first:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        second = subprocess.run(
            bare.argv("apply", "--yes"), env=elsewhere, capture_output=True, text=True, check=False
        )
        assert second.returncode == 7, second
        assert_said_well(second.stdout + second.stderr)
        assert re.search(r"ws1 is held by \S+ on \S+: deskside apply since 20", second.stderr), second.stderr
        assert f"process {first.pid}" in second.stderr
        assert planned(bare.deskside("plan", "--json"))["ws1"] > 10  # who looks is not refused
        first.kill()
        first.wait()
    os.close(ours)
    free = ("flock", "--nonblock", "--shared", "/run/deskside/lease", "true")
    until("the lease of a dead owner ends", 20, lambda: bare.run("ws1", *free, check=False).ok)


def test_ctrl_c_finishes_what_runs_and_a_rerun_goes_on(bare: OnRack) -> None:
    before = bare.changes()
    log = bare.log(("apply", "interrupted"))
    with log.open("w") as file:
        process = subprocess.Popen(
            # Who runs the tests in the background has told them to ignore Ctrl-C.
            ["env", "--default-signal=INT", *bare.argv("apply", "--yes", "--json")],
            env=bare.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            end = time.monotonic() + PATIENCE
            # The plan comes first and names everything: only an event says that work has begun.
            while '"status": "running"' not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE)
        finally:
            process.kill()
    said = log.read_text()
    assert_said_well(said)
    assert code == 130, said
    assert "stopping: what runs is finished first" in said
    events = [json.loads(line) for line in said.splitlines() if line.startswith('{"event": "NodeChanged"')]
    begun = {event["node"] for event in events if event["status"] == "running"}
    ended = {event["node"] for event in events if event["status"] == "done"}
    assert begun == ended != set()
    after = bare.changes()
    assert set() < after < before
    assert {step.split("@")[0] for step in begun} <= {"baseline"}


@pytest.fixture
def unnamed(bare: OnRack) -> Iterator[OnRack]:
    """The first server can ask a directory and does not know the NAS by name: nothing was applied yet."""
    install = "apt-get -qq update && apt-get -qq install -y --no-install-recommends ldap-utils >/dev/null"
    bare.shell("ws1", f"command -v ldapsearch >/dev/null || {{ {install}; }}")
    bare.shell("ws1", "cp /etc/hosts /root/hosts.kept; sed -i '/ nas/d' /etc/hosts")
    yield bare
    bare.shell("ws1", "cat /root/hosts.kept > /etc/hosts; rm /root/hosts.kept")


def test_a_look_at_the_directory_as_an_account_of_it(unnamed: OnRack) -> None:
    bare = unnamed
    top = bare.rack.layout.directory_root

    def looked(name: str, code: int, *changes: tuple[str, str], secret: str = "ann") -> list[dict[str, str]]:
        bind = f'  bind: {{dn: "uid=ann,cn=users,{top}", password: {{file: {secret}.secret}}}}\n'
        other = bare.with_site(name, ("  kind: ldap\n", f"  kind: synology\n{bind}"), *changes)
        ended = other.deskside("check", "--json", code=code)
        found: list[dict[str, str]] = json.loads(ended.out)
        return [one for one in found if one["check"] == "directory account"]

    (unknown,) = looked("bind-unknown", 0)
    assert unknown["outcome"] == "warning"
    assert "does not know the server's name yet" in unknown["message"]
    nas = bare.rack.host("nas").address
    bare.shell("ws1", f"echo {nas} nas.{bare.rack.layout.domain} nas >> /etc/hosts")
    (well,) = looked("bind-well", 0)
    assert well["outcome"] == "ok"
    (refusal,) = looked("bind-wrong", 5, secret="bob")
    assert "refuses the password" in refusal["message"]
    found = looked("bind-typo", 5, (top, top.replace("dc=", "dc=x", 1)))
    assert any("identity.base" in one["hint"] for one in found) or "refuses" in found[0]["message"]
    (group,) = looked("bind-group", 5, ("cn=ai,cn=groups", "cn=ia,cn=groups"))
    assert group["hint"] == "identity.allow.group"
    (users,) = looked("bind-users", 5, ("cn=users,{base}", "cn=people,{base}"))
    assert "identity.user_dn" in users["hint"]
