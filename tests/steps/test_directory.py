"""The directory that Deskside runs: what is asked before it is set up, and what its settings say.

The rack has the real slapd; see `tests/rack/test_own_directory.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deskside.identity.openldap import OPENLDAP
from deskside.model.facts import Listener
from deskside.model.finding import Outcome
from deskside.model.platform import Given
from deskside.model.query import Output, TlsFound
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.steps.directory import THEIRS, UNIT
from deskside.steps.directory_settings import settings
from deskside.steps.judging import JUDGES, Heard
from deskside.steps.preflight_hosts import ports
from deskside.steps.probes import judged, probes

from .sites import bad, make_hosts, make_platform, make_site

CHECK = "directory host"


def site() -> Site:
    return make_site(
        identity={
            "kind": "openldap",
            "on": "ws1",
            "replica": "ws3",
            "allow": {"group": "ai"},
            "admins": ["ann"],
        }
    )


def said(output: Output) -> list[Any]:
    """What is not fine when both hosts answer like that."""
    platform = make_platform(make_hosts(site()))
    asked = [probe for probe in probes(site(), platform) if probe.check == CHECK]
    assert [probe.host for probe in asked] == ["ws1", "ws3"]
    assert all(UNIT in str(probe.question.argv) for probe in asked)
    heard = [Heard(probe, output) for probe in asked]
    return bad(judged(site(), platform, heard, {CHECK: JUDGES[CHECK]}))


def test_somebody_elses_directory_is_left_alone() -> None:
    assert said(Output(0, "", "")) == []
    found = said(Output(0, "slapd.service runs\n/etc/ldap/slapd.d has its settings\n", ""))
    assert [one.outcome for one in found] == [Outcome.FAILED] * 2
    assert found[0].message == (
        "ws1 runs a directory of somebody else's already: slapd.service runs, "
        "/etc/ldap/slapd.d has its settings"
    )
    assert "identity.on" in found[0].hint
    assert {one.outcome for one in said(Output(None, "", ""))} == {Outcome.NOT_RUN}


def listening(port: int, program: str, unit: str = "", address: str = "0.0.0.0") -> Listener:
    return Listener(protocol="tcp", address=address, port=port, program=program, unit=unit)


def test_a_stranger_on_the_ports_of_the_directory_is_named_with_a_remedy() -> None:
    strangers = (
        listening(389, "python3", "squatter.service", "127.0.0.1"),
        listening(636, "docker-proxy", "docker.service"),
        listening(636, "docker-proxy", "docker.service", "::"),
    )
    first, second = ports(site(), make_hosts(site(), ws1={"listeners": strangers}))
    assert first.outcome is second.outcome is Outcome.FAILED
    wanted = "port 389 on ws1 is taken by python3 (squatter.service); the site's directory needs it"
    assert first.message == wanted
    assert "docker-proxy (docker.service);" in second.message
    assert "sport = :389" in first.hint
    assert "identity.on" in first.hint
    assert len(list(ports(site(), make_hosts(site(), ws3={"listeners": strangers})))) == 2, "the copy"
    assert not list(ports(site(), make_hosts(site(), ws2={"listeners": strangers}))), "none is there"
    assert not list(ports(make_site(), make_hosts(make_site(), ws1={"listeners": strangers})))


@pytest.mark.parametrize("unit", [UNIT, THEIRS])
def test_our_own_slapd_is_none_and_the_systems_own_is_told_of_elsewhere(unit: str) -> None:
    both = (listening(389, "slapd", unit), listening(636, "slapd", unit), listening(389, "slapd", unit, "::"))
    assert not list(ports(site(), make_hosts(site(), ws1={"listeners": both})))


@pytest.mark.parametrize(
    ("first", "copy", "outcome"),
    [
        ("no", "no", None),
        ("yes", "no", None),
        ("yes", "yes", None),
        ("no", "yes", Outcome.FAILED),
        ("no", "", Outcome.NOT_RUN),
    ],
)
def test_a_copy_never_follows_a_first_host_that_has_lost_everything(
    first: str, copy: str, outcome: Outcome | None
) -> None:
    platform = make_platform(make_hosts(site()))
    asked = [probe for probe in probes(site(), platform) if probe.check == "directory data"]
    outputs = [Output(0, f"{said}\n", "") if said else Output(None, "", "") for said in (first, copy)]
    heard = [Heard(probe, output) for probe, output in zip(asked, outputs, strict=True)]
    found = bad(judged(site(), platform, heard, {"directory data": JUDGES["directory data"]}))
    assert [one.outcome for one in found] == ([outcome] if outcome else [])
    if outcome is Outcome.FAILED:
        assert "on: ws3, replica: ws1" in found[0].hint


def test_nobody_is_asked_where_somebody_else_runs_it() -> None:
    platform = make_platform(make_hosts(make_site()))
    assert not [probe for probe in probes(make_site(), platform) if probe.check == CHECK]


def test_only_a_copy_holds_the_password_to_follow_by() -> None:
    directory = site().ldap
    assert directory is not None
    secret = Secret("canary-of-replicator")
    first = settings(directory, secret, "ws1.lab.example").reveal()
    copy = settings(directory, secret, "ws3.lab.example").reveal()
    assert "canary" not in first
    assert "canary-of-replicator" in copy
    assert "canary" not in repr(settings(directory, secret, "ws3.lab.example"))
    for text in (first, copy):
        assert "disallow bind_anon" in text
        assert "security simple_bind=128" in text


class Away:
    """A server from which no directory answers."""

    async def read(self, *_: object) -> tuple[TlsFound, Output]:
        return TlsFound("Connection refused", (), 0), Output(255, "", "")


@pytest.mark.parametrize(("before", "outcome"), [(True, Outcome.WARNING), (False, Outcome.FAILED)])
def test_a_directory_that_is_down_does_not_refuse_the_apply_that_brings_it_up(
    before: bool, outcome: Outcome
) -> None:
    given, host = Given("PEM", Secret("r")), Away()
    looked = OPENLDAP.check if before else OPENLDAP.look
    found = asyncio.run(looked(site(), given, host))  # type: ignore[arg-type]
    assert [one.outcome for one in found] == [outcome] * 2
    assert "ws3" in found[1].message
