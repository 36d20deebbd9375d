"""Secrets that are made beside the site file: a directory's authority and passwords, the key of saved plans.

Made once, when they are first needed, and found again at every plan. Lost, they cannot be had back: the hosts
keep only what each of them needs. Nothing here writes to a host, and no secret is quoted.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deskside.errors import SiteError
from deskside.model.platform import OwnDirectory
from deskside.site.schema import Site
from deskside.site.secrets import Secret, SecretSource

FOLDER = "site-secrets"
AUTHORITY, AUTHORITY_KEY = "authority.pem", "authority.key"
READER, REPLICATOR = "reader.secret", "replicator.secret"
PLAN_KEY = "plan.key"
RENEWED_DAYS = 60
"""A certificate with less than this left is made again."""
IGNORED = "# Secrets: not for a repository.\n*\n"


@dataclass(frozen=True)
class OwnSecrets:
    """The authority's certificate in PEM, the reader's password, and what the directory's hosts are given."""

    ca: str
    reader: Secret
    own: OwnDirectory


def own_secrets(site: Site, folder: Path) -> OwnSecrets:
    """Read them, and make what is not there yet; `folder` is the site file's. Raises SiteError."""
    place = folder / FOLDER
    with _held(place):
        authority = _authority(site, place)
        hosts = [name for name in (site.identity.on, site.identity.replica) if name]
        return OwnSecrets(
            authority.decode("ascii"),
            _password(place, READER),
            OwnDirectory(_password(place, REPLICATOR), {name: _leaf(site, name, place) for name in hosts}),
        )


def plan_key(folder: Path, *, make: bool = False) -> Secret | None:
    """The key of saved plans; None where there is none yet and none is to be made. Raises SiteError."""
    place = folder / FOLDER
    if not make and not (place / PLAN_KEY).exists():
        return None
    with _held(place):
        return _password(place, PLAN_KEY)


@contextmanager
def _held(place: Path) -> Iterator[None]:
    """Hold the folder, made where it is not there. Raises SiteError for what the system refuses."""
    try:
        with _alone(place):
            yield
    except OSError as error:
        raise SiteError(
            f"{error.filename or place} cannot be used: {error.strerror or error}",
            hint=f"{place} must be a folder that you may write to: the site's own secrets are kept there",
        ) from None


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time: two that make an authority at once would not trust each other's."""
    place.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o700)
        if not (place / ".gitignore").exists():
            _write(place / ".gitignore", IGNORED.encode())
        yield
    finally:
        os.close(handle)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner alone from the first byte on."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _authority(site: Site, place: Path) -> bytes:
    from deskside.app.certificates import authority_of, belongs, new_key

    certificate, key = place / AUTHORITY, place / AUTHORITY_KEY
    hint = f"put {place} back from your copy; without one, move it away: a new authority is made by itself"
    if certificate.exists() and not key.exists():
        raise SiteError(f"{key} is gone: nothing can be signed by the site's authority any more", hint=hint)
    if not key.exists():
        _write(key, new_key())
    signs = _private(key).encode()
    try:
        if not certificate.exists():
            _write(certificate, authority_of(f"Deskside authority of {site.name}", signs))
        found = certificate.read_bytes()
        if belongs(found, signs):
            return found
        reason = "they are no pair"
    except ValueError:
        reason = "one of them is damaged"
    raise SiteError(f"{certificate} and {key.name} cannot be used: {reason}", hint=hint)


def _private(path: Path) -> str:
    """Text of a key that nobody else may read."""
    if path.stat().st_mode & 0o077:
        raise SiteError(f"{path} can be read by others", hint=f"run: chmod 600 {path}")
    return path.read_text(encoding="ascii", errors="replace")


def _password(place: Path, name: str) -> Secret:
    if not (place / name).exists():
        _write(place / name, f"{secrets.token_urlsafe(24)}\n".encode())
    return SecretSource(file=Path(name)).resolve(place)


def _leaf(site: Site, name: str, place: Path) -> tuple[str, Secret]:
    from deskside.app.certificates import belongs, make_leaf, serves

    spec = site.host(name)
    certificate, key = place / f"{name}.pem", place / f"{name}.key"
    names, address = (site.fqdn(spec), spec.name), str(spec.address)
    authority = (place / AUTHORITY).read_bytes()
    if certificate.exists() and key.exists():
        found, own = certificate.read_bytes(), _private(key)
        try:
            good = belongs(found, own.encode())
        except ValueError:
            good = False
        if good and serves(found, authority, names, address, days=RENEWED_DAYS):
            return found.decode("ascii"), Secret(own)
    found, made = make_leaf(place / AUTHORITY, place / AUTHORITY_KEY, names, address)
    _write(key, made)
    _write(certificate, found)
    return found.decode("ascii"), Secret(made.decode("ascii"))
