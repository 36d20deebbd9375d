"""People log in by a real OpenID Connect provider, backed by the rack's directory, in a real browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from deskside.app.verify import BY_PROVIDER
from deskside.identity.hub_programs import IN_HUB
from deskside.identity.leaving import forgetting_input, forgetting_program
from deskside.lab import nas, provider
from rack.browser import browser
from rack.platforms import OnRack, needs_root, until

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(600, func_only=True)]

WRONG_PASSWORD = "none-of-hers"
OFTEN = "  values: {hub: {config: {Leaving: {interval: 3}}}}\n"
"""The hub looks every three seconds for people who have left; every five minutes on a site."""
STARTED = 120_000
"""Milliseconds for a desk."""


@dataclass(frozen=True)
class ByProvider:
    """The rack with its provider."""

    on: OnRack
    certificate: str

    @property
    def hub(self) -> str:
        return f"http://notebooks.{self.on.rack.layout.domain}"

    def password(self, user: str) -> str:
        return nas.secret_file(self.on.rack.layout, user).read_text().strip()

    def to_provider(self, page: Page) -> None:
        """From the hub's own page to the provider's."""
        page.goto(f"{self.hub}/hub/")
        page.get_by_role("button", name=f"Sign in with nas.{self.on.rack.layout.domain}").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.url.startswith(provider.issuer(self.on.rack.layout))

    def sign_in(self, page: Page, user: str, password: str = "") -> None:
        """Fill in the provider's page."""
        page.get_by_label("Name").fill(user)
        page.get_by_label("Password").fill(password or self.password(user))
        page.get_by_role("button", name="Sign in").click()

    def hub_says(self, what: str) -> bool:
        """Whether the hub's log has it, since the hub was started by this site file."""
        log = self.on.kubectl("logs", "-n", "jupyterhub", "deployment/hub", "-c", "hub", "--tail=-1")
        (self.on.logs / "hub.txt").write_text(log)
        return what in log


@pytest.fixture(scope="module")
def by_provider(platform: OnRack) -> Iterator[ByProvider]:
    """The same site with `identity.kind: okta`; as it was before at the end."""
    rack = platform.rack
    asyncio.run(provider.start(rack, lambda _who, _line: None))
    text = rack.site_file.read_text()
    section = text[text.index("identity:\n") : text.index("kubernetes:")]
    hostname = next(line for line in text.splitlines(keepends=True) if line.startswith("  hostname:"))
    identity = provider.identity_text(rack.layout) + "\n"
    other = platform.with_site("okta", (section, identity), (hostname, hostname + OFTEN))
    secret = provider.secret_file(rack.layout).read_text().strip()
    try:
        planned = other.deskside("plan", "--json")
        ended = other.deskside("apply", "--yes", "-v")
        for said in (planned.out, planned.err, ended.out, ended.err):
            assert secret not in said
        assert other.changes() == set()
        place = rack.layout.root(rack.host("nas").spec) / "opt/openid-provider/leaf.pem"
        yield ByProvider(other, place.read_text())
    finally:
        # Ann's desk goes with her, as when somebody is removed.
        platform.kubectl(*IN_HUB, *forgetting_program(), stdin=forgetting_input(["ann"]))
        platform.deskside("apply", "--yes")
        asyncio.run(provider.remove(rack))
    assert platform.changes() == set()


def desks(platform: OnRack) -> list[object]:
    """The desks that run, and when each began."""
    words = ("get", "pods", "-n", "jupyterhub", "-l", "component=singleuser-server", "-o", "json")
    return [one["metadata"]["uid"] for one in json.loads(platform.kubectl(*words))["items"]]


def picture(by_provider: ByProvider, page: Page, name: str) -> Path:
    """Kept beside the logs."""
    path = by_provider.on.logs / f"{name}.png"
    page.screenshot(path=path)
    return path


def test_check_knows_provider_and_client(by_provider: ByProvider) -> None:
    said = by_provider.on.deskside("check").out
    assert "knows the client" in said


def test_verify_needs_somebody_who_has_logged_in(by_provider: ByProvider) -> None:
    findings = {one["check"]: one for one in by_provider.on.deskside("verify", "--json", code=5).lines}
    assert "leads to the provider's page" in findings["log in"]["message"]
    assert findings["token"]["outcome"] == "failed"
    assert "let ann log in" in findings["token"]["hint"]
    assert findings["home"]["outcome"] == "not run"


def test_ann_logs_in_and_works_at_a_desk(by_provider: ByProvider) -> None:
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        picture(by_provider, page, "provider")
        by_provider.sign_in(page, "ann")
        expect(page.get_by_role("heading", name="Server Options")).to_be_visible()
        picture(by_provider, page, "spawn")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/user/ann/lab**", timeout=STARTED)
        expect(page.get_by_title("Python 3 (ipykernel)").first).to_be_visible(timeout=STARTED)
        picture(by_provider, page, "lab")


def test_bob_is_known_and_refused(by_provider: ByProvider) -> None:
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        by_provider.sign_in(page, "bob")
        expect(page.get_by_text("not in the group ai")).to_be_visible()
        assert page.url.startswith(by_provider.hub)
        picture(by_provider, page, "refused")
        page.goto(f"{by_provider.hub}/hub/home")
        expect(page.get_by_role("button", name="Sign in with")).to_be_visible()


def test_a_wrong_password_never_gets_back_to_the_hub(by_provider: ByProvider) -> None:
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        by_provider.sign_in(page, "ann", WRONG_PASSWORD)
        expect(page.get_by_text("name or password is not right")).to_be_visible()
        assert page.url.startswith(provider.issuer(by_provider.on.rack.layout))


def test_f42_a_provider_that_is_down_is_said_and_desks_go_on(by_provider: ByProvider) -> None:
    before = desks(by_provider.on)
    assert len(before) == 1
    with browser(by_provider.on, by_provider.certificate) as own:
        by_provider.to_provider(own)
        by_provider.sign_in(own, "ann")
        own.wait_for_url("**/user/ann/lab**", timeout=STARTED)
    with by_provider.on.broken("service", "nas", provider.UNIT):
        with browser(by_provider.on, by_provider.certificate) as page:
            page.goto(f"{by_provider.hub}/hub/")
            page.get_by_role("button", name="Sign in with").click()
            expect(page.get_by_text("it refuses connections")).to_be_visible()
            expect(page.get_by_text("Desks that run go on")).to_be_visible()
            picture(by_provider, page, "down")
        until("the hub does not look", 60, lambda: by_provider.hub_says("whether ann may stay is not known"))
        assert desks(by_provider.on) == before
    asyncio.run(provider.wait_answering(by_provider.on.rack))


def test_verify_works_as_somebody_who_has_logged_in(by_provider: ByProvider) -> None:
    said = by_provider.on.deskside("verify", code=5).out
    assert "ann has a desk already" in said
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        by_provider.sign_in(page, "ann")
        page.wait_for_url("**/user/ann/lab**", timeout=STARTED)
        page.goto(f"{by_provider.hub}/hub/home")
        page.get_by_role("button", name="Stop My Server").click()
        expect(page.get_by_role("button", name="Start My Server")).to_be_visible(timeout=STARTED)
        until("the desk goes on", 60, lambda: desks(by_provider.on) == [])
        findings = by_provider.on.deskside("verify", "--json").lines
        assert [one["check"] for one in findings][-len(BY_PROVIDER) :] == list(BY_PROVIDER)
        assert {one["outcome"] for one in findings} == {"ok"}
        page.goto(f"{by_provider.hub}/hub/token")
        expect(page.get_by_role("heading", name="Manage JupyterHub Tokens")).to_be_visible()
        expect(page.get_by_text("deskside verify")).to_have_count(0)
        picture(by_provider, page, "tokens")
    assert desks(by_provider.on) == []


def test_who_is_taken_out_of_the_group_is_put_out_soon(by_provider: ByProvider) -> None:
    top = by_provider.on.rack.layout.directory_root
    change = f"dn: cn=ai,cn=groups,{top}\nchangetype: modify\n{{}}: member\nmember: uid=cyd,cn=users,{top}\n"
    modify = ("ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        by_provider.sign_in(page, "cyd")
        expect(page.get_by_role("heading", name="Server Options")).to_be_visible()
        by_provider.on.run("nas", *modify, stdin=change.format("delete"))
        try:
            until(
                "cyd is still there", 90, lambda: by_provider.hub_says("cyd left the directory, and was put")
            )
            page.goto(f"{by_provider.hub}/hub/home")
            expect(page.get_by_role("button", name="Sign in with")).to_be_visible()
            assert not by_provider.hub_says("ann left the directory")
        finally:
            by_provider.on.run("nas", *modify, stdin=change.format("add"))
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        by_provider.sign_in(page, "cyd")
        expect(page.get_by_role("heading", name="Server Options")).to_be_visible()
