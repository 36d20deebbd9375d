"""Upstream, against a modelled internet: digests come from the publishers' files, nothing else is trusted.

What has been checked here are addresses, checksum files and registry conversations as the publishers document
them; no publisher was ever reached from a test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from deskside.errors import SiteError, StepFailed
from deskside.model.artifact import Artifact, Kind, Locked
from deskside.site.trains import Download, known_trains, load_train
from deskside.store.upstream import UpstreamSource

TRAIN = load_train("2026-11")
Answer = Callable[[httpx.Request], httpx.Response]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wanted(name: str) -> Artifact:
    return Artifact(name, TRAIN.artifact(name).version, TRAIN.artifact(name).kind)


class Internet(httpx.AsyncBaseTransport):
    """Pages by address; anything else is not found. Remembers what was asked."""

    def __init__(self, pages: Mapping[str, bytes | Answer]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url}")
        page = self.pages.get(str(request.url))
        if page is None:
            return httpx.Response(404, request=request)
        if callable(page):
            return page(request)
        return httpx.Response(200, content=page if request.method == "GET" else None, request=request,
                              headers={"Content-Length": str(len(page))})  # fmt: skip


def quiet(name: str, line: str) -> None:
    del name, line


async def lock_one(name: str, internet: Internet, cache: Path) -> Locked:
    (found,) = await UpstreamSource(TRAIN, cache, internet).lock([wanted(name)], quiet)
    return found


async def test_a_digest_comes_from_the_publishers_checksum_file_and_the_file_is_held_to_it(
    tmp_path: Path,
) -> None:
    entry, content = TRAIN.artifact("containerd"), b"a tar"
    file = entry.url.rpartition("/")[2]
    sums = f"{sha(b'other')}  other.tar.gz\n{sha(content)}  {file}\n".encode()
    internet = Internet({entry.checksum_url: sums, entry.url: content})
    found = await lock_one("containerd", internet, tmp_path)
    assert (found.sha256, found.size, found.source) == (sha(content), len(content), "upstream")
    path = await UpstreamSource(TRAIN, tmp_path, internet).fetch(found)
    assert path.read_bytes() == content
    before = len(internet.asked)
    assert await UpstreamSource(TRAIN, tmp_path, internet).fetch(found) == path
    assert len(internet.asked) == before


async def test_a_file_that_changed_at_its_publishers_is_refused_and_not_kept(tmp_path: Path) -> None:
    entry = TRAIN.artifact("kubeadm")
    internet = Internet({entry.checksum_url: sha(b"good").encode(), entry.url: b"evil"})
    found = await lock_one("kubeadm", internet, tmp_path)
    with pytest.raises(StepFailed, match="changed at its publisher's"):
        await UpstreamSource(TRAIN, tmp_path, internet).fetch(found)
    assert not list((tmp_path / "upstream").iterdir())


@pytest.mark.parametrize("text", [b"", b"not a digest", (sha(b"1") + "\n" + sha(b"2")).encode()])
async def test_a_checksum_file_without_exactly_one_digest_is_refused(tmp_path: Path, text: bytes) -> None:
    entry = TRAIN.artifact("kubeadm")
    with pytest.raises(StepFailed, match="digests for"):
        await lock_one("kubeadm", Internet({entry.checksum_url: text, entry.url: b"x"}), tmp_path)


async def test_an_image_is_locked_by_the_digest_of_its_manifest_after_a_token_was_fetched(
    tmp_path: Path,
) -> None:
    manifest = json.dumps({"schemaVersion": 2}).encode()

    def registry(request: httpx.Request) -> httpx.Response:
        if request.headers.get("Authorization") != "Bearer let-me-in":
            challenge = 'Bearer realm="https://auth.example/token",service="s",scope="repository:x:pull"'
            return httpx.Response(401, headers={"WWW-Authenticate": challenge}, request=request)
        return httpx.Response(200, content=manifest, request=request)

    version = TRAIN.artifact("metallb-speaker").version
    internet = Internet(
        {
            f"https://quay.io/v2/metallb/speaker/manifests/v{version}": registry,
            "https://auth.example/token?service=s&scope=repository%3Ax%3Apull": b'{"token": "let-me-in"}',
        }
    )
    found = await lock_one("metallb-speaker", internet, tmp_path)
    assert found.sha256 == sha(manifest)
    assert found.pulled
    assert found.location == f"quay.io/metallb/speaker:v{version}@sha256:{sha(manifest)}"


async def test_f28_a_registry_that_limits_is_named_as_such(tmp_path: Path) -> None:
    version = TRAIN.artifact("metallb-speaker").version
    url = f"https://quay.io/v2/metallb/speaker/manifests/v{version}"
    with pytest.raises(StepFailed, match="limits how often"):
        await lock_one(
            "metallb-speaker", Internet({url: lambda asked: httpx.Response(429, request=asked)}), tmp_path
        )


async def test_a_chart_comes_from_the_index_of_its_repository(tmp_path: Path) -> None:
    entry, content = TRAIN.artifact("metallb-chart"), b"a chart"
    index = (
        f"entries: {{metallb: [{{version: {entry.version}, digest: {sha(content)}, urls: [charts/m.tgz]}}]}}"
    )
    root = "https://metallb.github.io/metallb/"
    internet = Internet({f"{root}index.yaml": index.encode(), f"{root}charts/m.tgz": content})
    found = await lock_one("metallb-chart", internet, tmp_path)
    assert (found.location, found.sha256) == (f"{root}charts/m.tgz", sha(content))


async def test_no_internet_is_one_sentence(tmp_path: Path) -> None:
    class Down(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no route", request=request)

    with pytest.raises(StepFailed, match=r"dl\.k8s\.io cannot be reached"):
        await UpstreamSource(TRAIN, tmp_path, Down()).lock([wanted("kubeadm")], quiet)


async def test_what_no_publisher_offers_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    train, internet = load_train("2026-11-rack"), Internet({})
    with pytest.raises(SiteError, match="runc"):
        await UpstreamSource(train, tmp_path, internet).lock([Artifact("runc", "debian", Kind.BINARY)], quiet)
    assert not internet.asked


@pytest.mark.parametrize("name", known_trains())
def test_every_address_of_a_train_is_complete(name: str) -> None:
    for artifact in load_train(name).artifacts.values():
        for address in (artifact.url, artifact.checksum_url, artifact.reference, artifact.member):
            assert "{" not in address
        if isinstance(artifact.upstream, Download):
            assert artifact.version in artifact.url
