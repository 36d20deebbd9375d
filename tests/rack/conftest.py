"""Racks that tests share. The large one is brought up once, by kills (see `kills.py`), and used by many."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

import pytest

from deskside.lab.rack import Rack
from deskside.lab.spec import RackSpec, workstations
from rack.docker import put_docker
from rack.kills import BringUp, bring_up_by_kills
from rack.platforms import RACKS, OnRack, rack_up
from rack.watching import Watch, watched

DOCKER_HOST = "ws2"
"""Of the large rack: somebody's Docker is there before Deskside comes."""
FAILED = pytest.StashKey[list[str]]()
"""Names of the tests on racks that failed so far."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note failures, so that a rack's fixture can keep what explains them."""
    report = yield
    if report.failed:
        item.config.stash.setdefault(FAILED, []).append(item.nodeid)
    return report


@pytest.fixture(scope="package")
def _whole(request: pytest.FixtureRequest) -> Iterator[tuple[OnRack, BringUp, Watch]]:
    failed = request.config.stash.setdefault(FAILED, [])
    with rack_up(RackSpec(f"{RACKS}-whole", workstations(1, 2)), failed) as rack:
        put_docker(rack, DOCKER_HOST)
        with watched(rack.rack.folder / "programs.txt") as watch:
            brought = bring_up_by_kills(rack)
        yield rack, brought, watch


@pytest.fixture(scope="package")
def platform(_whole: tuple[OnRack, BringUp, Watch]) -> OnRack:
    """Three workstations and a NAS with everything on them; a test leaves them as it found them."""
    return _whole[0]


@pytest.fixture(scope="package")
def brought(_whole: tuple[OnRack, BringUp, Watch]) -> BringUp:
    """How that came about."""
    return _whole[1]


@pytest.fixture(scope="package")
def programs(_whole: tuple[OnRack, BringUp, Watch]) -> Watch:
    """Every program that was started for it, here and on the hosts."""
    return _whole[2]


@pytest.fixture(scope="package")
def bare(request: pytest.FixtureRequest) -> Iterator[OnRack]:
    """Two bare workstations and a NAS; a test leaves them bare."""
    failed = request.config.stash.setdefault(FAILED, [])
    with rack_up(RackSpec(f"{RACKS}-luck", workstations(1, 1)), failed) as rack:
        # Every look at a site that is to hand out addresses waits five seconds for others who do.
        text = rack.site_file.read_text()
        rack.site_file.write_text(re.sub(r"(?m)^  dhcp: .*\n", "", text))
        yield rack


@pytest.fixture(scope="package")
def rack(bare: OnRack) -> Rack:
    """The same small rack, for tests that need its hosts alone."""
    return bare.rack


@pytest.fixture(scope="package")
def contacted(request: pytest.FixtureRequest) -> Iterator[OnRack]:
    """Two workstations and a NAS for first contact and baseline; a test leaves a host that can be entered."""
    failed = request.config.stash.setdefault(FAILED, [])
    with rack_up(RackSpec(f"{RACKS}-adopt", workstations(1, 1)), failed) as rack:
        yield rack
