"""Updates by key against a real BIND: what is entered, what stays, and what a wrong key does."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deskside.app.workspace import Workspace
from deskside.catalog import make_platform
from deskside.errors import StepFailed
from deskside.hosts.login import Target
from deskside.hosts.pins import Pins
from deskside.hosts.session import Session
from deskside.hosts.ssh import Link
from deskside.model.facts import Facts
from deskside.model.platform import Given, Platform
from deskside.model.query import ReadFacts
from deskside.model.resource import Change
from deskside.site.schema import Site
from deskside.steps.records import records
from rack.platforms import OnRack, needs_root

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(300)]

KEY = base64.b64encode(secrets.token_bytes(32)).decode()
NAMED = """
options {{ directory "/run/zones"; listen-on {{ {address}; }}; recursion no; pid-file none; }};
controls {{ }};
key deskside {{ algorithm hmac-sha256; secret "{key}"; }};
zone "{forward}" {{ type master; file "{forward}.zone"; allow-update {{ key deskside; }}; }};
zone "{reverse}" {{ type master; file "{reverse}.zone"; allow-update {{ key deskside; }}; }};
"""
ZONE = "$TTL 60\n@ IN SOA ns.{top}. root.{top}. 1 60 60 60 60\n@ IN NS ns.{top}.\n"


@pytest.fixture(scope="module")
def bind(bare: OnRack) -> Iterator[OnRack]:
    """A name server on ws2 with both zones, a printer that somebody entered, and an old address of ws1."""
    layout = bare.rack.layout
    forward, reverse = layout.domain, f"{layout.subnet_number}.77.10.in-addr.arpa"
    address = layout.address(layout.host("ws2"))
    bare.shell("ws2", "systemctl mask named.service; apt-get -qq update")
    bare.shell("ws2", "apt-get -qq install -y bind9 bind9-dnsutils >/dev/null")
    bare.shell("ws2", "mkdir -p /run/zones")
    text = NAMED.format(address=address, key=KEY, forward=forward, reverse=reverse)
    bare.run("ws2", "tee", "/run/zones/named.conf", stdin=text)
    more = f"ns IN A {address}\nprinter IN A {layout.prefix}77\nws1 IN A {layout.prefix}99\n"
    bare.run("ws2", "tee", f"/run/zones/{forward}.zone", stdin=ZONE.format(top=forward) + more)
    bare.run("ws2", "tee", f"/run/zones/{reverse}.zone", stdin=ZONE.format(top=forward))
    try:
        bare.shell("ws2", "systemd-run --quiet --unit=zones /usr/sbin/named -f -c /run/zones/named.conf")
        bare.shell("ws2", f"until dig @{address} +tries=1 soa {forward} >/dev/null; do sleep 0.3; done")
        yield bare
    finally:
        bare.run("ws2", "systemctl", "stop", "zones.service", check=False)
        bare.shell(
            "ws2", "rm -r /run/zones; apt-get -qq purge -y bind9 >/dev/null; systemctl unmask named.service"
        )


@asynccontextmanager
async def session_with(bind: OnRack) -> AsyncIterator[Session]:
    """A session of ws1."""
    host = bind.rack.host("ws1")
    target = Target("ws1", host.address, "ops", None, (Path(f"{bind.rack.layout.key}.pub"),))
    link = Link(target, Pins(Path(bind.rack.layout.known_hosts)))
    await link.open()

    async def nothing(_: object) -> Path:
        raise AssertionError("nothing is sent")

    async with Session(link, nothing) as found:
        yield found


async def entering(bind: OnRack, session: Session, key: str) -> tuple[Site, Platform]:
    """The rack's site, with the name server of ws2."""
    (bind.rack.folder / "dns.key").touch(mode=0o600)
    (bind.rack.folder / "dns.key").write_text(key)
    layout = bind.rack.layout
    text = bind.rack.site_file.read_text()
    old = next(line for line in text.splitlines() if line.strip().startswith("dns:"))
    address = layout.address(layout.host("ws2"))
    new = (
        f"  dns: {{provider: router, server: {address}, tsig: {{name: deskside, secret: {{file: dns.key}}}}}}"
    )
    workspace = Workspace.open(bind.with_site("by-key", (old, new)).site_file)
    facts = {"ws1": Facts.from_raw(await session.read(ReadFacts(("/",))))}
    platform = make_platform(workspace.site, workspace.train, {}, facts, Given())
    return workspace.site, replace(platform, dns_key=workspace.dns_key())


async def enter(bind: OnRack, key: str, times: int) -> list[int]:
    """Carry the step out so many times; how many changes it made each time."""
    async with session_with(bind) as session:
        site, platform = await entering(bind, session, key)
        return [await entered(session, site, platform) for _ in range(times)]


async def entered(session: Session, site: Site, platform: Platform) -> int:
    """Make every change of the step; how many there were."""
    made = 0
    for resource in records.resources(site, platform, platform.hosts["ws1"]):
        change = await resource.plan(session)
        if isinstance(change, Change):
            await session.perform(change.actions, title=records.title, deadline=120)
            made += 1
    return made


def dig(bind: OnRack, *words: str) -> list[str]:
    layout = bind.rack.layout
    at = f"@{layout.address(layout.host('ws2'))}"
    return bind.run("ws2", "dig", at, "+short", *words).out.split()


def test_a_wrong_key_changes_nothing_and_is_shown_nowhere(bind: OnRack) -> None:
    wrong = base64.b64encode(secrets.token_bytes(32)).decode()
    with pytest.raises(StepFailed) as raised:
        asyncio.run(enter(bind, wrong, 1))
    said = f"{raised.value.message}\n{raised.value.detail}"
    assert "BADSIG" in said or "NOTAUTH" in said or "BADKEY" in said
    assert wrong not in said
    assert wrong not in bind.shell("ws1", "journalctl --no-pager --lines=500")
    assert dig(bind, bind.rack.layout.fqdn(bind.rack.layout.host("ws1"))) == [f"{bind.rack.layout.prefix}99"]


def test_records_are_entered_once_and_those_of_others_stay(bind: OnRack) -> None:
    layout = bind.rack.layout
    first, second = asyncio.run(enter(bind, KEY, 2))
    assert first >= 1
    assert second == 0, "a second plan has nothing to do"
    for host in layout.hosts:
        assert dig(bind, layout.fqdn(host)) == [layout.address(host)]
        assert dig(bind, "-x", layout.address(host)) == [f"{layout.fqdn(host)}."]
    assert dig(bind, f"any.apps.{layout.domain}") == [f"{layout.prefix}200"]
    assert dig(bind, f"printer.{layout.domain}") == [f"{layout.prefix}77"]
    assert KEY not in bind.shell("ws1", "journalctl --no-pager --lines=500")


def test_a_key_that_is_no_base64_is_refused_without_a_host(bare: OnRack, tmp_path: Path) -> None:
    secret = tmp_path / "dns.key"
    secret.touch(mode=0o600)
    secret.write_text("canary; not base64")
    text = bare.rack.site_file.read_text()
    old = next(line for line in text.splitlines() if line.strip().startswith("dns:"))
    new = f"  dns: {{provider: synology, tsig: {{name: deskside, secret: {{file: {secret}}}}}}}"
    ended = bare.with_site("bad-key", (old, new)).deskside("plan", code=3)
    assert "network.dns.tsig.secret is no base64" in ended.err
    assert "canary" not in ended.out + ended.err
