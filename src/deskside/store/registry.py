"""The few calls that Deskside makes to a container registry: which digest has a tag, and one blob of a chart.

Pulling images is the hosts' containerd's; nothing here moves an image.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deskside.errors import StepFailed

if TYPE_CHECKING:
    import httpx

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
# What people call the registry, and where its API is.
_HOSTS: Mapping[str, str] = {"docker.io": "registry-1.docker.io"}
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Reference:
    """`registry/name:tag`, taken apart."""

    registry: str
    name: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """From `quay.io/metallb/speaker:v0.16.1`."""
        registry, _, rest = text.partition("/")
        name, _, tag = rest.rpartition(":")
        return cls(registry, name, tag)

    @property
    def url(self) -> str:
        """Root of the repository in the registry's API."""
        return f"https://{_HOSTS.get(self.registry, self.registry)}/v2/{self.name}"


class Registry:
    """Asks registries anonymously, with a token where they want one."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._tokens: dict[str, str] = {}

    async def digest(self, reference: Reference) -> str:
        """SHA-256 (hex) of what the tag names now. Raises StepFailed when the registry does not say."""
        answer = await self._get(reference, f"manifests/{reference.tag}")
        return hashlib.sha256(answer.content).hexdigest()

    async def chart_layer(self, reference: Reference) -> tuple[str, int]:
        """SHA-256 and size of the chart behind a tag. Raises StepFailed when it is no chart."""
        manifest = (await self._get(reference, f"manifests/{reference.tag}")).json()
        for layer in manifest.get("layers", ()):
            if layer.get("mediaType") == CHART_LAYER:
                return str(layer["digest"]).removeprefix("sha256:"), int(layer["size"])
        raise StepFailed(f"{reference.registry}/{reference.name}:{reference.tag} is not a Helm chart")

    async def blob(self, reference: Reference, sha256: str) -> bytes:
        """The bytes of a blob; the caller checks the digest."""
        return (await self._get(reference, f"blobs/sha256:{sha256}")).content

    async def _get(self, reference: Reference, path: str) -> httpx.Response:
        url = f"{reference.url}/{path}"
        for _ in range(2):
            headers = {"Accept": MANIFESTS}
            if token := self._tokens.get(reference.url):
                headers["Authorization"] = f"Bearer {token}"
            answer = await self._client.get(url, headers=headers, follow_redirects=True)
            if answer.status_code != 401:
                break
            self._tokens[reference.url] = await self._token(answer)
        if answer.status_code != 200:
            busy = "; it limits how often one may ask, try again later" if answer.status_code == 429 else ""
            raise StepFailed(f"{url} answered {answer.status_code}{busy}")
        return answer

    async def _token(self, refused: httpx.Response) -> str:
        challenge = dict(_CHALLENGE.findall(refused.headers.get("WWW-Authenticate", "")))
        if "realm" not in challenge:
            raise StepFailed(f"{refused.url} asks for a password; only public registries are served")
        realm = challenge.pop("realm")
        answer = await self._client.get(realm, params=challenge, follow_redirects=True)
        answer.raise_for_status()
        found = answer.json()
        return str(found.get("token") or found.get("access_token"))
