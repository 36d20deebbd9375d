"""F42: the directory goes wrong in every way that it can; people are told so, and desks go on.

Also the table of who may log in, by the hub's own authenticator against the real directory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Page, expect

from deskside.app.hub import HubUser
from deskside.lab import nas
from deskside.site.secrets import Secret
from rack.browser import browser
from rack.platforms import OnRack, needs_root

pytestmark = [pytest.mark.rack, needs_root]

PATIENCE = 10.0
"""Seconds: what is promised for the answer to a log-in, also when something is wrong."""
LOCAL, LOCAL_PASSWORD = "breakglass", "an-axe-behind-glass"
HANG_UP = """
import socket
with socket.create_server(("0.0.0.0", 636)) as listener:
    while True:
        listener.accept()[0].close()
"""


def url(platform: OnRack) -> str:
    return f"http://{platform.rack.layout.load_balancer.partition('-')[0]}"


def password(platform: OnRack, user: str) -> Secret:
    return Secret(nas.secret_file(platform.rack.layout, user).read_text().strip())


def logs_in(platform: OnRack, user: str, secret: Secret) -> tuple[int, str]:
    """Status and text of the answer to the log-in form."""

    async def tried() -> tuple[int, str]:
        async with httpx.AsyncClient(base_url=url(platform), timeout=PATIENCE) as client:
            await client.get("/hub/login")
            form = {"username": user, "password": secret.reveal(), "_xsrf": client.cookies["_xsrf"]}
            async with asyncio.timeout(PATIENCE):
                answer = await client.post("/hub/login", data=form)
            return answer.status_code, answer.text

    return asyncio.run(tried())


@contextmanager
def stopped(platform: OnRack) -> Iterator[None]:
    with platform.broken("service", "nas", "slapd.service"):
        yield


@contextmanager
def hanging(platform: OnRack) -> Iterator[None]:
    platform.run("nas", "systemctl", "kill", "--signal=STOP", "slapd.service")
    try:
        yield
    finally:
        platform.run("nas", "systemctl", "kill", "--signal=CONT", "slapd.service")


@contextmanager
def hanging_up(platform: OnRack) -> Iterator[None]:
    with stopped(platform):
        platform.run("nas", "systemd-run", "--quiet", "--unit=hang-up", "python3", "-c", HANG_UP)
        try:
            yield
        finally:
            platform.run("nas", "systemctl", "stop", "hang-up.service")


@contextmanager
def impostor(platform: OnRack) -> Iterator[None]:
    """The directory shows a certificate that no authority of the site signed."""
    own = f"cat {nas.CERTIFICATE}", "cat /etc/ldap/tls/nas.key"
    before = [platform.shell("nas", read) for read in own]
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=nas -days 2"
    place = f"-keyout /etc/ldap/tls/nas.key -out {nas.CERTIFICATE}"
    platform.shell("nas", f"{make} {place} 2>/dev/null && systemctl restart slapd")
    try:
        yield
    finally:
        platform.run("nas", "tee", nas.CERTIFICATE, stdin=before[0])
        platform.run("nas", "tee", "/etc/ldap/tls/nas.key", stdin=before[1])
        platform.run("nas", "systemctl", "restart", "slapd.service")


WRONG = {
    "stopped": (stopped, "it refuses connections"),
    "hanging": (hanging, "does not answer"),
    "hanging up": (hanging_up, "it hangs up"),
    "another certificate": (impostor, "its certificate is not the one that is trusted"),
}


@pytest.fixture(scope="module")
def with_axe(platform: OnRack) -> Iterator[OnRack]:
    """The same site, with a local admin; and a desk of Ann's that runs all the time."""
    secret = platform.private("breakglass.secret", LOCAL_PASSWORD)
    line = f"  break_glass: {{name: {LOCAL}, password: {{file: {secret}}}}}\n"
    other = platform.with_site("with-axe", ("  kind: ldap\n", f"  kind: ldap\n{line}"))
    ended = other.deskside("apply", "--yes", "-v")
    assert LOCAL_PASSWORD not in ended.out + ended.err
    assert other.changes() == set()
    asyncio.run(start_desk(other))
    try:
        yield other
    finally:
        asyncio.run(stop_desk(other))
        platform.deskside("apply", "--yes")
    assert platform.changes() == set()


async def start_desk(platform: OnRack) -> None:
    async with HubUser(url(platform), "ann") as user:
        assert await user.log_in(password(platform, "ann")) == 302
        await user.start((await user.profiles())[0].slug, lambda _: None)


async def stop_desk(platform: OnRack) -> None:
    async with HubUser(url(platform), "ann") as user:
        await user.log_in(password(platform, "ann"))
        await user.has_desk()
        await user.stop(lambda _: None)


def desk_starts(platform: OnRack) -> list[object]:
    """When Ann's desk started; the same list as long as nothing touches it."""
    words = ("get", "pods", "-n", "jupyterhub", "-l", "component=singleuser-server", "-o", "json")
    items = json.loads(platform.kubectl(*words))["items"]
    return [(one["metadata"]["uid"], one["status"]["containerStatuses"][0]["restartCount"]) for one in items]


@pytest.mark.parametrize("kind", WRONG)
def test_f42_a_login_says_what_is_wrong_with_the_directory(with_axe: OnRack, kind: str) -> None:
    before = desk_starts(with_axe)
    assert len(before) == 1
    fault, said = WRONG[kind]
    with fault(with_axe):
        status, text = logs_in(with_axe, "ann", password(with_axe, "ann"))
        assert status == 503, text
        assert said in text
        assert "Desks that run go on" in text
        assert desk_starts(with_axe) == before
        assert logs_in(with_axe, LOCAL, Secret(LOCAL_PASSWORD))[0] == 302
        assert logs_in(with_axe, LOCAL, Secret("another-axe"))[0] == 403
    assert logs_in(with_axe, "ann", password(with_axe, "ann"))[0] == 302


def test_f42_a_person_sees_on_the_page_what_is_wrong_and_comes_back_to_her_desk(with_axe: OnRack) -> None:
    def fill_in(page: Page, word: str) -> None:
        page.get_by_label("Username:").fill("ann")
        page.get_by_label("Password:").fill(word)
        page.get_by_role("button", name="Sign in").click()

    with browser(with_axe) as page:
        page.goto(f"{url(with_axe)}/hub/")
        fill_in(page, "none-of-hers")
        expect(page.get_by_text("Invalid username or password")).to_be_visible()
        with stopped(with_axe):
            page.goto(f"{url(with_axe)}/hub/login")
            fill_in(page, password(with_axe, "ann").reveal())
            expect(page.get_by_text("it refuses connections")).to_be_visible()
            expect(page.get_by_text("Desks that run go on")).to_be_visible()
            page.screenshot(path=with_axe.logs / "directory-down.png")
        page.goto(f"{url(with_axe)}/hub/login")
        fill_in(page, password(with_axe, "ann").reveal())
        page.wait_for_url("**/user/ann/lab**")
        expect(page.get_by_title("Python 3 (ipykernel)").first).to_be_visible()
        page.screenshot(path=with_axe.logs / "directory-back.png")


def test_f42_a_directory_that_hangs_holds_up_nobody_else(with_axe: OnRack) -> None:
    async def both() -> tuple[int, int]:
        async with httpx.AsyncClient(base_url=url(with_axe), timeout=PATIENCE) as client:
            await client.get("/hub/login")
            form = {"username": "ann", "password": "x", "_xsrf": client.cookies["_xsrf"]}
            slow = asyncio.create_task(client.post("/hub/login", data=form))
            await asyncio.sleep(0)
            quick = await client.get("/hub/api/", timeout=3.0)
            assert not slow.done()
            return quick.status_code, (await slow).status_code

    with hanging(with_axe):
        assert asyncio.run(both()) == (200, 503)


GROUP = "cn=ai,cn=groups,{top}"
TABLE: Mapping[str, tuple[dict[str, object], dict[str, bool]]] = {
    "group": ({"allowed_groups": [GROUP]}, {"ann": True, "bob": False, "cyd": True}),
    "group, and an admin outside it by name": (
        {
            "allowed_groups": [GROUP],
            "admin_users": ["bob"],
            "allowed_users": ["bob"],
            "allow_existing_users": False,
        },
        {"ann": True, "bob": True, "cyd": True},
    ),
    "group, and an admin outside it who is not allowed by name": (
        {"allowed_groups": ["cn=administrators,cn=groups,{top}"], "admin_users": ["bob"]},
        {"ann": True, "bob": False, "cyd": False},
    ),
    "both at once lets everybody in": (
        {"allowed_groups": [GROUP], "allow_all": True},
        {"ann": True, "bob": True, "cyd": True},
    ),
    "everybody": ({"allow_all": True}, {"ann": True, "bob": True, "cyd": True}),
    "no rule": ({}, {"ann": False, "bob": False, "cyd": False}),
    "another group": (
        {"allowed_groups": ["cn=administrators,cn=groups,{top}"]},
        {"ann": True, "bob": False, "cyd": False},
    ),
}
TRY = """
import asyncio, json, sys
from traitlets.config import Config
c = Config()
c.JupyterHub.authenticator_class = "ldapauthenticator.LDAPAuthenticator"
asked = json.load(sys.stdin)
exec(asked["code"])
async def main():
    found = {}
    for user, password in asked["people"].items():
        config = Config({"LDAPAuthenticator": asked["traits"], "Authenticator": asked["rules"]})
        authenticator = c.JupyterHub.authenticator_class(config=config)
        data = {"username": user, "password": password}
        found[user] = bool(await authenticator.get_authenticated_user(None, data))
    print(json.dumps(found))
asyncio.run(main())
"""


@pytest.mark.parametrize("rule", TABLE)
def test_who_may_log_in_by_the_hubs_own_authenticator(platform: OnRack, rule: str) -> None:
    from deskside.identity.ldap import AT_HUB, LDAP
    from deskside.model.platform import Given
    from deskside.site.load import load

    traits, wanted = TABLE[rule]
    site = load(platform.site_file).site
    login = LDAP.hub_login(site, Given((platform.rack.folder / nas.AUTHORITY).read_text()))
    own = dict(json.loads(json.dumps(login.config))["LDAPAuthenticator"])
    own.pop("allowed_groups")
    top = platform.rack.layout.directory_root
    given = json.loads(json.dumps(traits).replace("{top}", top))
    groups = given.pop("allowed_groups", None)
    question = {
        "code": AT_HUB.read_text(),
        "traits": own | ({"allowed_groups": groups} if groups else {}),
        "rules": given,
        "people": {user: password(platform, user).reveal() for user in wanted},
    }
    argv = ("exec", "-i", "-n", "jupyterhub", "deployment/hub", "-c", "hub", "--", "python3", "-c", TRY)
    said = platform.kubectl(*argv, stdin=json.dumps(question))
    assert json.loads(said.splitlines()[-1]) == wanted
