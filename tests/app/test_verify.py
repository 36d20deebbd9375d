"""The acceptance test fails when what it checks is wrong, says *not run* for what it could not see, and puts
everything back. Against a FAKE hub and a modelled server; the rack has the real ones."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from app.fakehub import WORKERS, Asked, FakeHub, serving
from deskside.app.closed import closed_to_desks, judged
from deskside.app.verify import Acceptance, Login
from deskside.errors import CheckFailed
from deskside.hosts.fake import FakeHost
from deskside.model.action import Action, ActionResult
from deskside.model.finding import Finding, Outcome
from deskside.model.query import Output
from deskside.resources.release import KUBECTL
from deskside.site.load import load
from deskside.site.schema import Allow, Firewall
from deskside.site.secrets import Secret
from deskside.steps.resolving import expected_answers

pytestmark = pytest.mark.timeout(60)
SITE = load(Path(__file__).resolve().parents[2] / "docs/examples/site.yaml").site
ANN, BOB = Login("ann", Secret("canary-of-ann")), Login("bob", Secret("canary-of-bob"))
CHECKS = [
    "names",
    "directory",
    "address",
    "wrong password",
    "outsider",
    "log in",
    "profiles",
    "desk",
    "cell",
    "firewall",
    "home",
    "firewall elsewhere",
]
OK, FAILED, NOT_RUN = Outcome.OK, Outcome.FAILED, Outcome.NOT_RUN


@pytest.fixture(autouse=True)
def _nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake hub's kernel runs on this machine: it tries nothing beyond it."""
    monkeypatch.setattr("deskside.app.desk.closed_to_desks", lambda _: (("127.0.0.1", 9),))


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHub]:
    names = tuple(profile.name for profile in SITE.notebooks.profiles)
    passwords = {"ann": "canary-of-ann", "bob": "canary-of-bob"}
    async with serving(FakeHub(tmp_path, passwords, {"ann"}, names)) as found:
        monkeypatch.setenv("JUPYTERHUB_API_URL", f"{found.url}/hub/api")
        yield found


def server(hub: FakeHub) -> FakeHost:
    """A server whose cluster knows the fake hub's desks."""
    host = FakeHost("ws1")

    def pods(*_: object) -> Output:
        items = [
            {
                "metadata": {"annotations": {"hub.jupyter.org/username": user}},
                "status": {"phase": "Running"},
                "spec": {"nodeName": node},
            }
            for user, node in hub.desk_of.items()
        ]
        return Output(0, json.dumps({"items": items}), "")

    def cordoned(_: FakeHost, argv: tuple[str, ...], given: str) -> Output:
        verb, node = argv[len(KUBECTL) :]
        (hub.cordoned.add if verb == "cordon" else hub.cordoned.discard)(node)
        hub.happened.append(f"{verb} {node}")
        return Output(0, "", "")

    host.answer(*KUBECTL, "get", "pods", says=pods)
    host.answer(*KUBECTL, "logs", "deployment/hub", says=lambda *_: Output(0, "\n".join(hub.log), ""))
    for verb in ("cordon", "uncordon"):
        host.effect(*KUBECTL, verb, does=cordoned)
    return host


def right_names() -> dict[str, list[str]]:
    """What the site's name server has to say."""
    return {name: [answer] for name, answer in expected_answers(SITE).items()}


def asked(answers: dict[str, list[str]]) -> FakeHost:
    """A host whose name server says this."""
    host = FakeHost("ws1")
    host.answer("python3", "-c", says=json.dumps(answers))
    return host


async def test_names_that_lead_elsewhere(hub: FakeHub) -> None:
    test = acceptance(hub)
    test.hosts = {"ws1": asked(right_names()), "ws2": asked({**right_names(), "ws3.lab.example": []})}
    findings = {finding.check: finding for finding in await test.run()}
    assert seen(findings) == expected(names=FAILED)
    assert findings["names"].message == "on ws2, ws3.lab.example leads to nothing instead of 10.20.0.13"
    assert_put_back(hub)


async def test_a_person_who_is_unknown_on_a_host(hub: FakeHub) -> None:
    test = acceptance(hub)
    people = {"host_login": True, "allow": Allow(group="cn=ai,dc=lab,dc=example")}
    test.site = SITE.model_copy(update={"identity": SITE.identity.model_copy(update=people)})
    host = asked(right_names())
    host.answer("sh", says=lambda *_: Output(2, "", ""))
    test.hosts = {"ws1": host}
    findings = {finding.check: finding for finding in await test.run()}
    assert findings["host login"].message == "ann is not known on ws1"
    assert seen(findings) == expected()
    assert_put_back(hub)


async def test_a_directory_at_fault(hub: FakeHub) -> None:
    async def expired() -> Sequence[Finding]:
        well = Finding("directory", "ldaps://nas", OK, "it answers")
        return well, Finding("directory account", "directory", FAILED, "the password has expired", "set one")

    test = acceptance(hub)
    test.directory = expired
    findings = {finding.check: finding for finding in await test.run()}
    assert seen(findings) == expected(directory=FAILED)
    assert (findings["directory"].message, findings["directory"].hint) == (
        "the password has expired",
        "set one",
    )


def acceptance(hub: FakeHub, user: Login | None = ANN, outsider: Login | None = BOB) -> Acceptance:
    def told(text: object) -> None:
        assert "canary" not in str(text)

    hosts = {"ws1": asked(right_names())}
    return Acceptance(SITE, hub.url, server(hub), hosts, user, outsider, told, told, directory_is_well)


async def directory_is_well() -> Sequence[Finding]:
    return (Finding("directory", "ldaps://nas", OK, "it answers"),)


async def outcomes(
    hub: FakeHub, user: Login | None = ANN, outsider: Login | None = BOB
) -> dict[str, Finding]:
    """Findings by check, of a run after which everything is as before."""
    findings = await acceptance(hub, user, outsider).run()
    assert sorted(finding.check for finding in findings) == sorted(CHECKS)
    assert all(finding.hint for finding in findings if finding.outcome is FAILED)
    assert_put_back(hub)
    return {finding.check: finding for finding in findings}


def assert_put_back(hub: FakeHub) -> None:
    assert hub.cordoned == set()
    assert hub.desk_of == {}


def expected(**different: Outcome) -> dict[str, Outcome]:
    """All well but for these; what comes after a failed one of the user's way is not run."""
    named = {name.replace("_", " "): outcome for name, outcome in different.items()}
    found, way = {}, CHECKS[CHECKS.index("log in") :]
    for check in CHECKS:
        failed = [one for one in way[: way.index(check)] if named.get(one) is FAILED] if check in way else []
        found[check] = NOT_RUN if failed else named.get(check, OK)
    return found


def seen(findings: dict[str, Finding]) -> dict[str, Outcome]:
    return {check: findings[check].outcome for check in CHECKS}


async def test_all_is_well(hub: FakeHub) -> None:
    findings = await outcomes(hub)
    assert seen(findings) == expected()
    assert not any(finding.refuses for finding in findings.values())
    assert findings["home"].message == "written on ws1, read on ws2"
    assert hub.happened[:3] == ["start on ws1", "cordon ws1", "stop"]
    assert [path for path in hub.folder.rglob("*") if path.is_file()] == [], "a file was left in the home"


async def test_a_desk_that_reaches_what_it_should_not(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        places = (("127.0.0.1", 9), listener.getsockname())
        monkeypatch.setattr("deskside.app.desk.closed_to_desks", lambda _: places)
        findings = await outcomes(hub)
    assert seen(findings) == expected(firewall=FAILED)
    assert f"a desk on ws1 can reach 127.0.0.1:{places[1][1]}" in findings["firewall"].message


async def test_a_desk_that_reaches_it_on_its_second_host_alone(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk is tried on both hosts: the first may be closed and the second open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed, opened = ("127.0.0.1", 9), listener.getsockname()
        monkeypatch.setattr(
            "deskside.app.desk.closed_to_desks",
            lambda _: (closed, opened) if hub.desk_of["ann"] == "ws2" else (closed,),
        )
        findings = await outcomes(hub)
    assert seen(findings) == expected(firewall_elsewhere=FAILED)
    assert "a desk on ws1 reaches no shell" in findings["firewall"].message
    assert f"a desk on ws2 can reach 127.0.0.1:{opened[1]}" in findings["firewall elsewhere"].message


async def test_a_desk_without_any_network_proves_nothing(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:9/hub/api")
    findings = await outcomes(hub)
    assert seen(findings) == expected(firewall=FAILED)
    assert "not even the hub" in findings["firewall"].message


async def test_a_firewall_that_is_switched_off_is_not_tried(hub: FakeHub) -> None:
    test = acceptance(hub)
    off = SITE.network.model_copy(update={"firewall": Firewall(enabled=False)})
    test.site = SITE.model_copy(update={"network": off})
    left = [name for name in CHECKS if not name.startswith("firewall")]
    assert [finding.check for finding in await test.run()] == left
    assert_put_back(hub)


@pytest.mark.parametrize("user", [ANN, None])
async def test_a_site_with_one_worker_has_no_elsewhere(hub: FakeHub, user: Login | None) -> None:
    test = acceptance(hub, user)
    hosts = tuple(host for host in SITE.hosts if host.name == "ws1" or not host.is_worker)
    test.site = SITE.model_copy(update={"hosts": hosts})
    test.hosts = {"ws1": asked({name: [answer] for name, answer in expected_answers(test.site).items()})}
    findings = {finding.check: finding for finding in await test.run()}
    assert list(findings) == [name for name in CHECKS if name != "firewall elsewhere"]
    if user is not None:
        assert {finding.outcome for finding in findings.values()} == {OK}
        assert not any(one.startswith("cordon") for one in hub.happened)
    assert_put_back(hub)


def test_an_answer_that_says_nothing_is_no_pass() -> None:
    with pytest.raises(CheckFailed, match="not known"):
        judged("", (("127.0.0.1", 9),), "ws1")


def test_a_desk_is_to_reach_neither_shells_nor_kubelets_nor_files() -> None:
    places = closed_to_desks(SITE)
    nas = str(SITE.storage_hosts[0].address)
    assert {("10.20.0.11", 22), ("10.20.0.13", 10250), (nas, 445), (nas, 2049), (nas, 22)} <= set(places)


async def test_a_wrong_password_that_is_accepted(hub: FakeHub) -> None:
    hub.accepts_every_password = True
    findings = await outcomes(hub)
    assert findings["wrong password"].outcome is FAILED
    assert "accepted" in findings["wrong password"].message


async def test_a_directory_that_is_off_proves_nothing(hub: FakeHub) -> None:
    hub.directory_is_off = True
    findings = await outcomes(hub)
    assert seen(findings) == expected(wrong_password=FAILED, outsider=FAILED, log_in=FAILED)


async def test_an_outsider_who_is_let_in(hub: FakeHub) -> None:
    hub.allows_everybody = True
    assert seen(await outcomes(hub)) == expected(outsider=FAILED)


async def test_an_outsider_s_wrong_password_proves_nothing(hub: FakeHub) -> None:
    findings = await outcomes(hub, outsider=Login("bob", Secret("another")))
    assert seen(findings) == expected(outsider=FAILED)
    assert "proves nothing" in findings["outsider"].message


async def test_a_user_who_may_not_log_in(hub: FakeHub) -> None:
    hub.allowed.clear()
    assert seen(await outcomes(hub)) == expected(log_in=FAILED)


async def test_a_missing_profile(hub: FakeHub) -> None:
    missing, *rest = hub.profiles
    hub.profiles = tuple(rest)
    findings = await outcomes(hub)
    assert seen(findings) == expected(profiles=FAILED)
    assert missing in findings["profiles"].message


async def test_a_desk_that_was_there_before_is_left_alone(hub: FakeHub) -> None:
    hub.desk_of["ann"] = "ws3"
    findings = {finding.check: finding for finding in await acceptance(hub).run()}
    assert seen(findings) == expected(profiles=FAILED)
    assert hub.desk_of == {"ann": "ws3"}
    assert hub.happened == []


async def test_a_desk_that_does_not_start(hub: FakeHub) -> None:
    hub.spawn_fails = "ImagePullBackOff"
    findings = await outcomes(hub)
    assert seen(findings) == expected(desk=FAILED)
    assert "ImagePullBackOff" in findings["desk"].message


@pytest.mark.parametrize("printed", ["", "42 1000", "hello"])
async def test_a_cell_with_another_output(hub: FakeHub, printed: str) -> None:
    hub.cell = lambda _: printed
    assert seen(await outcomes(hub)) == expected(cell=FAILED)


async def test_a_cell_that_raises(hub: FakeHub) -> None:
    hub.cell_raises = True
    assert seen(await outcomes(hub)) == expected(cell=FAILED)


async def test_a_desk_that_runs_as_root(hub: FakeHub) -> None:
    hub.uid = 0
    findings = await outcomes(hub)
    assert seen(findings) == expected(cell=FAILED)
    assert "root" in findings["cell"].message


async def test_homes_that_are_not_shared(hub: FakeHub) -> None:
    hub.homes_are_shared = False
    findings = await outcomes(hub)
    assert seen(findings) == expected(home=FAILED)
    assert "written on ws1 is not in the home on ws2" in findings["home"].message


async def test_a_desk_that_comes_back_on_the_cordoned_host(hub: FakeHub) -> None:
    hub.ignores_cordons = True
    findings = await outcomes(hub)
    assert seen(findings) == expected(home=FAILED)
    assert "which was cordoned" in findings["home"].message


@pytest.mark.parametrize("user", [None, Login("ann", None)])
async def test_nobody_to_log_in_as_is_not_run_and_no_pass(hub: FakeHub, user: Login | None) -> None:
    findings = await outcomes(hub, user=user)
    way = {name.replace(" ", "_"): NOT_RUN for name in CHECKS[CHECKS.index("log in") :]}
    first = {"wrong_password": NOT_RUN} if user is None else {}
    assert seen(findings) == expected(**way, **first)
    assert all(findings[check].refuses for check in CHECKS[CHECKS.index("log in") :])


@pytest.mark.parametrize("outsider", [None, Login("bob", None)])
async def test_no_outsider_is_not_run_and_no_pass(hub: FakeHub, outsider: Login | None) -> None:
    findings = await outcomes(hub, outsider=outsider)
    assert seen(findings) == expected(outsider=NOT_RUN)
    assert findings["outsider"].refuses


async def test_a_hub_that_is_down(tmp_path: Path) -> None:
    gone = FakeHub(tmp_path, {}, set(), ())
    async with serving(gone):
        pass
    findings = await outcomes(gone)
    assert seen(findings) == {
        "names": OK,
        "directory": OK,
        "address": FAILED,
        **dict.fromkeys(CHECKS[CHECKS.index("wrong password") :], NOT_RUN),
    }
    assert gone.url in findings["address"].message


async def test_a_hub_that_goes_down_meanwhile_is_a_finding(hub: FakeHub) -> None:
    """Its desk cannot be stopped then: that is a finding too, with what to do, and no fault of the test."""

    def die(asked: Asked) -> None:
        if hub.starts and asked.path.endswith(("/lab", "/server", "/home")):
            raise ConnectionResetError

    hub.before = die
    findings = await acceptance(hub).run()
    bad = {finding.check: finding for finding in findings if finding.outcome is FAILED}
    assert set(bad) == {"cell", "put back"}
    assert "stop the desk of ann" in bad["put back"].hint


async def test_a_node_that_cannot_be_uncordoned_is_a_finding(hub: FakeHub) -> None:
    test = acceptance(hub)
    assert isinstance(test.server, FakeHost)
    test.server.effect(*KUBECTL, "uncordon", does=Output(1, "", "connection refused"))
    findings = await test.run()
    bad = [finding for finding in findings if finding.outcome is FAILED]
    assert [finding.check for finding in bad] == ["put back"]
    assert "connection refused" in bad[0].message
    assert bad[0].hint == "run: kubectl uncordon ws1"


async def test_interrupted_while_the_node_is_cordoned(hub: FakeHub) -> None:
    """The cordon took effect, and Ctrl-C came before the answer."""
    test = acceptance(hub)
    assert isinstance(test.server, FakeHost)
    perform, reached = test.server.perform, asyncio.Event()

    async def slow(actions: Sequence[Action], *, title: str, deadline: float) -> tuple[ActionResult, ...]:
        answer = await perform(actions, title=title, deadline=deadline)
        if hub.cordoned:
            reached.set()
            await asyncio.Event().wait()
        return answer

    test.server.perform = slow  # type: ignore[method-assign]
    task = asyncio.create_task(test.run())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_put_back(hub)


async def test_a_file_that_an_interrupted_test_left_is_taken_away(hub: FakeHub) -> None:
    left = hub.folder / "ann/.deskside-verify-old"
    left.parent.mkdir()
    left.touch()
    assert seen(await outcomes(hub)) == expected()
    assert not left.exists()


async def test_interrupted_while_the_desk_starts_on_another_host(hub: FakeHub) -> None:
    """The second start hangs, with its first host cordoned, and Ctrl-C comes."""
    reached = asyncio.Event()

    def hang(asked: Asked) -> None:
        if hub.starts == 2 and asked.path.endswith("/progress"):
            hub.spawn_hangs = True
            reached.set()

    hub.before = hang
    task = asyncio.create_task(acceptance(hub).run())
    await reached.wait()
    assert hub.cordoned == {"ws1"}
    assert set(hub.desk_of.values()) <= set(WORKERS) - {"ws1"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_put_back(hub)
    assert hub.happened[-2:] == ["uncordon ws1", "stop"]
