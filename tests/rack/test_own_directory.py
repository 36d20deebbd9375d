"""The directory that Deskside runs: a real slapd on one host, a real copy on the other, people who log in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff

import asyncssh
import pytest

from deskside.app.certificates import make_leaf
from deskside.app.own_secrets import AUTHORITY, AUTHORITY_KEY, FOLDER, RENEWED_DAYS
from deskside.app.workspace import Workspace
from deskside.lab.process import Ran
from deskside.site.schema import Site
from deskside.steps.directory import BACKUPS, PROGRAM, TIMER, UNIT, directory
from deskside.steps.directory_settings import CERTIFICATE, CONFIG, DATABASE, KEY
from deskside.steps.host_login import host_login
from rack.carrying import carried_out
from rack.platforms import OnRack, needs_root, until
from rack.watching import Watch, watched

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(600, func_only=True)]

HOSTS = ("ws1", "ws2")
AS_ROOT = ("-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
PASSWORDS = {"ann": "a-word-of-anns", "bob": "a-word-of-bobs"}
PURGE = """
systemctl disable --now sssd 2>/dev/null || true
DEBIAN_FRONTEND=noninteractive apt-get -qq purge --auto-remove slapd sssd-ldap >/dev/null 2>&1
rm -rf /var/lib/ldap /etc/ldap/deskside /etc/ldap/slapd.d /var/lib/deskside/directory /opt/deskside /home/ann
rm -f /var/lib/sss/db/*
sed -i '/# for the directory$/d' /etc/hosts
"""


@dataclass(frozen=True)
class Asked:
    """The directory as its clients meet it, from a host."""

    rack: OnRack
    site: Site

    @property
    def base(self) -> str:
        assert self.site.ldap is not None
        return self.site.ldap.base

    def user(self, name: str) -> str:
        return f"uid={name},cn=users,{self.base}"

    def search(self, dn: str, password: str, *words: str, at: str = "ws1", url: str = "") -> Ran:
        """A search from ws2 by a name and a password, with the server's certificate checked."""
        where = url or f"ldaps://{at}.{self.site.name}"
        more = "-ZZ" if where.startswith("ldap://") else "-x"
        script = (
            'p=$(mktemp); cat > "$p"; LDAPTLS_CACERT=/etc/ldap/deskside/authority.pem '
            f'ldapsearch -x {more} -LLL -o ldif-wrap=no -o nettimeout=4 -y "$p" "$@"; s=$?; rm "$p"; exit $s'
        )
        argv = ("sh", "-c", script, "sh", "-H", where, "-D", dn, *words)
        return self.rack.run("ws2", *argv, stdin=password, check=False)

    def change(self, text: str, *, host: str = "ws1") -> None:
        self.rack.run(host, "ldapmodify", *AS_ROOT, stdin=text)

    def held(self, host: str) -> str:
        """Everything, in an order of its own, without what each server notes for itself."""
        words = ("-LLL", "-o", "ldif-wrap=no", "-b", self.base, "*", "entryUUID", "entryCSN")
        text = self.rack.run(host, "ldapsearch", *AS_ROOT, *words).out
        entries = (entry.splitlines() for entry in text.strip().split("\n\n"))
        return "\n\n".join(sorted("\n".join([dn, *sorted(lines)]) for dn, *lines in entries))

    def until_equal(self) -> None:
        end = time.monotonic() + 30
        while (first := self.held("ws1")) != (copy := self.held("ws2")):
            if time.monotonic() > end:
                apart = "\n".join(unified_diff(first.splitlines(), copy.splitlines(), *HOSTS, lineterm=""))
                pytest.fail(f"the copy does not follow\n{apart}")
            time.sleep(0.3)


def secrets(rack: OnRack) -> list[str]:
    """What Deskside made for this directory."""
    return [file.read_text().strip() for file in sorted(rack.rack.folder.glob(f"{FOLDER}/*.secret"))]


def person(asked: Asked, name: str, number: int) -> str:
    """A record that adds somebody, and puts them into the allowed group."""
    return (
        f"dn: {asked.user(name)}\nchangetype: add\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\n"
        f"objectClass: shadowAccount\nuid: {name}\ncn: {name}\nsn: {name}\nuidNumber: {number}\n"
        f"gidNumber: 20001\nhomeDirectory: /home/{name}\nloginShell: /bin/bash\n"
        f"userPassword: {PASSWORDS[name]}\n\n"
    )


def joins(asked: Asked, name: str, group: str) -> str:
    return (
        f"dn: cn={group},cn=groups,{asked.base}\nchangetype: modify\n"
        f"add: member\nmember: {asked.user(name)}\n-\nadd: memberUid\nmemberUid: {name}\n\n"
    )


@pytest.fixture(scope="module")
def watch(contacted: OnRack) -> Iterator[Watch]:
    """Of every program from before the first server is made on."""
    with watched(contacted.rack.folder / "own-directory-programs.txt") as watch:
        yield watch


@pytest.fixture(scope="module")
def own(contacted: OnRack, watch: Watch) -> Iterator[Asked]:
    """The directory on ws1 and its copy on ws2, with Ann and Bob in it; bare again afterwards."""
    text = contacted.rack.site_file.read_text()
    section = text[text.index("identity:\n") : text.index("kubernetes:")]
    lines = (
        "identity:\n  kind: openldap\n  on: ws1\n  replica: ws2\n  allow: {group: ai}\n  admins: [ann]\n"
        "  host_login: true\n  host_admins: administrators\n\n"
    )
    other = contacted.with_site("own-directory", (section, lines))
    domain = contacted.rack.layout.domain
    for host in HOSTS:
        contacted.shell(host, "apt-get -qq update")
        for one in HOSTS:
            line = f"{contacted.rack.host(one).address} {one}.{domain} # for the directory"
            contacted.shell(host, f"echo '{line}' >> /etc/hosts")
    asked = Asked(other, Workspace.open(other.site_file).site)
    try:
        for host in HOSTS:
            said = carried_out(other, host, directory)
            assert not any(secret in "".join(said) for secret in secrets(other))
            assert carried_out(other, host, directory) == []
        for number, name in enumerate(PASSWORDS, 20001):
            asked.change(person(asked, name, number))
        asked.change(joins(asked, "ann", "ai") + joins(asked, "bob", "users"))
        asked.until_equal()
        yield asked
    finally:
        for host in HOSTS:
            carried_out(contacted, host, host_login)
            carried_out(contacted, host, directory)
            assert carried_out(contacted, host, directory) == []
            contacted.shell(host, PURGE)


def test_its_layout_is_synologys_and_groups_show_on_people(own: Asked) -> None:
    held = own.held("ws1")
    for name in ("cn=users", "cn=groups", "cn=ai,cn=groups", "cn=administrators,cn=groups", "cn=services"):
        assert f"dn: {name},{own.base}\n" in held
    mine = own.search(own.user("ann"), PASSWORDS["ann"], "-b", own.user("ann"), "memberOf", "uid").out
    assert f"memberOf: cn=ai,cn=groups,{own.base}" in mine


def test_our_own_slapd_is_no_stranger_on_its_ports(own: Asked) -> None:
    findings = json.loads(own.rack.deskside("check", "--json", code=None).out)
    found = {one["check"]: one["outcome"] for one in findings if one["check"] in ("ports", "directory host")}
    assert found == {"ports": "ok", "directory host": "ok"}


def test_nobody_comes_without_name_or_encryption(own: Asked) -> None:
    name = f"ws1.{own.site.name}"
    plain = own.rack.run(
        "ws2",
        *("ldapsearch", "-x", "-H", f"ldap://{name}", "-D", own.user("ann"), "-w", "any-word"),
        *("-b", own.base),
        check=False,
    )
    assert plain.code == 13, plain.err
    trusted = "env", "LDAPTLS_CACERT=/etc/ldap/deskside/authority.pem"
    anonymous = own.rack.run("ws2", *trusted, "ldapsearch", "-x", "-H", f"ldaps://{name}", check=False)
    assert "anonymous bind disallowed" in anonymous.err
    strange = own.rack.run("ws2", "ldapsearch", "-x", "-H", f"ldaps://{name}", check=False)
    assert "Can't contact LDAP server" in strange.err, "nobody else's authority signed its certificate"
    start = own.search(own.user("ann"), PASSWORDS["ann"], "-b", own.user("ann"), "uid", url=f"ldap://{name}")
    assert "uid: ann" in start.out, start.err


def test_everybody_sees_what_they_need_and_nobody_a_hash(own: Asked) -> None:
    seen = own.search(own.user("ann"), PASSWORDS["ann"], "-b", own.base, "dn").out
    assert [line for line in seen.splitlines() if line] == [
        *(f"dn: cn=ai,cn=groups,{own.base}", f"dn: {own.user('ann')}"),
    ]
    ai = ("-s", "base", "-b", f"cn=ai,cn=groups,{own.base}", "member")
    assert own.search(own.user("bob"), PASSWORDS["bob"], *ai).code == 32
    reader = (own.rack.rack.folder / FOLDER / "reader.secret").read_text().strip()
    everything = own.search(f"cn=reader,cn=services,{own.base}", reader, "-b", own.base, "*", "+").out
    assert f"dn: {own.user('bob')}" in everything
    assert "cn=services" not in [line.partition(",")[0] for line in everything.splitlines()]
    everything += own.search(own.user("ann"), PASSWORDS["ann"], "-b", own.base, "*", "+").out
    assert "userPassword" not in everything
    assert "{CRYPT}" not in everything


def test_passwords_are_held_to_a_policy(own: Asked) -> None:
    def sets(password: str) -> int:
        script = (
            "d=$(mktemp -d); IFS= read -r new; IFS= read -r old; "
            'printf %s "$new" > "$d/new"; printf %s "$old" > "$d/old"; '
            "LDAPTLS_CACERT=/etc/ldap/deskside/authority.pem ldappasswd -x "
            f'-H ldaps://ws1.{own.site.name} -D "{own.user("bob")}" -y "$d/old" -T "$d/new"; '
            's=$?; rm -r "$d"; exit $s'
        )
        given = f"{password}\n{PASSWORDS['bob']}\n"
        return own.rack.run("ws2", "sh", "-c", script, stdin=given, check=False).code

    assert sets("short") != 0
    assert sets(PASSWORDS["bob"]) == 0
    for _ in range(10):
        assert own.search(own.user("bob"), "wrong", "-b", own.base).code == 49
    assert own.search(own.user("bob"), PASSWORDS["bob"], "-b", own.user("bob"), "dn").code == 49, "locked"
    unlock = f"dn: {own.user('bob')}\nchangetype: modify\nreplace: userPassword\n"
    unlock += f"userPassword: {PASSWORDS['bob']}\n"
    own.change(unlock)
    assert own.search(own.user("bob"), PASSWORDS["bob"], "-b", own.user("bob"), "dn").code == 0


def test_what_is_lost_comes_back_and_people_are_left_alone(own: Asked) -> None:
    before = own.held("ws1")
    own.rack.run("ws1", "ldapdelete", *AS_ROOT, f"cn=administrators,cn=groups,{own.base}")
    reader = f"dn: cn=reader,cn=services,{own.base}\nchangetype: modify\nreplace: userPassword\n"
    own.change(f"{reader}userPassword: somebody-elses\n")
    (said,) = carried_out(own.rack, "ws1", directory)
    assert "add cn=administrators,cn=groups; set the password of cn=reader,cn=services" in said
    assert carried_out(own.rack, "ws1", directory) == []
    people = [entry for entry in before.split("\n\n") if "uidNumber" in entry]
    assert len(people) == 2
    after = own.held("ws1")
    assert all(entry in after for entry in people)


def by_password(own: Asked, host: str, user: str, command: str) -> str:
    """What a command prints in a login by password. Raises asyncssh.PermissionDenied."""

    async def entered() -> str:
        async with asyncssh.connect(
            own.rack.rack.host(host).address,
            username=user,
            password=PASSWORDS[user],
            known_hosts=None,
            client_keys=None,
            preferred_auth="password",
        ) as connection:
            return str((await connection.run(command)).stdout)

    return asyncio.run(entered())


def asked_anew(own: Asked, host: str) -> None:
    """The host forgets what it knows of people, and asks the directory again."""
    own.rack.shell(host, "systemctl stop sssd; rm -f /var/lib/sss/db/*; systemctl start sssd sssd-ssh.socket")
    # It says that it has started before it answers; the socket for keys comes a moment after it.
    until(
        "the copy is not asked",
        20,
        lambda: own.rack.run(host, "getent", "passwd", "ann", check=False).ok,
    )


def test_f42_a_second_server_answers_while_the_first_is_away(own: Asked) -> None:
    assert carried_out(own.rack, "ws2", host_login)
    own.until_equal()
    with own.rack.broken("service", "ws1", UNIT):
        seen = own.search(own.user("ann"), PASSWORDS["ann"], "-b", own.user("ann"), "uid", at="ws2")
        assert "uid: ann" in seen.out, seen.err
        asked_anew(own, "ws2")
        assert by_password(own, "ws2", "ann", "id -un; id -Gn").split()[:1] == ["ann"]
        with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost)):
            by_password(own, "ws2", "bob", "id")


def test_a_key_that_stands_in_the_directory_opens_the_hosts(own: Asked) -> None:
    key, stranger = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))

    async def entered(one: asyncssh.SSHKey, user: str) -> str:
        keys = {"known_hosts": None, "client_keys": [one], "preferred_auth": "publickey"}
        async with asyncssh.connect(own.rack.rack.host("ws2").address, username=user, **keys) as connection:
            return str((await connection.run("id -un; id -Gn")).stdout)

    for name in PASSWORDS:
        change = (
            f"dn: {own.user(name)}\nchangetype: modify\nadd: objectClass\nobjectClass: ldapPublicKey\n-\n"
        )
        public = key.export_public_key().decode().strip()
        own.change(f"{change}add: sshPublicKey\nsshPublicKey: {public}\n")
    # Members of a group of this name become root on a host, whoever's group it is.
    sudo = f"dn: cn=sudo,cn=groups,{own.base}\n"
    classes = "objectClass: posixGroup\nobjectClass: extensibleObject\n"
    own.change(f"{sudo}changetype: add\n{classes}cn: sudo\ngidNumber: 20009\nmember: {own.user('ann')}\n")
    own.until_equal()
    asked_anew(own, "ws2")
    name, groups = asyncio.run(entered(key, "ann")).splitlines()
    assert (name, "ai" in groups.split(), "sudo" in groups.split()) == ("ann", True, False)
    own.change(f"{sudo}changetype: delete\n")
    for one, user in ((stranger, "ann"), (key, "bob")):
        with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost)):
            asyncio.run(entered(one, user))


def test_a_backup_brings_back_a_directory_that_is_lost(own: Asked) -> None:
    own.until_equal()
    before = own.held("ws1")
    made = own.rack.deskside("directory", "backup", "--json").document
    name = made["name"]
    assert own.rack.shell("ws1", f"stat -c %a {BACKUPS}/{name}").strip() == "600"
    own.change(f"dn: {own.user('bob')}\nchangetype: delete\n")
    own.rack.shell("ws1", f"systemctl stop {UNIT}; rm -rf {DATABASE}; systemctl start {UNIT}")
    own.rack.deskside("directory", "restore", name, code=2)
    own.rack.deskside("directory", "restore", "20200101T000000Z.ldif.gz", "--yes", code=5)
    own.rack.deskside("directory", "restore", name, "--yes")
    assert own.held("ws1") == before
    assert own.held("ws2") == before
    status = own.rack.deskside("directory", "status", "--json").document
    assert [(one["host"], one["answers"], one["people"], one["in_step"]) for one in status] == [
        *(("ws1", True, 2, True), ("ws2", True, 2, True)),
    ]
    assert name in own.rack.deskside("directory", "backups").out
    assert carried_out(own.rack, "ws1", directory) == []


def test_a_restore_that_is_killed_leaves_a_directory_that_answers(own: Asked) -> None:
    name = json.loads(own.rack.run("ws1", PROGRAM, "backups").out)[0]["name"]
    before = own.held("ws1")
    for wait in (0.05, 0.3, 0.6, 1.0):
        script = f"{PROGRAM} restore {name} & p=$!; sleep {wait}; kill -KILL $p; wait $p; true"
        own.rack.run("ws1", "sh", "-c", script)
        end = time.monotonic() + 20
        while not own.rack.run("ws1", "ldapsearch", *AS_ROOT, "-s", "base", "-b", own.base, check=False).ok:
            assert time.monotonic() < end, "it does not answer any more"
            time.sleep(0.2)
        assert own.held("ws1") == before
    # Killed between the two renames.
    own.rack.shell("ws1", f"systemctl stop {UNIT}; mv {DATABASE} {DATABASE}.before; systemctl start {UNIT}")
    assert own.held("ws1") == before
    own.rack.deskside("directory", "restore", name, "--yes")
    own.until_equal()


def test_a_copy_that_was_off_during_a_restore_follows_anew(own: Asked) -> None:
    own.until_equal()
    name = own.rack.deskside("directory", "backup", "--json").document["name"]
    before = own.held("ws1")
    own.change(f"dn: {own.user('bob')}\nchangetype: delete\n")
    own.until_equal()
    with own.rack.broken("cable", "ws2"):
        own.rack.deskside("directory", "follow", "--yes", code=4)
        ended = own.rack.deskside("directory", "restore", name, "--yes", code=6)
        assert "run: deskside directory follow" in ended.err
        assert own.held("ws1") == before
        assert f"dn: {own.user('bob')}\n" not in own.held("ws2")
    with own.rack.broken("service", "ws1", UNIT):
        own.rack.deskside("directory", "follow", "--yes", code=5)
        assert f"dn: {own.user('ann')}\n" in own.held("ws2"), (
            "it has forgotten people, and nobody tells it of them"
        )
    assert "has what the first host has" in own.rack.deskside("directory", "follow", "--yes").out
    assert own.held("ws2") == before


def test_a_certificate_that_ends_soon_is_renewed_on_its_host(own: Asked) -> None:
    place = own.rack.rack.folder / FOLDER
    host, names = own.rack.rack.host("ws1"), (f"ws1.{own.site.name}", "ws1")
    made = make_leaf(place / AUTHORITY, place / AUTHORITY_KEY, names, host.address, days=RENEWED_DAYS - 1)
    for end, content in zip(("pem", "key"), made, strict=True):
        (place / f"ws1.{end}").write_bytes(content)
    said = carried_out(own.rack, "ws1", directory)
    assert [one.partition(":")[0] for one in said][:2] == [f"file {CERTIFICATE}", f"file {KEY}"]
    assert made[1].decode().splitlines()[1] not in "".join(said)
    assert own.rack.shell("ws1", f"cat {CERTIFICATE}") == (place / "ws1.pem").read_text()
    asking = f"openssl s_client -connect {names[0]}:636 -CAfile /etc/ldap/deskside/authority.pem </dev/null"
    shown = own.rack.shell("ws2", f"{asking} 2>/dev/null | openssl x509")
    assert shown == (place / "ws1.pem").read_text(), "slapd still shows the old one"
    assert carried_out(own.rack, "ws1", directory) == []


def test_the_copy_becomes_the_first_where_that_has_lost_everything(own: Asked) -> None:
    own.until_equal()
    before = own.held("ws1")
    own.rack.shell("ws1", f"systemctl stop {UNIT}; rm -rf {DATABASE}*")
    said = own.rack.deskside("check", code=5)
    assert "write on: ws2, replica: ws1 under identity" in said.out + said.err
    assert f"dn: {own.user('ann')}\n" in own.held("ws2")
    lines = ("  on: ws1\n  replica: ws2\n", "  on: ws2\n  replica: ws1\n")
    changed = own.rack.site_file.read_text().replace(*lines)
    file = own.rack.rack.folder / "swapped.yaml"
    file.write_text(changed)
    swapped = OnRack(own.rack.rack, own.rack.logs, file, own.rack._count)
    for host in reversed(HOSTS):
        carried_out(swapped, host, directory)
    own.until_equal()
    # What the servers note for themselves differs, and the new first host has written nothing.
    assert own.held("ws1") == before
    for host in HOSTS:
        assert carried_out(swapped, host, directory) == []
    for host in HOSTS:
        carried_out(own.rack, host, directory)
    own.until_equal()
    assert own.held("ws2") == before


def test_backups_are_made_every_night_and_secrets_are_nowhere(own: Asked) -> None:
    for host in HOSTS:
        assert own.rack.shell(host, f"systemctl is-enabled {TIMER}; systemctl is-active {TIMER}").split() == [
            *("enabled", "active"),
        ]
        assert own.rack.shell(host, f"stat -c '%a %U %G' {CONFIG}").split() == [
            *("400", "openldap", "openldap"),
        ]
        own.rack.run(host, "systemctl", "start", "deskside-directory-backup.service")
        assert json.loads(own.rack.run(host, PROGRAM, "backups").out)[0]["people"] == 2
        kept = own.rack.shell(host, "journalctl -b --no-pager")
        assert not any(secret in kept for secret in secrets(own.rack))


def test_no_program_was_ever_called_with_a_secret(own: Asked, watch: Watch) -> None:
    """On the controller or a host, from the making of the directory to its restores."""
    programs = {line.split(" ")[0].rpartition("/")[2] for line in watch.lines()}
    assert {"slapd", "slaptest", "slapadd", "ldapsearch", "ldapmodify"} <= programs
    assert watch.holding([*secrets(own.rack), *PASSWORDS.values()]) == []
