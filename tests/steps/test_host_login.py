"""The directory's people on the hosts: what is written. That they get in is the rack's business."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deskside.app.host_login import same_person_everywhere
from deskside.errors import CheckFailed
from deskside.model.platform import Given
from deskside.model.query import Output, ReadOutput
from deskside.resources.files import Absent, File
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.steps.host_login import CA, CONFIG, DOOR, SUDOERS, host_login

from .sites import Told, make_hosts, make_platform, make_site

PASSWORD = "canary-of-the-account"
BASE = "dc=lab,dc=example"


def site_with(**changes: object) -> Site:
    return make_site(
        identity={
            "server": "ldap://nas.lab.example",
            "base": BASE,
            "user_dn": "uid={username},cn=users,{base}",
            "allow": {"group": f"cn=ai,cn=groups,{BASE}"},
            "host_login": True,
            "bind": {"dn": f"uid=reader,cn=users,{BASE}", "password": {"env": "READER"}},
            **changes,
        }
    )


def wanted(site: Site, ca: str = "PEM") -> dict[str, Any]:
    """The step's resources on ws1, by subject."""
    hosts = make_hosts(site)
    platform = replace(make_platform(hosts), given=Given(ca, Secret(PASSWORD)))
    return {one.subject: one for one in host_login.resources(site, platform, hosts["ws1"])}


def written(site: Site, path: str, ca: str = "PEM") -> str:
    file = wanted(site, ca)[f"file {path}"]
    assert isinstance(file, File)
    return file.content.reveal() if isinstance(file.content, Secret) else str(file.content)


def test_sssd_is_told_whom_to_ask_and_whom_to_let_in() -> None:
    lines = written(site_with(), CONFIG).splitlines()
    assert "ldap_uri = ldap://nas.lab.example:389" in lines
    assert "ldap_id_use_start_tls = true" in lines
    assert "ldap_tls_reqcert = demand" in lines
    assert f"ldap_tls_cacert = {CA}" in lines
    assert f"ldap_user_search_base = cn=users,{BASE}" in lines
    assert "simple_allow_groups = ai" in lines
    assert "filter_users = root,ops" in lines
    (filtered,) = [line for line in lines if line.startswith("filter_groups = ")]
    assert {"sudo", "admin", "docker"} <= set(filtered.partition(" = ")[2].split(","))
    assert f"ldap_default_authtok = {PASSWORD}" in lines
    assert "ldap_tls_cacert = /etc/ssl/certs/ca-certificates.crt" in written(site_with(), CONFIG, "")


def test_the_file_with_the_password_is_for_root_and_shows_nothing() -> None:
    file = wanted(site_with())[f"file {CONFIG}"]
    assert file.mode == 0o600
    assert isinstance(file.content, Secret)
    assert PASSWORD not in repr(file)


def test_the_door_is_open_to_the_group_alone() -> None:
    lines = written(site_with(), DOOR).splitlines()
    assert lines[1] == "Match Group ai"
    assert all(line.startswith("    ") for line in lines[2:])


def test_sudo_is_for_the_admin_group_and_else_for_nobody() -> None:
    assert isinstance(wanted(site_with())[f"absent {SUDOERS}"], Absent)
    admins = site_with(host_admins=f"cn=administrators,cn=groups,{BASE}")
    assert written(admins, SUDOERS).splitlines()[1] == "%administrators ALL=(ALL:ALL) ALL"
    assert wanted(admins)[f"file {SUDOERS}"].mode == 0o440


def test_without_it_nothing_is_installed() -> None:
    assert list(wanted(make_site())) == ["login of the directory's people"]


PERSON = "ann:*:1026:100001:ann:/home/ann:/bin/sh\nusers ai\n"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"ws2": PERSON.replace("1026", "1001")}, "ann is 1026 on ws1, 1001 on ws2, 1026 on ws3"),
        ({"ws2": ""}, "ann is not known on ws2"),
        ({"ws3": PERSON.replace("ai", "x")}, "ann is not in ai on ws3"),
    ],
)
async def test_a_person_who_is_not_the_same_everywhere(told: dict[str, str], said: str) -> None:
    def answer(host: str, query: ReadOutput) -> Output:
        assert query.argv[-1] == "ann"
        text = told.get(host, PERSON)
        return Output(0 if text else 2, text, "")

    class One(Told):
        async def read(self, *queries: Any) -> Any:
            return self.tell(self.name, *queries)

    hosts: Any = {name: One(answer, name) for name in ("ws1", "ws2", "ws3")}
    with pytest.raises(CheckFailed, match=said):
        await same_person_everywhere(site_with(), "ann", hosts)
    told.clear()
    assert await same_person_everywhere(site_with(), "ann", hosts) == "ann is user 1026 on 3 hosts"
