"""One site on the admin's machine: its file and what lies beside it, and where its runs are kept."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import scrypt, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deskside.app.needs import Needs
from deskside.errors import Problem, SiteError
from deskside.model.artifact import ArtifactSource
from deskside.model.platform import Given
from deskside.site.load import load
from deskside.site.schema import Site
from deskside.site.secrets import Secret, SecretSource, located
from deskside.site.trains import Train, load_train
from deskside.store.lock import LOCK_NAME

if TYPE_CHECKING:
    from deskside.store.store import Store

PINS_NAME = "known_hosts"
SHORTEST_PASSWORD = 12
CHART_OF: Mapping[Literal["jupyterhub", "metallb", "local-path"], str] = {
    "jupyterhub": "jupyterhub-chart",
    "metallb": "metallb-chart",
    "local-path": "local-path-provisioner-chart",
}
"""The train's artifact for which a release's own chart stands."""


def state_folder() -> Path:
    """Where runs are kept on the admin's machine: history only, may be deleted."""
    own = os.environ.get("XDG_STATE_HOME")
    return (Path(own) if own else Path.home() / ".local/state") / "deskside/sites"


@dataclass(frozen=True)
class Workspace:
    """A site file that was read, with its train and its warnings."""

    path: Path
    site: Site
    warnings: tuple[Problem, ...]
    digest: str
    """SHA-256 of the site file."""
    train: Train

    @classmethod
    def open(cls, path: Path) -> Workspace:
        """Read a site file. Raises SiteError with every problem of it."""
        loaded = load(path)
        train = load_train(loaded.site.train)
        return cls(path.absolute(), loaded.site, loaded.warnings, loaded.digest, train)

    @property
    def folder(self) -> Path:
        """Where the site file lies; other paths in it are relative to here."""
        return self.path.parent

    @property
    def pins(self) -> Path:
        """Host keys that a person accepted."""
        return self.folder / PINS_NAME

    @property
    def state(self) -> Path:
        """Runs of this site on this machine."""
        return state_folder() / self.site.name

    def store(self, sources: Mapping[str, ArtifactSource], preferred: str) -> Store:
        """The site's store, with its lock beside the site file."""
        from deskside.store.store import Store

        return Store(self.folder / LOCK_NAME, sources, preferred)

    def own_charts(self) -> Mapping[str, Path]:
        """Charts that the site file names on this machine, by the artifact that each stands for."""
        found = {}
        for release, artifact in CHART_OF.items():
            chart = self.site.release(release).chart
            if chart is not None and chart.path is not None:
                found[artifact] = located(self.folder, chart.path)
        return found

    def given(self) -> Given:
        """What the directory is reached with. Raises SiteError, which quotes no secret."""
        needs = Needs(self.path)
        found = self.given_by(needs)
        needs.settle()
        return found

    def given_by(self, needs: Needs) -> Given:
        """The same, where more is needed than this: what is missing is kept there."""
        identity = self.site.identity
        break_glass = needs.take("identity.break_glass.password", self._break_glass, "")

        def secret(field: str, source: SecretSource | None) -> Secret | None:
            return needs.take(field, lambda: source.resolve(self.folder), None) if source else None

        if identity.kind == "openldap":
            # Made at the first plan, found again at every other one.
            from deskside.app.own_secrets import own_secrets

            made = needs.take("identity", lambda: own_secrets(self.site, self.folder), None)
            own = Given(ca=made.ca, reader=made.reader, own=made.own) if made else Given()
            return replace(own, break_glass=break_glass)
        bind, manager = identity.bind, identity.manager
        return Given(
            ca=needs.take("identity.ca.file", self._authority, ""),
            reader=secret("identity.bind.password", bind.password if bind else None),
            manager=secret("identity.manager.password", manager.password if manager else None),
            client=secret("identity.client_secret", identity.client_secret),
            break_glass=break_glass,
        )

    def _authority(self) -> str:
        """PEM text of the directory's authority, empty when the file names none. Raises SiteError."""
        ca = self.site.identity.ca
        if ca is None:
            return ""
        path = located(self.folder, ca.file)
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SiteError(
                f"identity.ca.file: {path} cannot be read: {reason}",
                hint="put the certificate of the authority there, as PEM",
            ) from None
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise SiteError(
                f"identity.ca.file: {path} holds no PEM certificate",
                hint="export the authority's certificate as PEM (base64), not as DER",
            )
        return text

    def dns_key(self) -> Secret | None:
        """The secret of `network.dns.tsig`; None without one. Raises SiteError, which never quotes it."""
        tsig = self.site.network.dns.tsig if self.site.network.dns else None
        if tsig is None:
            return None
        found = tsig.secret.resolve(self.folder)
        try:
            # nsupdate would print what it cannot decode.
            b64decode(found.reveal(), validate=True)
        except ValueError:
            raise SiteError(
                "network.dns.tsig.secret is no base64",
                hint="take the text behind `secret` in the name server's key file, without quotes",
            ) from None
        return found

    def _break_glass(self) -> str:
        """Salt and scrypt of the local admin's password: SALT$HASH; empty without one. Raises SiteError."""
        local = self.site.identity.break_glass
        if local is None:
            return ""
        password = local.password.resolve(self.folder)
        if len(password.reveal()) < SHORTEST_PASSWORD:
            raise SiteError(
                f"identity.break_glass.password has fewer than {SHORTEST_PASSWORD} characters",
                hint="write a longer one: it opens the hub by itself",
            )
        # Of the site and the name, so that a plan finds the same hash that was applied.
        salt = sha256(f"deskside break-glass {self.site.name} {local.name}".encode()).digest()[:16]
        found = scrypt(password.reveal().encode(), salt=salt, n=2**14, r=8, p=1)
        return f"{salt.hex()}${found.hex()}"
