from collections.abc import Mapping

import pytest

from deskside.model.action import ApplyRelease, InstallArtifact, MakeClusterSecret, RunCommand
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.model.query import ObjectsFound, ReadObjects, Reference, ReleaseFound
from deskside.model.resource import Change, Deferred, Disruption
from deskside.resources.objects import MARK, compared, identity, marked
from deskside.resources.release import ChartReference, ClusterSecret, KnownSecret, Manifest, Release
from deskside.site.secrets import Secret

CHART = Locked(Artifact("chart-hub", "4.4.0", Kind.CHART), "ab" * 32, 10, "recipe", "hub.tgz")
DOWN = ObjectsFound(False)


def release(**changes: object) -> Release:
    fields: dict[str, object] = {"namespace": "hub", "name": "jupyterhub", "chart": CHART, "values": {"a": 1}}
    return Release(**(fields | changes))  # type: ignore[arg-type]


def found(wanted: Release, **changes: object) -> ReleaseFound:
    record = {"chart": wanted.chart_digest, "values": wanted.values_digest}
    fields = {"status": "deployed", "revision": 3, "record": record, "drifted": (), "reachable": True}
    return ReleaseFound(**(fields | changes))  # type: ignore[arg-type]


def change(planned: Change | Deferred | None) -> Change:
    assert isinstance(planned, Change)
    return planned


def test_release_in_step_has_no_change() -> None:
    assert release().difference(found(release())) is None


def test_release_is_deferred_while_the_cluster_is_down() -> None:
    planned = release().difference(found(release(), reachable=False, status=""))
    assert planned == Deferred("release hub/jupyterhub", "known after the cluster is up")


def test_release_is_installed_without_disruption() -> None:
    planned = change(release().difference(found(release(), status="", record={})))
    install, apply = planned.actions
    assert isinstance(install, InstallArtifact)
    assert isinstance(apply, ApplyRelease)
    assert (install.kind, apply.chart) == ("chart", f"/opt/deskside/store/{'ab' * 32}/chart-hub")
    assert (planned.summary, planned.disruption, planned.sends) == (
        "install 4.4.0",
        Disruption.NONE,
        (CHART,),
    )
    assert apply.values == "a: 1\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "failed"}, "last change was left failed"),
        ({"status": "pending-upgrade"}, "left pending-upgrade"),
        ({"record": {}}, "take over"),
        ({"record": {"chart": "x", "values": release().values_digest}}, "change the chart to 4.4.0"),
        ({"record": {"chart": CHART.sha256, "values": "x"}}, "change its values"),
        (
            {"drifted": ("Deployment hub/proxy", "Service hub/hub")},
            "restore Deployment hub/proxy, Service hub/hub",
        ),
    ],
)
def test_release_says_what_differs(changes: dict[str, object], words: str) -> None:
    planned = change(release().difference(found(release(), **changes)))
    assert words in planned.summary
    assert planned.disruption is Disruption.RESTART


def test_values_digest_knows_neither_order_nor_kind_of_mapping_but_labels() -> None:
    one, two = release(values={"a": 1, "b": (1, 2)}), release(values={"b": [1, 2], "a": 1})
    assert one.values_digest == two.values_digest
    assert one.values_digest != release(values={"a": 1, "b": [2, 1]}).values_digest
    assert release().values_digest != release(labels={"x": "y"}).values_digest


def test_chart_by_reference_is_fetched_by_the_server() -> None:
    chart = ChartReference("oci://registry.example/jupyterhub", "4.4.0")
    planned = change(release(chart=chart).difference(found(release(), status="")))
    (apply,) = planned.actions
    assert isinstance(apply, ApplyRelease)
    assert (apply.chart, apply.version, planned.sends) == (chart.reference, "4.4.0", ())
    assert chart.digest != ChartReference(chart.reference, "4.4.1").digest


def there(*items: Mapping[str, object]) -> ObjectsFound:
    return ObjectsFound(True, items)


def with_keys(*keys: str) -> ObjectsFound:
    return there({"kind": "Secret", "data": dict.fromkeys(keys, "")})


def test_cluster_secret_makes_only_what_is_missing() -> None:
    secret = ClusterSecret("hub", "deskside-hub", {"cookie": 32, "crypt": 32})
    assert secret.difference(with_keys("cookie", "crypt")) is None
    planned = change(secret.difference(with_keys("cookie")))
    assert planned.actions == (MakeClusterSecret("hub", "deskside-hub", secret.keys),)
    assert planned.summary.startswith("make crypt ")
    assert change(secret.difference(there())).summary.startswith("make cookie, crypt ")
    assert isinstance(secret.difference(DOWN), Deferred)


def test_known_secret_is_compared_by_its_digest_and_shown_nowhere() -> None:
    secret = KnownSecret("hub", "deskside-given", {"password": Secret("canary-of-hub")})
    marks = {"kind": "Secret", "metadata": {"annotations": {MARK: secret.digest}}}
    assert secret.difference(there(marks)) is None
    planned = change(secret.difference(there()))
    assert planned.summary == "write password"
    assert "canary" not in repr(planned)
    (run,) = planned.actions
    assert "canary-of-hub" in str(run.wire()["stdin"])
    assert "canary" not in str(run.wire()["argv"])
    assert isinstance(secret.difference(DOWN), Deferred)
    other = KnownSecret("hub", "deskside-given", {"password": Secret("another")})
    assert other.digest != secret.digest


POOL: dict[str, object] = {
    "apiVersion": "metallb.io/v1beta1",
    "kind": "IPAddressPool",
    "metadata": {"name": "site", "namespace": "metallb-system"},
    "spec": {"addresses": ["10.0.0.1-10.0.0.2"], "autoAssign": False},
}
MANIFEST = Manifest("address pool", (POOL,))


def live(**spec: object) -> dict[str, object]:
    item = marked(POOL)
    wanted = item["spec"]
    assert isinstance(wanted, dict)
    return {**item, "spec": {**wanted, "avoidBuggyIPs": False, **spec}, "status": {"x": 1}}


def test_manifest_agrees_with_an_object_that_only_has_defaults_more() -> None:
    assert MANIFEST.difference(there(live())) is None


def test_manifest_restores_a_changed_field_and_shows_it() -> None:
    planned = change(MANIFEST.difference(there(live(addresses=["10.0.0.9-10.0.0.9"]))))
    assert planned.summary == "restore IPAddressPool metallb-system/site"
    assert "-  - 10.0.0.9-10.0.0.9\n+  - 10.0.0.1-10.0.0.2\n" in planned.diff
    (run,) = planned.actions
    assert isinstance(run, RunCommand)
    assert "--server-side" in run.argv


def test_manifest_sees_elements_that_were_added_or_removed() -> None:
    more = live(addresses=["10.0.0.1-10.0.0.2", "10.0.0.9-10.0.0.9"])
    assert "-  - 10.0.0.9" in change(MANIFEST.difference(there(more))).diff
    assert change(MANIFEST.difference(there(live(addresses=[])))).diff


def test_manifest_sees_that_a_field_is_no_longer_written() -> None:
    before = {**live(), "metadata": {**marked(POOL)["metadata"], "annotations": {MARK: "older"}}}  # type: ignore[dict-item]
    assert MARK in change(MANIFEST.difference(there(before))).diff


def test_manifest_makes_what_is_missing() -> None:
    assert change(MANIFEST.difference(there())).summary == "make IPAddressPool metallb-system/site"


def test_manifest_waits_for_the_cluster() -> None:
    assert isinstance(MANIFEST.difference(DOWN), Deferred)


async def test_manifest_asks_for_its_objects_by_name() -> None:
    asked: list[object] = []

    class Asked:
        async def read(self, query: object) -> ObjectsFound:
            asked.append(query)
            return there(live())

    assert await MANIFEST.plan(Asked()) is None  # type: ignore[arg-type]  # its read has one signature
    name = Reference("metallb.io/v1beta1", "IPAddressPool", "metallb-system", "site")
    assert asked == [ReadObjects((name,))]


def test_manifest_refuses_a_secret() -> None:
    with pytest.raises(ValueError, match="Secret"):
        Manifest("s", ({"kind": "Secret", "metadata": {"name": "x"}},))


def test_identity_and_empty_values() -> None:
    assert identity({"kind": "Namespace", "metadata": {"name": "hub"}}) == "Namespace hub"
    assert compared({"kind": "X", "spec": {"a": {}, "b": 1.0}}, {"kind": "X", "spec": {"b": 1}}) == ""
