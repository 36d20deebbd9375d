"""Pins: the SSH host keys that a person has accepted, in a `known_hosts` file beside the site file.

Nothing is ever added here without being asked to, and there is no way to connect without a pin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deskside.errors import Problem, SiteError, Unreachable
from deskside.site.whole import write_whole

if TYPE_CHECKING:
    import asyncssh

    Trusted = tuple[Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]]


@dataclass(frozen=True)
class HostKey:
    """A host's public key as it stands in a known_hosts file, and as people compare it."""

    line: str
    """Type and key in base64: `ssh-ed25519 AAAA...`."""
    fingerprint: str
    """`SHA256:...`."""


def host_key(key: asyncssh.SSHKey) -> HostKey:
    """The key as text, without its comment."""
    words = key.export_public_key().decode().split()
    return HostKey(" ".join(words[:2]), key.get_fingerprint())


@dataclass(frozen=True)
class Pins:
    """The pins of a site, by host name and address."""

    path: Path

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise SiteError(f"the host keys in {self.path} cannot be read: {error.strerror}") from None

    def trusted(self, name: str, address: str) -> Trusted:
        """Keys, authorities and revoked keys of a host, for asyncssh. Raises SiteError for a bad file."""
        import asyncssh

        try:
            found = asyncssh.import_known_hosts(self._text()).match(name, address, None)
        except ValueError as error:
            problem = Problem(str(self.path), 0, "", f"{error}", "remove the line and run: deskside trust")
            raise SiteError(f"{self.path} is no known_hosts file: {error}", problems=[problem]) from None
        return list(found[0]), list(found[1]), list(found[2])

    def fingerprints(self, name: str, address: str) -> tuple[str, ...]:
        """Fingerprints that are pinned for a host; empty when there are none."""
        return tuple(dict.fromkeys(key.get_fingerprint() for key in self.trusted(name, address)[0]))

    def kinds(self, name: str, address: str) -> tuple[str, ...]:
        """Kinds of the keys that are pinned for a host, as `ssh-ed25519`."""
        return tuple(dict.fromkeys(key.get_algorithm() for key in self.trusted(name, address)[0]))

    def put(self, name: str, address: str, key: HostKey) -> tuple[str, ...]:
        """Pin `key`, and nothing else, for a host by name and address; the lines that stood there before."""
        return self.replace(name, address, [f"{name},{address} {key.line}"])

    def replace(self, name: str, address: str, lines: Sequence[str]) -> tuple[str, ...]:
        """Put lines in place of those about a host, which are returned; the file is replaced as a whole."""
        kept: list[str] = []
        before: list[str] = []
        for line in self._text().splitlines():
            (before if _about(line, {name, address}) else kept).append(line)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, "".join(f"{line}\n" for line in [*kept, *lines]), 0o644)
        return tuple(before)


def _about(line: str, names: set[str]) -> bool:
    words = line.split()
    if not words or words[0].startswith(("#", "@", "|")):
        return False
    listed = {item.strip("[]").split("]:")[0] for item in words[0].split(",")}
    return bool(listed & names)


KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
"""Kinds of host keys, the one that people are told to compare first."""
RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""How a key of the kind `ssh-rsa` signs."""


async def scan_host_key(address: str, port: int | None = None, pinned: Sequence[str] = ()) -> HostKey:
    """The key that a host presents, without accepting it. Raises Unreachable when none is presented.

    A host has several; one of the kinds in `pinned` is asked for first, so that like is compared with like.
    """
    import asyncio

    import asyncssh

    try:
        async with asyncio.timeout(15):
            key = await asyncssh.get_server_host_key(
                address, port if port is not None else (), server_host_key_algs=_algorithms(pinned)
            )
    except (OSError, asyncssh.Error, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"{address} shows no SSH host key: {reason}") from None
    if key is None:
        raise Unreachable(f"{address} shows no SSH host key")
    return host_key(key)


def _algorithms(pinned: Sequence[str]) -> list[str]:
    kinds = dict.fromkeys((*(kind for kind in pinned if kind in KINDS), *KINDS))
    return [name for kind in kinds for name in (RSA if kind == "ssh-rsa" else (kind,))]
