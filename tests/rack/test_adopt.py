"""First contact on real hosts: taken over by key, and put back by themselves whenever anything goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from deskside.app.handover import DROP_IN, PLACE, SUDOERS, UNDO
from deskside.steps.names import LEASES
from rack.platforms import OnRack, needs_root, until

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(400, func_only=True)]

HOST = "ws2"
PASSWORD = "correct horse"
FRESH = f"""
id installer >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups sudo installer
echo 'installer:{PASSWORD}' | chpasswd
rm -f /etc/sudoers.d/ops {SUDOERS} {DROP_IN} /etc/ssh/sshrc
[ ! -e /etc/ssh/sshd_config.of-the-package ] || mv /etc/ssh/sshd_config.of-the-package /etc/ssh/sshd_config
if id ops >/dev/null 2>&1; then userdel --force --remove ops 2>/dev/null; fi
hostnamectl set-hostname debian
printf '127.0.0.1\\tlocalhost\\n127.0.1.1\\tdebian\\n' > /etc/hosts
systemctl restart ssh
"""
"""What an installer leaves: a person who may use sudo with a password, which SSH takes too."""
KEPT = "cp -p /etc/ssh/sshd_config /etc/ssh/sshd_config.of-the-package"
WHAT_THERE_IS = """
find /etc /opt /home /root /usr/local /var/lib/deskside -xdev -type f -print0 2>/dev/null |
    sort -z | xargs -0 sha256sum
systemctl list-unit-files --no-legend --no-pager
"""


def as_installed(rack: OnRack, host: str) -> None:
    """What an installer would have done, done at the host's console."""
    rack.shell(host, FRESH)


@pytest.fixture
def fresh(contacted: OnRack) -> OnRack:
    """The host as its installer left it, and a site file that says so."""
    as_installed(contacted, HOST)
    secret = contacted.rack.folder / "installer.secret"
    secret.touch(0o600)
    secret.write_text(f"{PASSWORD}\n")
    return contacted.with_site(
        "adopt", ("admin: {user: ops,", "admin: {user: ops, installer: {user: installer},")
    )


def adopted(rack: OnRack, *words: str, code: int = 0) -> dict[str, Any]:
    """What the command says of the host."""
    secret = str(rack.rack.folder / "installer.secret")
    ended = rack.deskside("adopt", HOST, "--password-file", secret, "--json", *words, code=code)
    if not ended.out:
        return {"error": ended.err}
    (found,) = ended.document["hosts"]
    assert isinstance(found, dict)
    return found


async def _gets_in(rack: OnRack, user: str, **how: Any) -> bool:
    address, end = rack.rack.host(HOST).address, time.monotonic() + 20
    given: dict[str, Any] = {"client_keys": None, "agent_path": None, "known_hosts": None, "config": None}
    while True:
        try:
            async with asyncssh.connect(address, username=user, **{**given, **how}):
                return True
        except asyncssh.PermissionDenied:
            return False
        except ConnectionRefusedError:
            # A server that reads its settings anew listens to nobody for a moment.
            assert time.monotonic() < end, "nobody listens"
            await asyncio.sleep(0.1)


def by_key(rack: OnRack, user: str = "ops") -> bool:
    """Whether the site's key opens that account."""
    return asyncio.run(_gets_in(rack, user, client_keys=[str(rack.rack.layout.key)]))


def by_password(rack: OnRack, user: str = "installer") -> bool:
    """Whether the installer's password opens that account, in either way that SSH takes passwords."""
    return asyncio.run(_gets_in(rack, user, password=PASSWORD))


def ways_in(rack: OnRack) -> list[str]:
    """How the server offers to let the installer's user in; nothing while it listens to nobody."""
    try:
        return list(
            asyncio.run(asyncssh.get_server_auth_methods(rack.rack.host(HOST).address, 22, "installer"))
        )
    except ConnectionRefusedError:
        return []


def assert_as_before(rack: OnRack) -> None:
    """The installer's user gets in and is root by sudo, and nothing of ours is left."""
    assert by_password(rack)
    assert not by_key(rack)
    left = rack.shell(
        HOST, f"ls -d {DROP_IN} {SUDOERS} {PLACE}* /home/ops 2>/dev/null || :; id -u ops 2>/dev/null || :"
    )
    assert left == ""
    units = rack.shell(HOST, f"systemctl list-units --all --no-legend '{UNDO}*'; ls /etc/systemd/system/")
    assert UNDO not in units
    asked = f"echo '{PASSWORD}' | runuser -u installer -- sudo -k -S -p '' id -u"
    assert rack.shell(HOST, asked).strip() == "0"


def test_a_fresh_host_is_taken_over_by_key(fresh: OnRack) -> None:
    found = adopted(fresh, "--yes")
    assert found["outcome"] == "adopted"
    changed = {thing["what"] for thing in found["things"] if thing["fate"] == "changed"}
    assert changed == {"hostname", "admin", "sshd", "account"}
    assert by_key(fresh)
    assert not by_password(fresh)
    fresh.shell(HOST, "install -d -m 700 /root/.ssh && cp /home/ops/.ssh/authorized_keys /root/.ssh/")
    assert not by_key(fresh, "root"), "root's own key opens nothing"
    fresh.shell(HOST, "rm -r /root/.ssh")
    domain = fresh.rack.layout.domain
    assert fresh.shell(HOST, "hostname; hostname -f").split() == [HOST, f"{HOST}.{domain}"]
    assert fresh.shell(HOST, f"ls -d {PLACE}* 2>/dev/null || :") == ""
    before = fresh.shell(HOST, WHAT_THERE_IS)
    again = adopted(fresh, "--yes")
    assert again["outcome"] == "already"
    assert fresh.shell(HOST, WHAT_THERE_IS) == before


def test_a_key_that_the_site_file_gained_is_given_by_adopting_again(fresh: OnRack) -> None:
    assert adopted(fresh, "--yes")["outcome"] == "adopted"
    second = asyncssh.generate_private_key("ssh-ed25519")
    (fresh.rack.folder / "second.pub").write_bytes(second.export_public_key())
    key = f"keys: [{fresh.rack.layout.key.name}.pub"
    more = fresh.with_site(
        "second-key",
        ("admin: {user: ops,", "admin: {user: ops, installer: {user: installer},"),
        (key, f"{key}, second.pub"),
    )
    assert not asyncio.run(_gets_in(fresh, "ops", client_keys=[second]))
    found = adopted(more, "--yes")
    assert found["outcome"] == "adopted"
    assert {thing["what"] for thing in found["things"] if thing["fate"] == "changed"} == {"admin"}
    assert asyncio.run(_gets_in(fresh, "ops", client_keys=[second]))
    assert by_key(fresh)
    assert not by_password(fresh)
    assert adopted(more, "--yes")["outcome"] == "already"


def typed_at_a_terminal(argv: list[str], answers: dict[str, str]) -> tuple[str, int]:
    """Run a command on a terminal of its own; to each question its answer. What was shown, exit status."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(argv[0], argv)
    shown, left = "", dict(answers)
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other end was closed
            break
        shown += data.decode(errors="replace")
        for question in [question for question in left if question in shown]:
            os.write(terminal, f"{left.pop(question)}\n".encode())
    assert not left, f"never asked: {left}\n{shown}"
    return shown, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_person_types_one_password_for_all_hosts(fresh: OnRack) -> None:
    # A key of the person's own opens the account on one of them; sudo wants the password all the same.
    as_installed(fresh, "ws1")
    key = fresh.rack.layout.key.with_suffix(".pub").read_text().strip()
    keys = f"mkdir -p ~/.ssh && echo '{key}' > ~/.ssh/authorized_keys"
    fresh.shell("ws1", f'runuser -u installer -- sh -c "cd; HOME=/home/installer; {keys}"')
    answers = {"Password of installer on the hosts": PASSWORD, "Take over ws1, ws2?": "y"}
    shown, status = typed_at_a_terminal(fresh.argv("adopt", "ws1", "ws2"), answers)
    assert status == 0, shown
    assert shown.count("Password of") == 1
    assert PASSWORD not in shown
    for name in ("ws1", "ws2"):
        assert f"{name}: is taken over: it lets in keys only" in shown
        assert fresh.shell(name, "hostname -f").strip() == f"{name}.{fresh.rack.layout.domain}"
    assert by_key(fresh)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_person_who_says_no_has_changed_nothing(fresh: OnRack, words: tuple[str, ...]) -> None:
    answers = {"Password of installer on the hosts": PASSWORD, f"Take over {HOST}?": "n"}
    shown, status = typed_at_a_terminal(fresh.argv("adopt", HOST, *words), answers)
    assert status == 1
    listed, asked = shown.index("SSH lets in more than keys"), shown.index(f"Take over {HOST}?")
    assert listed < asked
    assert "declined; nothing was changed" in shown
    assert_as_before(fresh)


def test_the_installers_account_goes_where_the_site_file_says_so(fresh: OnRack) -> None:
    gone = fresh.with_site(
        "gone", ("admin: {user: ops,", "admin: {user: ops, installer: {user: installer, keep: false},")
    )
    gone.site_file.write_text(gone.site_file.read_text().replace("installer: {user: installer}, ", ""))
    assert adopted(gone, "--yes")["outcome"] == "adopted"
    assert fresh.shell(HOST, "id -u installer 2>/dev/null || ls -d /home/installer 2>/dev/null || :") == ""
    assert by_key(fresh)
    assert adopted(gone, "--yes")["outcome"] == "already"


def test_a_key_that_nobody_pinned_is_asked_for(fresh: OnRack) -> None:
    pins = Path(fresh.rack.layout.known_hosts)
    kept = pins.read_text()
    address = fresh.rack.host(HOST).address
    try:
        pins.write_text("".join(f"{line}\n" for line in kept.splitlines() if address not in line))
        said = adopted(fresh, "--yes", code=2)["error"]
        assert f"--fingerprint {HOST}=SHA256:" in said
        wrong = adopted(fresh, "--yes", "--fingerprint", f"{HOST}=SHA256:wrong", code=4)["error"]
        assert "no host was changed" in wrong
        (right,) = {word for word in said.split() if word.startswith(f"{HOST}=SHA256:")}
        assert adopted(fresh, "--yes", "--fingerprint", right)["outcome"] == "adopted"
        assert f"{HOST},{address} " in pins.read_text()
    finally:
        pins.write_text(kept)


def test_a_wrong_password_changes_nothing(fresh: OnRack) -> None:
    (fresh.rack.folder / "installer.secret").write_text("battery staple\n")
    found = adopted(fresh, "--yes", code=4)
    assert "refuses the login of installer" in found["error"]
    assert "battery" not in json.dumps(found)
    assert_as_before(fresh)


def test_a_server_that_cannot_be_configured_is_left_as_it_was(fresh: OnRack) -> None:
    fresh.shell(
        HOST,
        f"{KEPT}; echo Nonsense >> /etc/ssh/sshd_config",
    )
    found = adopted(fresh, "--yes", code=6)
    assert f"{HOST} is as it was" in found["hint"]
    assert_as_before(fresh)


def test_a_server_that_ignores_drop_ins_is_left_as_it_was(fresh: OnRack) -> None:
    fresh.shell(
        HOST,
        f"{KEPT}; sed -i /^Include/d /etc/ssh/sshd_config",
    )
    found = adopted(fresh, "--yes", code=6)
    assert "does not take up: permitrootlogin no" in found["error"]
    assert_as_before(fresh)


def test_a_match_block_that_still_takes_passwords_is_found(fresh: OnRack) -> None:
    block = "\\nMatch User installer\\n    PasswordAuthentication yes\\n"
    fresh.shell(
        HOST,
        f"{KEPT}; printf '{block}' >> /etc/ssh/sshd_config",
    )
    found = adopted(fresh, "--yes", code=6)
    assert "still lets installer in by password" in found["error"]
    assert_as_before(fresh)


def test_a_key_without_its_private_half_is_found_before_the_door_closes(fresh: OnRack) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    (fresh.rack.folder / "stranger.pub").write_bytes(stranger.export_public_key())
    key = fresh.rack.layout.key.name
    other = fresh.with_site(
        "stranger", (f"keys: [{key}.pub]", "keys: [stranger.pub], installer: {user: installer}")
    )
    found = adopted(other, "--yes", code=4)
    assert "refuses the login of ops" in found["error"]
    assert_as_before(fresh)


def killed_with_the_door_closed(fresh: OnRack) -> None:
    """A run that was killed after it closed the door and before it said that all is well."""
    # A login through the closed door is held at its start: the kill comes before it can say that all is well.
    held = f"[ ! -e {DROP_IN} ] || while [ -e /etc/ssh/sshrc ]; do sleep 0.1; done"
    fresh.shell(HOST, f"echo '{held}' > /etc/ssh/sshrc")
    secret = str(fresh.rack.folder / "installer.secret")
    argv = fresh.argv("adopt", HOST, "--password-file", secret, "--yes")
    with subprocess.Popen(argv, env=fresh.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        fresh.shell(HOST, f"until [ -e {DROP_IN} ]; do sleep 0.05; done")
        until("the door is still open", 20, lambda: ways_in(fresh) == ["publickey"])
        run.kill()
        run.wait(30)
    fresh.shell(HOST, "rm /etc/ssh/sshrc")
    assert not by_password(fresh), "the door was closed, and nobody is there to open it"


def power_lost(fresh: OnRack) -> None:
    """The host's power goes away and comes back."""
    asyncio.run(fresh.rack.make_break("power", HOST))
    asyncio.run(fresh.rack.mend("power", HOST))
    asyncio.run(fresh.rack.host(HOST).wait_ready())


def puts_itself_back(fresh: OnRack) -> None:
    """Soon, without anybody; and a second run goes through."""
    since = time.monotonic()
    fresh.shell(HOST, f"while systemctl list-units --all | grep -q {UNDO}; do sleep 0.2; done")
    assert time.monotonic() - since < 45
    assert_as_before(fresh)
    assert adopted(fresh, "--yes")["outcome"] == "adopted"


@pytest.mark.parametrize("then", ["nothing more", pytest.param("power lost", marks=pytest.mark.long)])
def test_killed_after_the_door_is_closed_the_host_puts_itself_back(fresh: OnRack, then: str) -> None:
    killed_with_the_door_closed(fresh)
    if then == "power lost":
        power_lost(fresh)
    puts_itself_back(fresh)


@pytest.mark.long
def test_power_lost_half_way_back_the_host_goes_on_with_it(fresh: OnRack) -> None:
    slow = "/etc/systemd/system/ssh.service.d/slow.conf"
    killed_with_the_door_closed(fresh)
    lines = "[Service]\\nExecReload=\\nExecReload=/bin/sleep 60\\n"
    fresh.shell(HOST, f"install -d {Path(slow).parent} && printf '{lines}' > {slow}")
    fresh.shell(HOST, f"systemctl daemon-reload; until [ -e {PLACE}-undoing ]; do sleep 0.05; done")
    assert not by_password(fresh), "its server has not heard of it yet"
    fresh.shell(HOST, f"rm -r {Path(slow).parent}")
    power_lost(fresh)
    puts_itself_back(fresh)


def test_run_again_at_once_the_undo_is_brought_to_its_end_first(fresh: OnRack) -> None:
    killed_with_the_door_closed(fresh)
    secret = str(fresh.rack.folder / "installer.secret")
    ended = fresh.deskside("adopt", HOST, "--password-file", secret, "--yes")
    assert "an earlier takeover did not end: the host is put back first" in ended.err
    assert f"{HOST}: is taken over" in ended.out
    assert fresh.shell(HOST, f"ls -d {PLACE}* 2>/dev/null || :") == ""
    assert by_key(fresh)
    assert not by_password(fresh)


def test_another_machine_than_the_site_file_means_is_left_alone(fresh: OnRack) -> None:
    mine, pins = fresh.rack.layout.mac(12), Path(fresh.rack.layout.known_hosts)
    kept = pins.read_text()
    installer = ("admin: {user: ops,", "admin: {user: ops, installer: {user: installer},")
    other = fresh.with_site("other-card", installer, (mine, "52:54:00:00:00:99"))
    try:
        found = adopted(other, "--yes", code=4)
        assert f"is not {HOST}: its cards are {mine}, hosts[].mac says 52:54:00:00:00:99" in found["error"]
        # The address of one host, typed for another: its key was pinned for that one a moment ago.
        address = fresh.rack.host(HOST).address
        ended = fresh.deskside("adopt", f"ws1={address}", "--yes", "--json", code=2)
        (shown,) = {word for word in ended.err.split() if word.startswith("ws1=SHA256:")}
        words = ("--password-file", str(fresh.rack.folder / "installer.secret"), "--fingerprint", shown)
        ended = fresh.deskside("adopt", f"ws1={address}", "--yes", *words, code=4)
        assert f"the machine at {address} is {HOST}, not ws1" in ended.err
        assert "its key is not pinned any more" in ended.err
        assert sorted(pins.read_text().splitlines()) == sorted(kept.splitlines())
    finally:
        pins.write_text(kept)
    assert_as_before(fresh)


NO_PYTHON = "apt-get -qq update && apt-get -qy purge python3-minimal libpython3-stdlib"
PYTHON = "command -v python3 || apt-get -qy --no-install-recommends install python3"


def test_a_host_without_python_is_asked_about(fresh: OnRack) -> None:
    gone = fresh.shell(HOST, NO_PYTHON)
    assert "python3" in gone
    try:
        left = adopted(fresh, code=4)
        assert "--yes installs it; or run on ws2: sudo apt-get install python3" in left["hint"]
        assert not fresh.run(HOST, "which", "python3", check=False).ok
        answers = {
            "Password of installer on the hosts": PASSWORD,
            f"Install python3 on {HOST}?": "y",
            f"Take over {HOST}?": "n",
        }
        shown, status = typed_at_a_terminal(fresh.argv("adopt", HOST), answers)
        assert status == 1
        assert f"declined; nothing but python3 on {HOST} was changed" in shown
        assert fresh.run(HOST, "which", "python3").ok
    finally:
        fresh.shell(HOST, PYTHON)
    assert_as_before(fresh)


def test_interrupted_it_puts_the_host_back_before_it_ends(fresh: OnRack) -> None:
    fresh.shell(HOST, "echo 'sleep 1.5' > /etc/ssh/sshrc")
    secret = str(fresh.rack.folder / "installer.secret")
    # Whatever started the tests may have had it ignored.
    argv = ["env", "--default-signal=INT"]
    argv += fresh.argv("adopt", HOST, "--password-file", secret, "--yes")
    with subprocess.Popen(argv, env=fresh.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        fresh.shell(HOST, f"until [ -e {DROP_IN} ]; do sleep 0.05; done")
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    fresh.shell(HOST, "rm /etc/ssh/sshrc")
    assert_as_before(fresh)


def test_a_host_at_another_address_is_told_how_to_come_to_its_own(fresh: OnRack) -> None:
    elsewhere = f"{fresh.rack.layout.prefix}150"
    link = fresh.shell(HOST, "ip -o route get 10.77.0.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/'").strip()
    fresh.shell(HOST, f"ip address add {elsewhere}/24 dev {link}")
    try:
        secret = str(fresh.rack.folder / "installer.secret")
        ended = fresh.deskside("adopt", f"{HOST}={elsewhere}", "--password-file", secret, "--yes", "--json")
        (found,) = ended.document["hosts"]
        assert (found["outcome"], found["address"]) == ("adopted", elsewhere)
        mac = fresh.rack.layout.mac(12)
        assert f"reserved for {mac} once ws1 is applied" in found["next"][0]
    finally:
        fresh.shell(HOST, f"ip address del {elsewhere}/24 dev {link}")


def test_hosts_are_found_by_their_mac_addresses(fresh: OnRack) -> None:
    secret = str(fresh.rack.folder / "installer.secret")
    ended = fresh.deskside("adopt", "--discover", "--password-file", secret, code=2)
    for name in ("ws1", HOST):
        assert f"is at {fresh.rack.host(name).address}" in ended.err
    assert "nothing was changed" in ended.err
    assert_as_before(fresh)


def test_a_lease_of_the_dhcp_host_says_where_a_host_is(fresh: OnRack) -> None:
    prefix = fresh.rack.layout.prefix
    lease = f"1999999999 {fresh.rack.layout.mac(12)} {prefix}150 debian *"
    link = fresh.shell(HOST, "ip -o route get 10.77.0.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/'").strip()
    fresh.shell("ws1", f"install -d {Path(LEASES).parent} && echo '{lease}' > {LEASES}")
    fresh.shell(HOST, f"ip address add {prefix}150/24 dev {link}")
    try:
        secret = str(fresh.rack.folder / "installer.secret")
        ended = fresh.deskside("adopt", "--discover", HOST, "--password-file", secret, code=2)
        assert f"{HOST} ({fresh.rack.layout.mac(12)}) is at {prefix}150" in ended.err
    finally:
        fresh.shell(HOST, f"ip address del {prefix}150/24 dev {link}")
        fresh.shell("ws1", f"rm -r {Path(LEASES).parent}")


IN_USE = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends ufw >/dev/null
ufw allow 22/tcp >/dev/null
ufw --force enable >/dev/null
mkdir -p /usr/local/cuda-12.4/bin
touch /usr/local/cuda-12.4/bin/cuda-uninstaller /usr/bin/nvidia-uninstall
id ann >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ann
cat > /etc/systemd/system/docker.service <<'END'
[Service]
ExecStart=/bin/sleep infinity
END
printf '#!/bin/sh\\necho 4f5a; echo 77b1\\n' > /usr/local/bin/docker
chmod +x /usr/local/bin/docker
cat > /etc/systemd/system/somebodys.service <<'END'
[Service]
ExecStart=/usr/bin/python3 -m http.server 10250
END
systemctl daemon-reload
systemctl start docker somebodys
until ss -Hltn 'sport = :10250' | grep -q .; do sleep 0.1; done
"""
NOT_IN_USE = """
ufw --force disable >/dev/null
systemctl stop docker somebodys
rm -rf /usr/local/cuda-12.4 /usr/bin/nvidia-uninstall /usr/local/bin/docker
rm -f /etc/systemd/system/docker.service /etc/systemd/system/somebodys.service
systemctl daemon-reload
userdel --remove ann 2>/dev/null
"""


def test_a_machine_in_use_is_told_about_and_nothing_is_changed_before_a_yes(fresh: OnRack) -> None:
    fresh.shell(HOST, IN_USE)
    try:
        before = fresh.shell(HOST, WHAT_THERE_IS)
        secret = str(fresh.rack.folder / "installer.secret")
        said = fresh.deskside("adopt", HOST, "--password-file", secret, code=2)
        assert "nothing was changed" in said.err
        lines = [line.split(maxsplit=1) for line in said.out.splitlines()[1:] if "hint:" not in line]
        told = {" ".join(words).replace("must go", "must-go").split()[1]: words[0] for words in lines}
        wanted = {"docker": "kept", "cuda": "kept", "ufw": "must", "driver": "must", "ports": "must"}
        assert wanted.items() <= told.items(), said.out
        assert "Docker with 2 running containers" in said.out
        assert "port 10250 on ws2 is taken by python3" in said.out
        assert "ann has no SSH key" in said.out
        assert fresh.shell(HOST, WHAT_THERE_IS) == before
        assert_as_before(fresh)
        found = adopted(fresh, "--yes")
        assert found["outcome"] == "adopted"
        still = "systemctl is-active docker somebodys; ufw status | head -1; id -un ann"
        assert fresh.shell(HOST, still).split() == ["active", "active", "Status:", "active", "ann"]
    finally:
        fresh.shell(HOST, NOT_IN_USE)
