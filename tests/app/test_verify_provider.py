"""The acceptance test where a provider logs people in: as far as a log-in goes, then by a token of the hub.

Against a FAKE hub and a modelled server; the rack has the real ones, provider included.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.fakehub import FakeHub, serving
from app.test_verify import SITE, acceptance, server
from deskside.addons.desks import profile_list
from deskside.app.verify import BY_PROVIDER, Acceptance, Login
from deskside.hosts.fake import FakeHost
from deskside.identity.hub_programs import IN_HUB
from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output
from deskside.resources.release import KUBECTL

pytestmark = pytest.mark.timeout(60)
TOKEN = "canary-token"
FIRST = ("names", "directory", "address")


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHub]:
    monkeypatch.setattr("deskside.app.desk.closed_to_desks", lambda _: (("127.0.0.1", 9),))
    slugs = tuple(str(profile["slug"]) for profile in profile_list(SITE.notebooks.profiles))
    async with serving(FakeHub(tmp_path, {}, set(), slugs, tokens={TOKEN: "ann"})) as found:
        monkeypatch.setenv("JUPYTERHUB_API_URL", f"{found.url}/hub/api")
        yield found


def by_provider(hub: FakeHub, lent: object, user: Login | None = Login("ann", None)) -> Acceptance:  # noqa: B008
    test = acceptance(hub, user)
    identity = SITE.identity.model_copy(update={"kind": "okta"})
    test.site = SITE.model_copy(update={"identity": identity})
    host = server(hub)
    host.answer("curl", says="303 https://provider.lab.example/signin")

    def in_hub(_: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        del argv
        number = json.loads(given).get("id")
        if number:
            hub.happened.append(f"{number} is back")
        found = {"id": number} if number else lent
        return Output(0, f"Loading /usr/local/etc/jupyterhub/values\ndeskside {json.dumps(found)}\n", "")

    host.answer(*KUBECTL, *IN_HUB, "python3", says=in_hub)
    test.server = host
    return test


async def seen(test: Acceptance) -> dict[str, Finding]:
    return {finding.check: finding for finding in await test.run()}


LENT = {"token": TOKEN, "id": "a7"}


async def test_all_is_well_and_the_token_is_handed_back(hub: FakeHub) -> None:
    findings = await seen(by_provider(hub, LENT))
    assert tuple(findings) == (*FIRST, *BY_PROVIDER)
    assert {finding.outcome for finding in findings.values()} == {Outcome.OK}, findings
    assert findings["home"].message == "written on ws1, read on ws2"
    assert findings["firewall elsewhere"].message.startswith("a desk on ws2 reaches no shell")
    assert hub.happened[-2:] == ["stop", "a7 is back"], "the token is needed to stop the desk"
    assert (hub.desk_of, hub.cordoned) == ({}, set())


async def test_a_site_with_one_worker_has_no_elsewhere(hub: FakeHub) -> None:
    test = by_provider(hub, LENT)
    hosts = tuple(host for host in SITE.hosts if host.name == "ws1" or not host.is_worker)
    test.site = test.site.model_copy(update={"hosts": hosts})
    assert list(await seen(test)) == [name for name in (*FIRST, *BY_PROVIDER) if name != "firewall elsewhere"]


@pytest.mark.parametrize(
    ("lent", "said"),
    [
        ({"error": "unknown"}, "let ann log in once"),
        ({"error": "the hub refuses Deskside's token (HTTP 403)"}, "HTTP 403"),
        ({"token": "", "id": ""}, "no answer"),
        ([], "no answer"),
    ],
)
async def test_no_token_is_no_pass(hub: FakeHub, lent: object, said: str) -> None:
    findings = await seen(by_provider(hub, lent))
    assert findings["token"].outcome is Outcome.FAILED
    assert said in findings["token"].message + findings["token"].hint
    assert {findings[name].outcome for name in BY_PROVIDER[2:]} == {Outcome.NOT_RUN}
    assert hub.happened == []


async def test_who_may_not_stay_at_the_provider(hub: FakeHub) -> None:
    findings = await seen(by_provider(hub, {"token": "refused", "id": "a8"}))
    assert "does not let ann stay" in findings["token"].message
    assert hub.happened == ["a8 is back"]


async def test_nobody_to_work_as_is_not_run(hub: FakeHub) -> None:
    findings = await seen(by_provider(hub, LENT, user=None))
    assert {findings[name].outcome for name in BY_PROVIDER[1:]} == {Outcome.NOT_RUN}
    assert hub.happened == []
