"""What a person is told to type in: made from the site file alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from deskside.app.handout import (
    forward_zone,
    records,
    reservations,
    reverse_zone,
    router_handout,
    synology_handout,
    zone_names,
)
from deskside.site.load import load
from deskside.site.schema import Firewall, Site

SITE = load(Path(__file__).resolve().parents[2] / "docs/examples/site.yaml").site
TODAY = date(2026, 11, 24)


def with_network(**changes: object) -> Site:
    return SITE.model_copy(update={"network": SITE.network.model_copy(update=changes)})


def test_every_host_with_a_card_is_reserved() -> None:
    assert ("00:11:32:10:00:20", "10.20.0.20", "nas") in reservations(SITE).rows
    assert len(reservations(SITE).rows) == len(SITE.hosts)


def test_every_record_has_its_reverse() -> None:
    rows = records(SITE).rows
    assert ("ws1.lab.example", "A", "10.20.0.11") in rows
    assert ("11.0.20.10.in-addr.arpa", "PTR", "ws1.lab.example") in rows
    assert rows[-1] == ("*.apps.lab.example", "A", "10.20.0.200")


def test_the_zone_files_name_the_nas_and_count_by_the_day() -> None:
    text = forward_zone(SITE, TODAY)
    assert "@ IN SOA nas.lab.example. hostmaster.lab.example. 2026112400 " in text
    assert "\nnotebooks IN A 10.20.0.200\n" in text
    assert "\n11 IN PTR ws1.lab.example.\n" in reverse_zone(SITE, TODAY)


def test_a_reverse_zone_ends_at_a_byte() -> None:
    for subnet, zone in (("10.20.0.0/24", "0.20.10"), ("10.20.0.0/22", "20.10"), ("10.0.0.0/8", "10")):
        site = with_network(subnet=type(SITE.network.subnet)(subnet))
        assert zone_names(site)[1] == f"{zone}.in-addr.arpa"
    assert "\n11.0 IN PTR ws1" in reverse_zone(
        with_network(subnet=type(SITE.network.subnet)("10.20.0.0/22")), TODAY
    )


def test_other_networks_get_rules_and_the_internet_none() -> None:
    alone = router_handout(SITE).text
    assert "forward no port to the site" in alone
    office = type(SITE.network.subnet)("10.8.0.0/24")
    text = router_handout(with_network(firewall=Firewall(allow_from=(SITE.network.subnet, office)))).text
    assert "10.8.0.0/24   10.20.0.200" in text
    assert "10.8.0.0/24   10.20.0.10    tcp/6443" in text, "kubectl asks the address that moves"
    assert "10250" not in text


def test_the_rules_say_what_is_seen_of_them() -> None:
    everything = router_handout(SITE).text
    rules = " ".join(everything.partition("Rules between networks")[2].split())
    assert "Deskside cannot read the router's own settings" in rules
    assert "who came by none of them" in rules
    assert "the address that is reserved for it" in everything
    assert "the records lead where they should" in everything
    alone = router_handout(with_network(dhcp=None, dns=None, firewall=Firewall(enabled=False)))
    assert "Try each rule from a machine in the network it is for" in " ".join(alone.text.split())
    assert "check network sees" not in alone.text
    assert list(alone.to_json()["notes"]) == ["Rules between networks"]  # type: ignore[call-overload]


def test_a_document_has_all_that_the_text_has() -> None:
    found = synology_handout(SITE, TODAY)
    document = found.to_json()
    assert set(document["files"]) == {"lab.example.zone", "0.20.10.in-addr.arpa.zone"}  # type: ignore[call-overload]
    assert all(step in found.text for step in found.steps)


def test_what_okta_is_told_is_what_the_hub_uses() -> None:
    from addons.sites import SITE as example
    from deskside.app.handout_okta import okta_handout
    from deskside.errors import SiteError

    section = {
        "issuer": "https://lab.okta.com/oauth2/default",
        "client_id": "x",
        "client_secret": {"file": "s"},
    }
    identity = {"kind": "okta", "allow": {"group": "ai"}, **section}
    found = okta_handout(Site.model_validate({**example, "identity": identity}))
    assert "http://notebooks.lab.example/hub/oauth_callback" in found.text
    assert "filter: equals ai" in found.text
    assert "offline_access" in str(found.to_json())
    with pytest.raises(SiteError):
        okta_handout(SITE)
