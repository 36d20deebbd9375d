"""Updates by key: what is entered, when it is there, and that the key is shown nowhere."""

from __future__ import annotations

import json
from dataclasses import replace

from deskside.model.query import Output
from deskside.resources.command import Command
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.steps.records import all_there, records, update_script, wanted_records

from .sites import make_hosts, make_platform
from .test_names import served

KEY = Secret("Y2FuYXJ5")
DNS = {"provider": "synology", "tsig": {"name": "deskside", "secret": {"file": "dns.key"}}}


def resources(site: Site, key: Secret | None = KEY) -> list[object]:
    hosts = make_hosts(site)
    platform = replace(make_platform(hosts), dns_key=key)
    return list(records.resources(site, platform, hosts["ws1"]))


def test_nothing_without_a_key() -> None:
    assert resources(served(None, {"provider": "synology"})) == []
    assert resources(served(None, DNS), None) == []


def test_every_name_and_address_takes_the_place_of_what_was_there() -> None:
    site = served(None, DNS)
    script = update_script(site, tuple(wanted_records(site)), KEY).reveal().splitlines()
    assert script[:2] == ["server 10.20.0.20", "key hmac-sha256:deskside Y2FuYXJ5"]
    for line in (
        "update add ws1.lab.example. 3600 A 10.20.0.11",
        "update add *.apps.lab.example. 3600 A 10.20.0.200",
        "update add 11.0.20.10.in-addr.arpa. 3600 PTR ws1.lab.example.",
    ):
        place = script.index(line)
        owner, kind = line.split()[2], line.split()[4]
        assert script[place - 1] == f"update delete {owner} {kind}"
    assert script.count("send") == 2, "one update for each zone"
    assert script[-1] == "send"


def test_a_name_outside_the_sites_domain_is_not_ours_to_enter() -> None:
    site = served(None, DNS)
    other = site.model_copy(
        update={"notebooks": site.notebooks.model_copy(update={"hostname": "hub.example.org"})}
    )
    owners = [owner for owner, kind, *_ in wanted_records(other) if kind == "A"]
    assert "hub.example.org" not in owners


def test_they_are_there_when_the_server_says_so() -> None:
    site = served(None, DNS)
    wanted = tuple(wanted_records(site))
    right = {asked: [value] for _, _, value, asked in wanted}
    assert all_there(wanted, Output(0, json.dumps(right), ""))
    assert not all_there(wanted, Output(0, json.dumps({**right, "ws1.lab.example": []}), ""))
    for silent in (Output(1, "", ""), Output(0, "x", ""), Output(0, json.dumps(dict.fromkeys(right)), "")):
        assert not all_there(wanted, silent)


def test_the_key_is_in_no_argument_and_no_repr() -> None:
    (_, command) = resources(served(None, DNS))
    assert isinstance(command, Command)
    assert "Y2FuYXJ5" not in repr(command)
    assert "Y2FuYXJ5" not in " ".join(command.argv)
