"""What a real slapd answers to the account that looks at it, and which field of the site file that names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deskside.identity.looking import look_findings, look_question
from deskside.model.finding import Finding, Outcome
from deskside.site.secrets import Secret
from deskside.site.values import LdapServer
from deskside.steps.directory import SERVICES_POLICY
from identity.realdirectory import READER_PASSWORD, Directory, make_entries, running_directory

pytestmark = [pytest.mark.rack, pytest.mark.timeout(300)]


@pytest.fixture
def directory(nas_tree: Path, tmp_path: Path) -> Iterator[Directory]:
    """A directory as Deskside leaves a new one, and Zoe, who is an admin by name."""
    with running_directory(nas_tree, tmp_path) as found:
        asyncio.run(make_entries(found))
        found.add_person("zoe")
        yield found


async def looked(directory: Directory, password: str = READER_PASSWORD, **changed: str) -> Finding:
    """The first finding, by a description of the directory that is changed."""
    described = replace(
        directory.ldap,
        servers=(LdapServer("ldaps", "127.0.0.1", directory.port),),
        **changed,  # type: ignore[arg-type]
    )
    output = await directory.read(look_question(described, directory.ca, Secret(password)))
    return look_findings(described, output)[0]


async def test_a_password_that_is_wrong_is_told_from_one_that_has_expired(directory: Directory) -> None:
    base = directory.ldap.base
    member = f"uid=zoe,cn=users,{base}"
    directory.change(f"dn: cn=ai,cn=groups,{base}\nchangetype: modify\nadd: member\nmember: {member}\n")
    well = await looked(directory)
    assert well.outcome is Outcome.OK, well
    wrong = await looked(directory, "another-word")
    assert "refuses the password" in wrong.message
    age = f"dn: {SERVICES_POLICY},{base}\nchangetype: modify\nadd: pwdMaxAge\npwdMaxAge: 1\n"
    directory.change(age)
    # From now on slapd notes when a password was set.
    reader = directory.ldap.reader
    assert reader is not None
    setting = ("ldappasswd", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///", "-s", READER_PASSWORD, reader)
    assert directory.run(setting, "").returncode == 0
    end = time.monotonic() + 10
    while (expired := await looked(directory)).outcome is Outcome.OK:
        assert time.monotonic() < end, "it does not expire"
    assert "has expired" in expired.message
    assert "identity.bind.password" in expired.hint


async def test_a_base_with_a_typo_and_a_group_without_members(directory: Directory) -> None:
    typo = await looked(directory, base="dc=lab,dc=exmaple")
    assert "has no entry dc=lab,dc=exmaple" in typo.message
    assert typo.hint.startswith("identity.base")
    empty = await looked(directory)
    assert "shows no members" in empty.message
    gone = await looked(directory, group=f"cn=ia,cn=groups,{directory.ldap.base}")
    assert gone.hint == "identity.allow.group"
