"""A directory that was there before Deskside: changed by an account of its manager, and asked at two servers.

The directory is the NAS's real slapd. Its first server is a relay in front of it, so that one of the two can
be down, or hang, while the other answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from deskside.lab import nas
from deskside.site.secrets import Secret
from rack.platforms import OnRack, needs_root
from rack.test_whole_directory import logs_in, password

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(600, func_only=True)]

RELAY, PORT = "first-server.service", 1636
RELAYING = f"""
import socket, threading
def copy(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
with socket.create_server(("0.0.0.0", {PORT})) as listener:
    while True:
        near = listener.accept()[0]
        far = socket.create_connection(("127.0.0.1", 636))
        for ends in ((near, far), (far, near)):
            threading.Thread(target=copy, args=ends, daemon=True).start()
"""
PEOPLE = """\
name,full_name,mail,groups,password
eve,Eve,eve@lab.example,,a-word-of-eve
fay,Fay,,users,a-word-of-fay
"""


@dataclass(frozen=True)
class Existing:
    """The platform, whose directory Deskside may change."""

    on: OnRack

    def status_of(self, name: str, word: str = "") -> int:
        """What the hub answers to a log-in."""
        return logs_in(self.on, name, Secret(word) if word else password(self.on, name))[0]

    def names(self) -> list[str]:
        return sorted(one["name"] for one in self.on.deskside("user", "list", "--json").document["people"])

    @contextmanager
    def relay(self, fault: str) -> Iterator[None]:
        """The first server is `off`, or it `hangs`."""
        words = {
            "off": (("stop",), ("start",)),
            "hangs": (("kill", "--signal=STOP"), ("kill", "--signal=CONT")),
        }
        begin, end = words[fault]
        self.on.run("nas", "systemctl", *begin, RELAY)
        try:
            yield
        finally:
            self.on.run("nas", "systemctl", *end, RELAY)


def by(existing: Existing, name: str, old: str, new: str) -> OnRack:
    """The command line by a changed site file, which is not applied."""
    text = existing.on.site_file.read_text()
    assert old in text
    file = existing.on.rack.folder / f"{name}.yaml"
    file.write_text(text.replace(old, new))
    return OnRack(existing.on.rack, existing.on.logs, file, existing.on._count)


def manager_text(platform: OnRack) -> str:
    layout = platform.rack.layout
    account = f"uid=root,cn=users,{layout.directory_root}"
    secret = nas.secret_file(layout, nas.ROOT).name
    return f'  manager: {{dn: "{account}", password: {{file: {secret}}}}}\n'


@pytest.fixture(scope="module")
def existing(platform: OnRack) -> Iterator[Existing]:
    """The same site, with two servers and a manager; as it was before at the end."""
    server = f"ldaps://{platform.rack.layout.fqdn(platform.rack.host('nas').spec)}"
    line = f"  server: {server}\n"
    lines = f"  server: {server}:{PORT}\n  fallback: {server}\n{manager_text(platform)}"
    other = platform.with_site("existing", (line, lines))
    unit = "[Service]\nExecStart=/usr/bin/python3 /opt/relay.py\n"
    platform.run("nas", "tee", "/opt/relay.py", stdin=RELAYING)
    platform.run("nas", "tee", f"/run/systemd/system/{RELAY}", stdin=unit)
    platform.shell("nas", f"systemctl daemon-reload && systemctl start {RELAY}")
    try:
        ended = other.deskside("apply", "--yes", "-v")
        assert (
            nas.secret_file(platform.rack.layout, nas.ROOT).read_text().strip() not in ended.out + ended.err
        )
        assert other.changes() == set()
        yield Existing(other)
    finally:
        platform.deskside("apply", "--yes")
        files = f"/run/systemd/system/{RELAY} /opt/relay.py"
        platform.shell("nas", f"systemctl stop {RELAY}; rm {files}; systemctl daemon-reload")
    assert platform.changes() == set()


def test_people_are_added_changed_and_removed_by_the_managers_account(existing: Existing) -> None:
    on = existing.on
    before = existing.names()
    assert "ann" in before
    file = existing.on.private("dan.secret", "a-word-of-dan")
    on.deskside("user", "add", "dan", "--name", "Dan Example", "--password-file", file)
    shown = on.deskside("user", "show", "dan", "--json").document
    taken = [int(word) for word in on.shell("nas", "slapcat | sed -n 's/^uidNumber: //p'").split()]
    assert (shown["groups"], taken.count(shown["uid"])) == (["ai"], 1)
    assert "memberOf: cn=ai" in on.shell("nas", "slapcat -a '(uid=dan)'")
    assert existing.status_of("dan", "a-word-of-dan") == 302
    on.deskside("user", "passwd", "dan", "--password-file", existing.on.private("x", "another-word"))
    assert [existing.status_of("dan", word) for word in ("a-word-of-dan", "another-word")] == [403, 302]
    on.deskside("group", "add", "vision", "dan", "ann")
    on.deskside("group", "leave", "vision", "ann")
    groups = {
        one["name"]: one["members"] for one in on.deskside("group", "list", "--json").document["groups"]
    }
    assert groups["vision"] == ["dan"]
    on.deskside("group", "remove", "vision", "--yes")
    assert "put out" in on.deskside("user", "remove", "dan", "--yes").out
    assert existing.status_of("dan", "another-word") == 403
    assert existing.names() == before
    assert "dan" not in on.shell("nas", "slapcat")


def test_a_synology_is_spoken_to_alike(existing: Existing) -> None:
    on = by(existing, "synology", "  kind: ldap\n", "  kind: synology\n")
    imported = on.deskside("user", "import", existing.on.private("synology.csv", PEOPLE))
    assert imported.out == "added 2: eve, fay\n"
    try:
        assert existing.status_of("eve", "a-word-of-eve") == 302
        assert existing.status_of("fay", "a-word-of-fay") == 403
    finally:
        for name in ("eve", "fay"):
            on.deskside("user", "remove", name, "--yes")


def test_what_the_account_may_not_do_is_said(existing: Existing) -> None:
    top, right = existing.on.rack.layout.directory_root, manager_text(existing.on)
    existing.on.private("wrong.secret", "not-the-managers")
    line = '  manager: {{dn: "uid={},cn=users,{}", password: {{file: {}.secret}}}}\n'
    for who, file, said in (
        ("root", "wrong", "refuses the account's password"),
        ("ann", "ann", "the account may not do that"),
    ):
        other = by(existing, "wrong", right, line.format(who, top, file))
        secret = existing.on.private("gus.secret", "a-word-of-gus")
        ended = other.deskside("user", "add", "gus", "--password-file", secret, code=6)
        assert said in ended.err
        assert "a-word-of-gus" not in ended.out + ended.err
    assert "gus" not in existing.names()


def test_without_a_manager_the_file_is_for_the_directorys_own_tools(existing: Existing) -> None:
    on = existing.on
    other = by(existing, "reader", "  manager: ", "  bind: ")
    csv = existing.on.private("hand.csv", PEOPLE)
    target = on.rack.folder / "hand.ldif"
    target.unlink(missing_ok=True)
    ended = other.deskside("user", "import", csv, code=2)
    assert str(target) in ended.err
    assert target.stat().st_mode & 0o777 == 0o600
    on.run("nas", "ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///", stdin=target.read_text())
    try:
        assert existing.status_of("eve", "a-word-of-eve") == 302
        assert existing.status_of("fay", "a-word-of-fay") == 403
    finally:
        for name in ("eve", "fay"):
            on.deskside("user", "remove", name, "--yes")
        target.unlink()


@pytest.mark.parametrize("fault", ["off", "hangs"])
def test_f42_a_second_server_lets_people_in_while_the_first_is_down_or_hangs(
    existing: Existing, fault: str
) -> None:
    with existing.relay(fault):
        assert existing.status_of("ann") == 302
        assert existing.status_of("bob") == 403
        assert existing.status_of("ann", "wrong") == 403
        secret = existing.on.private("gus.secret", "a-word-of-gus")
        ended = existing.on.deskside("user", "add", "gus", "--password-file", secret, code=None)
        assert ended.code != 0
        assert "does not answer" in ended.err
    assert "gus" not in existing.names()
