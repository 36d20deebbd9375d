"""Official releases as an artifact source: digests from the publisher's checksum files, locked from then on.

Downloads lie in the cache by digest. Images are not downloaded: each host pulls them by the locked digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import yaml

from deskside.errors import SiteError, StepFailed
from deskside.model.artifact import Artifact, Locked
from deskside.site.trains import Chart, Download, Image, Train, TrainArtifact
from deskside.store.registry import Reference, Registry

if TYPE_CHECKING:
    import httpx

AT_ONCE = 4
SECONDS = 60.0
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


class UpstreamSource:
    """Serves artifacts from where the train says that their publishers offer them."""

    def __init__(self, train: Train, cache: Path, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` is for tests; None is the network."""
        self._train = train
        self._cache = cache / "upstream"
        self._transport = transport

    @property
    def name(self) -> str:
        """As written in the lock."""
        return "upstream"

    async def lock(
        self, artifacts: Sequence[Artifact], report: Callable[[str, str], None]
    ) -> tuple[Locked, ...]:
        """Ask the publishers for digests. Raises SiteError for what nobody offers, StepFailed otherwise."""
        unknown = [item.name for item in artifacts if self._train.artifact(item.name).upstream is None]
        if unknown:
            raise SiteError(
                f"no publisher offers {', '.join(unknown)} of the train {self._train.name}",
                hint="it is for the lab; choose a train without -rack",
            )
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(item: Artifact) -> Locked:
            async with turn:
                report(item.name, f"asking its publisher for the digest of {item.version}")
                return await self._locked(client, item, self._train.artifact(item.name))

        async with self._client() as client:
            return tuple(await asyncio.gather(*(one(item) for item in artifacts)))

    async def fetch(self, locked: Locked) -> Path:
        """Download once, into the cache by digest; the store compares the digest."""
        path = self._cache / locked.sha256
        if not path.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            async with self._client() as client:
                await self._download(client, locked, path)
        return path

    async def _locked(self, client: httpx.AsyncClient, item: Artifact, wanted: TrainArtifact) -> Locked:
        match wanted.upstream:
            case Download() as download:
                digest = await self._published_digest(client, wanted, download)
                size = await _size(client, wanted.url)
                return Locked(item, digest, size, self.name, wanted.url, member=wanted.member)
            case Image():
                digest = await Registry(client).digest(Reference.parse(wanted.reference))
                location = f"{wanted.reference}@sha256:{digest}"
                return Locked(item, digest, 0, self.name, location, (wanted.reference,))
            case Chart() as chart:
                return await self._locked_chart(client, item, chart)
        raise SiteError(f"no publisher offers {item.name}")

    async def _published_digest(
        self, client: httpx.AsyncClient, wanted: TrainArtifact, download: Download
    ) -> str:
        text = (await _get(client, wanted.checksum_url)).text
        if download.checksum.kind == "sha256sum-file":
            file = wanted.url.rpartition("/")[2]
            text = "\n".join(line for line in text.splitlines() if line.split()[1:] in ([file], [f"*{file}"]))
        found = _DIGEST.findall(text)
        if len(found) != 1:
            raise StepFailed(f"{wanted.checksum_url} has {len(found)} digests for {wanted.url}, not one")
        return str(found[0])

    async def _locked_chart(self, client: httpx.AsyncClient, item: Artifact, chart: Chart) -> Locked:
        if chart.chart.startswith("oci://"):
            text = f"{chart.chart.removeprefix('oci://').rstrip('/')}/{chart.name}:{item.version}"
            digest, size = await Registry(client).chart_layer(Reference.parse(text))
            return Locked(item, digest, size, self.name, f"oci://{text}")
        root = chart.chart.rstrip("/") + "/"
        index = yaml.safe_load((await _get(client, urljoin(root, "index.yaml"))).text)
        for entry in index.get("entries", {}).get(chart.name, ()):
            if str(entry.get("version")).removeprefix("v") == item.version and entry.get("digest"):
                url = urljoin(root, str(entry["urls"][0]))
                digest = str(entry["digest"]).removeprefix("sha256:")
                return Locked(item, digest, await _size(client, url), self.name, url)
        raise StepFailed(f"{chart.chart} offers no {chart.name} {item.version} with a digest")

    async def _download(self, client: httpx.AsyncClient, locked: Locked, path: Path) -> None:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{locked.name}.")
        found = hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in _chunks(client, locked):
                    found.update(chunk)
                    file.write(chunk)
            if found.hexdigest() != locked.sha256:
                raise StepFailed(
                    f"{locked.location} has digest {found.hexdigest()[:12]}, but the lock says "
                    f"{locked.sha256[:12]}: it was changed at its publisher's, or on the way",
                    hint="do not go on before you know why; nothing was changed",
                )
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        import httpx

        try:
            async with httpx.AsyncClient(timeout=SECONDS, transport=self._transport) as client:
                yield client
        except httpx.HTTPError as error:
            where = error.request.url.host if error.request else "a publisher"
            raise StepFailed(
                f"{where} cannot be reached: {error or type(error).__name__}",
                hint="is this machine online? A site without internet is served from a bundle",
            ) from None


async def _chunks(client: httpx.AsyncClient, locked: Locked) -> AsyncIterator[bytes]:
    if locked.location.startswith("oci://"):
        reference = Reference.parse(locked.location.removeprefix("oci://"))
        yield await Registry(client).blob(reference, locked.sha256)
        return
    async with client.stream("GET", locked.location, follow_redirects=True) as answer:
        if answer.status_code != 200:
            raise StepFailed(f"{locked.location} answered {answer.status_code}")
        async for chunk in answer.aiter_bytes(1 << 20):
            yield chunk


async def _get(client: httpx.AsyncClient, url: str) -> httpx.Response:
    answer = await client.get(url, follow_redirects=True)
    if answer.status_code != 200:
        raise StepFailed(f"{url} answered {answer.status_code}")
    return answer


async def _size(client: httpx.AsyncClient, url: str) -> int:
    answer = await client.head(url, follow_redirects=True)
    if answer.status_code != 200 or "Content-Length" not in answer.headers:
        raise StepFailed(f"{url} does not say its size (status {answer.status_code})")
    return int(answer.headers["Content-Length"])
