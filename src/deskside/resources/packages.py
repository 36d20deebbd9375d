"""Packages of the host's own package database; which names belong to a capability is data in `oses/`."""

from __future__ import annotations

from dataclasses import dataclass

from deskside.model.action import InstallPackages
from deskside.model.query import ReadPackages
from deskside.model.resource import Change, HostReader

_SHOWN = 3


@dataclass(frozen=True)
class Packages:
    """Packages that are installed, in whichever version the host has; nothing is upgraded or removed."""

    names: tuple[str, ...]

    @property
    def subject(self) -> str:
        """`packages NAMES`, shortened beyond three."""
        rest = len(self.names) - _SHOWN
        return f"packages {', '.join(self.names[:_SHOWN])}" + (f" and {rest} more" if rest > 0 else "")

    async def plan(self, host: HostReader) -> Change | None:
        """One change that names what is missing."""
        installed = await host.read(ReadPackages(self.names))
        missing = tuple(name for name in self.names if name not in installed)
        if not missing:
            return None
        return Change(self.subject, f"install {', '.join(missing)}", (InstallPackages(missing),))
