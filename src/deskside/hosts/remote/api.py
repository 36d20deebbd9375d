"""The cluster's API over HTTPS, with a server's admin credentials. Remote program; reads only.

A plan asks for some hundred objects, in less time than kubectl takes to start.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping

from deskside.hosts.remote.core import TYPE_CHECKING, QuestionFailed, Raw, contents, table_of, text_of

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPSConnection

KUBECONFIG = "/etc/kubernetes/admin.conf"
ADMIN_FIELD = re.compile(
    r"^\s*(server|certificate-authority-data|client-\w+-data): \"?([^\s\"]+)", re.MULTILINE
)
API_SECONDS = 10.0
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
Name = tuple[str, str, str, str]
"""apiVersion, kind, namespace and name."""


class ClusterSilent(Exception):
    """The cluster does not answer."""


def trusting(authority: str, certificate: bytes) -> ssl.SSLContext:
    """Settings of a client."""
    import ssl

    context = ssl.create_default_context(cadata=authority)
    # OpenSSL takes a path; the key touches no disk.
    held = os.memfd_create("deskside")
    try:
        os.write(held, certificate)
        context.load_cert_chain(f"/proc/self/fd/{held}")
    finally:
        os.close(held)
    return context


class Api:
    """One connection, for one batch of questions."""

    def __init__(self) -> None:
        """Raises ClusterSilent where no server is."""
        found = dict(ADMIN_FIELD.findall(contents(KUBECONFIG)))
        try:
            self.server = found["server"].partition("://")[2].rstrip("/")
            certificate, key, authority = (
                base64.b64decode(found[f"{name}-data"])
                for name in ("client-certificate", "client-key", "certificate-authority")
            )
            self.context = trusting(authority.decode(), certificate + b"\n" + key)
        except (KeyError, ValueError, OSError) as error:
            raise ClusterSilent(f"{KUBECONFIG}: {error}") from None
        self.connection: HTTPSConnection | None = None
        self.kinds: dict[str, dict[str, Raw]] = {}

    def get(self, path: str, accept: str = "application/json") -> Raw | None:
        """What is there; None when nothing is. Raises ClusterSilent, or QuestionFailed when it is refused."""
        from http.client import HTTPException, HTTPSConnection

        if self.connection is None:
            self.connection = HTTPSConnection(self.server, context=self.context, timeout=API_SECONDS)
        try:
            self.connection.request("GET", path, headers={"Accept": accept})
            reply = self.connection.getresponse()
            status, body = reply.status, reply.read()
        except (OSError, HTTPException) as error:
            raise ClusterSilent(f"{self.server}: {error}") from None
        if status == 404:
            return None
        if status == 429 or status >= 500:
            raise ClusterSilent(f"{self.server}: status {status}")
        found: Raw = json.loads(body)
        if status != 200:
            raise QuestionFailed(f"the cluster refuses {path}: {text_of(found, 'message') or status}")
        return found

    def items(self, path: str, key: str = "items", accept: str = "application/json") -> list[Raw]:
        """The objects of a list."""
        found = (self.get(path, accept) or {}).get(key)
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def named(self, name: Name) -> Raw | None:
        """An object; None when it, or its kind, does not exist."""
        from urllib.parse import quote

        version, kind, namespace, title = name
        resource = self.resource(version, kind)
        if not resource:
            return None
        place = f"namespaces/{quote(namespace or 'default', '')}/" if resource.get("namespaced") else ""
        found = self.get(f"{base_of(version)}/{place}{resource['name']}/{quote(title, '')}")
        table_of(found or {}, "metadata").pop("managedFields", None)
        return found

    def resource(self, version: str, kind: str) -> Mapping[str, object]:
        """How a kind is called in paths, and whether it lives in namespaces; empty when there is none."""
        if version not in self.kinds:
            found = self.items(base_of(version), "resources")
            # `pods/log` is of kind Pod, too.
            self.kinds[version] = {
                text_of(item, "kind"): item for item in found if "/" not in text_of(item, "name")
            }
        return self.kinds[version].get(kind, {})

    def close(self) -> None:
        """End the connection."""
        if self.connection is not None:
            self.connection.close()


def base_of(version: str) -> str:
    """Path of an apiVersion: `v1`, `apps/v1`."""
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
