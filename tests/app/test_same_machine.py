"""A machine is the host that is meant when its cards say so."""

from __future__ import annotations

import pytest

from deskside.app.same_machine import macs_of, require_same
from deskside.errors import WrongMachine
from deskside.site.schema import Site
from steps.sites import make_site

WS1, WS2 = "7c:c2:55:00:00:11", "7c:c2:55:00:00:12"
LOOPBACK = "00:00:00:00:00:00"
INFINIBAND = "00:00:10:29:fe:80:00:00:00:00:00:00:24:8a:07:03:00:a1:b2:c3"


def site(**macs: str) -> Site:
    hosts = [spec.model_dump(mode="json", exclude_none=True) for spec in make_site().hosts]
    for host in hosts:
        host.pop("mac", None)
        if host["name"] in macs:
            host["mac"] = macs[host["name"]]
    return make_site(hosts=hosts)


def require(of: Site, told: str) -> None:
    require_same(of, of.host("ws1"), "10.20.0.57", told)


def test_what_the_kernel_prints_is_read() -> None:
    told = f"{LOOPBACK}\n{INFINIBAND}\n{WS1.upper()}\n{WS2}\n{WS1}\n\n"
    assert macs_of(told) == (WS1, WS2)


def test_any_card_will_do_as_one_of_a_bond_does() -> None:
    require(site(ws1=WS1), f"{LOOPBACK}\n02:00:00:00:00:01\n{WS1}\n")


def test_a_site_file_without_the_address_has_nothing_to_compare() -> None:
    require(site(), f"{WS1}\n")
    require(site(), "")


def test_another_machine_is_refused_with_both_addresses() -> None:
    with pytest.raises(WrongMachine) as refused:
        require(site(ws1=WS1), f"{LOOPBACK}\n{WS2}\n")
    assert refused.value.message == (
        f"the machine at 10.20.0.57 is not ws1: its cards are {WS2}, hosts[].mac says {WS1}"
    )
    assert "--discover ws1" in refused.value.hint


@pytest.mark.parametrize("own", [{}, {"ws1": WS1}])
def test_another_host_of_the_site_is_called_by_its_name(own: dict[str, str]) -> None:
    with pytest.raises(WrongMachine, match="is ws2, not ws1") as refused:
        require(site(ws2=WS2, **own), f"{WS2}\n")
    assert "deskside adopt ws2=10.20.0.57" in refused.value.hint


def test_a_machine_that_tells_nothing_is_not_taken_for_the_right_one() -> None:
    with pytest.raises(WrongMachine, match="does not tell"):
        require(site(ws1=WS1), "Unknown command: sh\n")
