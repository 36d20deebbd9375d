"""Look at the hosts' SSH keys and pin them. Accepting a key is a person's; nothing here does it by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deskside.app.workspace import Workspace
from deskside.errors import Unreachable
from deskside.hosts.pins import HostKey, Pins, scan_host_key
from deskside.site.schema import HostSpec


@dataclass(frozen=True)
class Seen:
    """The key that a host shows now, beside the one that is pinned."""

    host: str
    address: str
    key: HostKey | None = None
    was: str = ""
    """Fingerprint of another key that is pinned for this host."""
    pinned: bool = False
    error: Unreachable | None = None

    @property
    def fingerprint(self) -> str:
        """As people compare it; empty when the host showed no key."""
        return self.key.fingerprint if self.key is not None else ""


async def look_at_keys(workspace: Workspace, only: Collection[str] | None = None) -> tuple[Seen, ...]:
    """The keys of the managed hosts (or of `only` these), in site-file order."""
    specs = [spec for spec in workspace.site.managed_hosts if only is None or spec.name in only]
    return await look_at_places(workspace, [(spec, str(spec.address)) for spec in specs])


async def look_at_places(workspace: Workspace, places: Sequence[tuple[HostSpec, str]]) -> tuple[Seen, ...]:
    """The keys of hosts at the addresses where they answer now, compared with what is pinned for them."""
    pins = Pins(workspace.pins)
    return tuple(await asyncio.gather(*(_look(workspace, pins, spec, address) for spec, address in places)))


def pin(workspace: Workspace, seen: Seen) -> tuple[str, ...]:
    """Pin the key that was seen for the host's name and address; what `unpin` wants to take that back."""
    assert seen.key is not None
    return Pins(workspace.pins).put(seen.host, str(workspace.site.host(seen.host).address), seen.key)


def unpin(workspace: Workspace, host: str, before: Sequence[str]) -> None:
    """Take a pin back, as for a key that turned out to be another machine's."""
    Pins(workspace.pins).replace(host, str(workspace.site.host(host).address), before)


async def _look(workspace: Workspace, pins: Pins, spec: HostSpec, address: str) -> Seen:
    own = str(spec.address)
    try:
        kinds = pins.kinds(spec.name, own)
        found = await scan_host_key(address, workspace.site.admin.port, kinds)
    except Unreachable as error:
        return Seen(spec.name, address, error=error)
    known = pins.fingerprints(spec.name, own)
    pinned = found.fingerprint in known
    return Seen(spec.name, address, found, "" if pinned else ", ".join(sorted(known)), pinned)
