"""People of the directory log in to real hosts over SSH, by a real SSSD against the real directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import asyncssh
import pytest

from deskside.app.handover import CLOSED_DOOR, DROP_IN
from deskside.app.host_login import same_person_everywhere
from deskside.lab import nas
from deskside.site.secrets import Secret
from deskside.steps.host_login import CONFIG, DOOR, STALE_SECONDS, SUDOERS, host_login
from rack.carrying import carried_out, working_on
from rack.platforms import OnRack, needs_root
from rack.watching import Watch, watched

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(600, func_only=True)]

HOSTS = ("ws1", "ws2")


def password(rack: OnRack, user: str) -> Secret:
    return Secret(nas.secret_file(rack.rack.layout, user).read_text().strip())


@pytest.fixture(scope="module")
def watch(contacted: OnRack) -> Iterator[Watch]:
    """Of every program from before the first host lets people in on."""
    with watched(contacted.rack.folder / "host-login-programs.txt") as watch:
        yield watch


@pytest.fixture(scope="module")
def opened(contacted: OnRack, watch: Watch) -> Iterator[OnRack]:
    """Both hosts let the directory's people in; bare again afterwards."""
    top = contacted.rack.layout.directory_root
    lines = (
        "  kind: ldap\n  host_login: true\n  group_class: groupOfNames\n"
        f'  host_admins: "cn=administrators,cn=groups,{top}"\n'
        f'  bind: {{dn: "uid=cyd,cn=users,{top}", password: {{file: cyd.secret}}}}\n'
    )
    other = contacted.with_site("host-login", ("  kind: ldap\n", lines))
    nas_address = contacted.rack.host("nas").address
    for host in HOSTS:
        contacted.shell(host, "apt-get -qq update")
        contacted.run(host, "tee", DROP_IN, stdin=CLOSED_DOOR)
        contacted.shell(host, f"echo {nas_address} nas.{contacted.rack.layout.domain} >> /etc/hosts")
        said = carried_out(other, host, host_login)
        assert password(other, "cyd").reveal() not in "".join(said)
        assert carried_out(other, host, host_login) == []
    try:
        yield other
    finally:
        for host in HOSTS:
            assert carried_out(contacted, host, host_login) == ["login of the directory's people: end it\n"]
            assert carried_out(contacted, host, host_login) == []
            for gone in (CONFIG, SUDOERS, DOOR):
                assert not contacted.run(host, "test", "-e", gone, check=False).ok
            contacted.shell(host, f"rm {DROP_IN} && systemctl reload ssh")


def by_password(rack: OnRack, host: str, user: str, command: str, secret: Secret | None = None) -> str:
    """What a command prints in a login by password. Raises asyncssh.PermissionDenied."""

    async def entered() -> str:
        async with asyncssh.connect(
            rack.rack.host(host).address,
            username=user,
            password=(secret or password(rack, user)).reveal(),
            known_hosts=None,
            client_keys=None,
            preferred_auth="password",
        ) as connection:
            # Only what asks for the password may be given it: others may have ended before it is sent.
            given = f"{password(rack, user).reveal()}\n" if "sudo -S" in command else None
            done = await connection.run(command, input=given)
            return f"{done.stdout!s}{done.stderr!s}"

    return asyncio.run(entered())


async def same_person(rack: OnRack, host: str) -> str:
    async with working_on(rack, host) as (workspace, session):
        return await same_person_everywhere(workspace.site, "ann", {host: session})


def test_one_person_is_the_same_user_everywhere(opened: OnRack) -> None:
    for host in HOSTS:
        assert by_password(opened, host, "ann", "id -u; pwd; stat -c %U .").split() == [
            *("1026", "/home/ann", "ann")
        ]
        assert "ai" in by_password(opened, host, "ann", "id -Gn").split()
        assert asyncio.run(same_person(opened, host)) == "ann is user 1026 on 1 hosts"


def test_who_may_not_use_the_hub_may_not_log_in_either(opened: OnRack) -> None:
    with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost)):
        by_password(opened, "ws1", "bob", "id")
    with pytest.raises(asyncssh.PermissionDenied):
        by_password(opened, "ws1", "ann", "id", Secret("wrong"))


def test_the_admin_group_alone_becomes_root(opened: OnRack) -> None:
    assert "0" in by_password(opened, "ws1", "ann", "sudo -S -p '' id -u").split()
    refused = by_password(opened, "ws1", "cyd", "sudo -S -p '' id -u")
    assert "cyd is not in the sudoers file" in refused
    assert "0" not in refused.split()


def test_the_sites_own_account_stays_by_key_alone(opened: OnRack) -> None:
    async def offered(user: str) -> list[str]:
        address = opened.rack.host("ws1").address
        return list(await asyncssh.get_server_auth_methods(address, username=user))

    for user, wanted in (("ann", True), ("cyd", True), ("bob", False), ("ops", False), ("root", False)):
        assert ("password" in asyncio.run(offered(user))) is wanted, user


def test_a_known_person_logs_in_while_the_directory_is_away(opened: OnRack) -> None:
    by_password(opened, "ws2", "ann", "true")
    with opened.broken("service", "nas", "slapd.service"):
        opened.run("ws2", "pkill", "-USR1", "-x", "sssd")
        assert by_password(opened, "ws2", "ann", "id -u").split() == ["1026"]
        with pytest.raises(asyncssh.PermissionDenied):
            by_password(opened, "ws2", "ann", "id", Secret("wrong"))


def test_a_password_is_nowhere_to_be_read(opened: OnRack, watch: Watch) -> None:
    secret = password(opened, "cyd").reveal()
    assert opened.shell("ws1", f"stat -c '%a %U' {CONFIG}").split() == ["600", "root"]
    assert secret not in opened.shell("ws1", "journalctl -b --no-pager")
    assert any("sssd" in line for line in watch.lines())
    assert watch.holding([password(opened, user).reveal() for user in ("ann", "bob", "cyd")]) == []


def test_who_is_taken_out_of_the_group_is_out(opened: OnRack) -> None:
    top = opened.rack.layout.directory_root
    assert by_password(opened, "ws1", "cyd", "id -u").split() == ["1028"]
    change = (
        f"dn: cn=ai,cn=groups,{top}\nchangetype: modify\n{{0}}: member\nmember: uid=cyd,cn=users,{top}\n-\n"
        "{0}: memberUid\nmemberUid: cyd\n"
    )
    modify = ("ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
    opened.run("nas", *modify, stdin=change.format("delete"))
    try:
        end = time.monotonic() + STALE_SECONDS + 60
        while time.monotonic() < end:
            try:
                by_password(opened, "ws1", "cyd", "id -u")
            except (asyncssh.PermissionDenied, asyncssh.ConnectionLost):
                break
            time.sleep(5)
        else:
            pytest.fail("cyd still gets in")
        assert by_password(opened, "ws1", "ann", "id -u").split() == ["1026"]
    finally:
        opened.run("nas", *modify, stdin=change.format("add"))
