"""Trains: the two of this version are whole, and a broken one is one sentence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deskside.errors import SiteError
from deskside.site.schema import DEFAULT_TRAIN
from deskside.site.trains import Download, Image, Kind, known_trains, load_train, read_train

KUBERNETES = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)


def test_the_known_ones() -> None:
    assert known_trains() == ("2026-11", "2026-11-rack")
    assert DEFAULT_TRAIN in known_trains()


def test_an_unknown_one_names_the_known() -> None:
    for name in ("2031-01", "../secrets", "", "2026-11.yaml"):
        with pytest.raises(SiteError) as raised:
            load_train(name)
        assert raised.value.hint == "trains of this version: 2026-11, 2026-11-rack"


@pytest.mark.parametrize("name", known_trains())
def test_a_train_is_whole(name: str) -> None:
    train = load_train(name)
    assert (train.kubernetes, train.kubernetes_minor) == ("1.36.3", "1.36")
    for part in KUBERNETES:
        assert train.artifact(part).version == train.kubernetes
    for artifact in train.artifacts.values():
        for text in (artifact.url, artifact.checksum_url, artifact.member, artifact.reference):
            assert "{" not in text
        if artifact.kind is Kind.IMAGE:
            assert artifact.reference
        if artifact.url:
            assert artifact.checksum_url.startswith("https://")
    with pytest.raises(SiteError, match=f"the train {name} has no floppy"):
        train.artifact("floppy")


def test_the_product_train_has_a_publisher_for_everything() -> None:
    train = load_train("2026-11")
    assert train.differences == {}
    for artifact in train.artifacts.values():
        assert artifact.upstream is not None
        if isinstance(artifact.upstream, Download | Image) and artifact.kind is not Kind.CHART:
            assert artifact.version in (artifact.url or artifact.reference)
    assert train.artifact("kubelet").url == "https://dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
    assert train.artifact("helm").member == "linux-amd64/helm"
    assert train.artifact("etcd").reference == "registry.k8s.io/etcd:3.6.8-0"


def test_the_rack_differs_with_reasons() -> None:
    rack, product = load_train("2026-11-rack"), load_train("2026-11")
    assert list(rack.artifacts) == list(product.artifacts)
    for name, artifact in rack.artifacts.items():
        same = artifact == product.artifacts[name]
        assert same != bool(artifact.reason), name
    assert rack.artifact("metallb-controller").version == "0.13.5"
    assert rack.artifact("metallb-chart").upstream is None


GOOD = """
name: 2026-12
kubernetes: 1.36.4
artifacts:
  pause: {kind: image, version: 3.10.2, upstream: {image: "registry.k8s.io/pause:{version}"}}
"""

IMAGE = 'upstream: {image: "registry.k8s.io/pause:{version}"}'
PLAIN = "upstream: {url: 'http://x/y', checksum: {url: 'http://x/y.sha256', kind: sha256-file}}"
EXTENDING = "name: 2026-12\nextends: 2026-11\nartifacts: "
BROKEN = {
    "no YAML": ("a: [", "cannot be read"),
    "no mapping": ("[]", "cannot be read"),
    "no version": (GOOD.replace("version: 3.10.2, ", ""), "artifacts.pause.version: Field required"),
    "wrong upstream": (GOOD.replace("kind: image", "kind: binary"), "needs another kind of upstream"),
    "image without a name": (GOOD.replace(f", {IMAGE}", ""), "needs another kind of upstream"),
    "unknown key": (f"{GOOD}sha: 1\n", "sha: Extra inputs"),
    "no reason": (EXTENDING + "{etcd: {version: 3.7.0}}", "differs in etcd without a reason"),
    "nothing but a name": (EXTENDING + "{etcd: }", "differs in etcd without a reason"),
    "unknown parent": ("name: 2026-12\nextends: 2025-01\nartifacts: {}", "there is no train 2025-01"),
    "odd artifacts": (EXTENDING + "[]", "artifacts: is no mapping"),
    "plain HTTP": (GOOD.replace("kind: image", "kind: binary").replace(IMAGE, PLAIN), "should match pattern"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_train(name: str) -> None:
    text, expected = BROKEN[name]
    with pytest.raises(SiteError) as raised:
        read_train(text, "2026-12")
    assert expected in raised.value.message
    assert "\n" not in raised.value.message


def test_a_difference_keeps_the_rest() -> None:
    text = "name: 2026-12\nextends: 2026-11\nartifacts: {etcd: {version: 3.7.0, reason: newer}}"
    train = read_train(text, "2026-12")
    assert train.artifact("etcd").reference == "registry.k8s.io/etcd:3.7.0"
    assert train.differences == {"etcd": "newer"}
    assert train.kubernetes == load_train("2026-11").kubernetes


def test_trains_are_frozen() -> None:
    with pytest.raises(ValidationError):
        setattr(load_train("2026-11"), "kubernetes", "1.37.0")  # noqa: B010
