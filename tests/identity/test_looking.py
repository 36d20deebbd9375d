"""A look at a directory as an account of it: what each answer means, by the field to change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addons.sites import CA, example_ldap
from deskside.identity.looking import look_findings, look_question
from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output
from deskside.site.secrets import Secret

GROUP = "cn=ai,cn=groups,dc=lab,dc=example"
ANN = "uid=ann,cn=users,dc=lab,dc=example"
BASE = "dc=lab,dc=example"
BIND = {"dn": "uid=reader,cn=users,dc=lab,dc=example", "password": {"file": "x"}}
DIRECTORY = example_ldap({"bind": BIND})
WELL = {BASE: ["objectClass"], ANN: ["uid"], GROUP: ["cn", "member"]}


def findings(status: int = 0, said: str = "", **entries: Any) -> tuple[Finding, ...]:
    """What is found; entries by the names base, ann and group."""
    names = {"base": BASE, "ann": ANN, "group": GROUP}
    seen = WELL | {names[key]: value for key, value in entries.items()}
    printed = json.dumps({"status": status, "said": said, "entries": seen})
    return look_findings(DIRECTORY, Output(0, printed, ""))


def test_all_is_well() -> None:
    (found,) = findings()
    assert found.outcome is Outcome.OK


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ({"base": None}, "identity.base"),
        ({"ann": None}, "identity.user_dn"),
        ({"group": None}, "identity.allow.group"),
        ({"group": ["cn", "gidNumber"]}, "identity.allow.group"),
    ],
)
def test_what_is_wrong_names_the_field(entries: dict[str, Any], field: str) -> None:
    (found,) = findings(**entries)
    assert (found.outcome, found.hint.startswith(field)) == (Outcome.FAILED, True)


def test_everything_at_once() -> None:
    assert len(findings(base=None, ann=None, group=None)) == 3


def test_synologys_and_posix_members_count() -> None:
    for name in ("member", "memberUid", "uniqueMember"):
        assert findings(group=[name])[0].outcome is Outcome.OK


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (49, "ldap_bind: Invalid credentials (49)", "refuses the password of uid=reader"),
        (49, "ldap_bind: Invalid credentials (49)\nPassword expired", "has expired"),
        (255, "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)", "Can't contact LDAP server"),
    ],
)
def test_a_bind_that_fails(status: int, said: str, words: str) -> None:
    (found,) = findings(status, said)
    assert found.outcome is Outcome.FAILED
    assert words in found.message


def test_no_answer_is_not_known() -> None:
    for output in (Output(127, "", "no"), Output(None, "", ""), Output(0, "nonsense", "")):
        (found,) = look_findings(DIRECTORY, output)
        assert found.outcome is Outcome.WARNING
    (found,) = look_findings(DIRECTORY, Output(68, "", ""))
    assert found.outcome is Outcome.WARNING
    assert "does not know the server's name yet" in found.message


def test_the_password_is_in_no_argument_and_shown_nowhere() -> None:
    question = look_question(DIRECTORY, CA, Secret("canary-of-reader"))
    assert "canary" not in repr(question)
    assert "canary" not in " ".join(question.argv)
    assert "canary-of-reader" in str(question.wire()["stdin"])
