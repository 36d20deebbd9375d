"""People log in by a real OpenID Connect provider, backed by the rack's directory, in a real browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from deskside.identity.leaving import forgetting_input, forgetting_program
from deskside.lab import nas, provider
from rack.browser import browser
from rack.platforms import OnRack, needs_root

pytestmark = [pytest.mark.rack, needs_root, pytest.mark.timeout(600)]

WRONG_PASSWORD = "none-of-hers"
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

    def in_hub(self, code: str, **given: object) -> str:
        """Last line that Python code prints in the hub's container."""
        argv = ("exec", "-i", "-n", "jupyterhub", "deployment/hub", "-c", "hub", "--", "python3", "-c", code)
        return self.on.kubectl(*argv, stdin=json.dumps(given)).splitlines()[-1]


@pytest.fixture(scope="module")
def by_provider(platform: OnRack) -> Iterator[ByProvider]:
    """The same site with `identity.kind: okta`; as it was before at the end."""
    rack = platform.rack
    asyncio.run(provider.start(rack, lambda _who, _line: None))
    text = rack.site_file.read_text()
    section = text[text.index("identity:\n") : text.index("kubernetes:")]
    other = platform.with_site("okta", (section, provider.identity_text(rack.layout) + "\n"))
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
        hub = ("exec", "-i", "-n", "jupyterhub", "deployment/hub", "-c", "hub", "--")
        platform.kubectl(*hub, *forgetting_program(), stdin=forgetting_input(["ann"]))
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
    with by_provider.on.broken("service", "nas", provider.UNIT):
        with browser(by_provider.on, by_provider.certificate) as page:
            page.goto(f"{by_provider.hub}/hub/")
            page.get_by_role("button", name="Sign in with").click()
            expect(page.get_by_text("it refuses connections")).to_be_visible()
            expect(page.get_by_text("Desks that run go on")).to_be_visible()
            picture(by_provider, page, "down")
        assert by_provider.in_hub(ASK, user="ann") == "True"
        assert desks(by_provider.on) == before
    asyncio.run(provider.wait_answering(by_provider.on.rack))
    assert by_provider.in_hub(ASK, user="ann") == "fine"


def test_who_is_taken_out_of_the_group_may_not_stay(by_provider: ByProvider) -> None:
    top = by_provider.on.rack.layout.directory_root
    with browser(by_provider.on, by_provider.certificate) as page:
        by_provider.to_provider(page)
        by_provider.sign_in(page, "cyd")
        expect(page.get_by_role("heading", name="Server Options")).to_be_visible()
    change = f"dn: cn=ai,cn=groups,{top}\nchangetype: modify\n{{}}: member\nmember: uid=cyd,cn=users,{top}\n"
    modify = ("ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
    assert by_provider.in_hub(ASK, user="cyd") == "fine"
    by_provider.on.run("nas", *modify, stdin=change.format("delete"))
    try:
        assert by_provider.in_hub(ASK, user="cyd") == "False"
        assert by_provider.in_hub(ASK, user="ann") == "fine"
    finally:
        by_provider.on.run("nas", *modify, stdin=change.format("add"))
    assert by_provider.in_hub(ASK, user="cyd") == "fine"


def test_verify_says_what_it_cannot_try(by_provider: ByProvider) -> None:
    said = by_provider.on.deskside("verify", "--json", code=5).out
    assert "leads to the provider" in said
    assert "nobody but the person" in said


# The hub's own authenticator and database, asked beside the hub: what it says of somebody, and nothing else.
ASK = """
import asyncio, json, os, sys
sys.path.insert(0, "/usr/local/etc/jupyterhub")
from jupyterhub.app import JupyterHub
asked = json.load(sys.stdin)
async def main():
    hub = JupyterHub(log_level="ERROR")
    hub.load_config_file("/usr/local/etc/jupyterhub/jupyterhub_config.py")
    hub.update_config(hub.config)
    authenticator = hub.config.JupyterHub.authenticator_class(config=hub.config)
    from jupyterhub import crypto, orm
    crypto.CryptKeeper.instance(config=hub.config)
    db = orm.new_session_factory("sqlite:////srv/jupyterhub/jupyterhub.sqlite")()
    row = orm.User.find(db, asked["user"])
    class Person:
        name = asked["user"]
        async def get_auth_state(self):
            return await crypto.decrypt(row.encrypted_auth_state)
        async def save_auth_state(self, state):
            row.encrypted_auth_state = await crypto.encrypt(state)
            db.commit()
    found = await authenticator.refresh_user(Person())
    print("fine" if isinstance(found, dict) else found)
asyncio.run(main())
"""
