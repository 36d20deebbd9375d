"""Steps: named recipes with edges by name. Data and generators; no engine, no SSH.

    @step(needs=("baseline",), on={Role.SERVER, Role.WORKER})
    def container_runtime(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
        '''Install containerd and start it.'''
        yield ...

The docstring's first line is the title in plan, log and documentation. A step's name is its function's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.site.schema import Role, Site

Resources: TypeAlias = Callable[..., Iterator[Resource]]
"""(site, platform, host) or, with `takes`, (site, platform, host, given | None) -> resources."""


@dataclass(frozen=True)
class Step:
    """One named recipe. `on` empty means once, on the platform's leader."""

    name: str
    title: str
    resources: Resources
    needs: tuple[str, ...] = ()
    on: frozenset[Role] = frozenset()
    serial: bool = False
    """One host at a time, in site-file order."""
    deadline: float = 600.0
    """Seconds for one host."""
    gives: type | None = None
    """Type of the result that a change of this step makes."""
    takes: type | None = None
    """Type of a result that the function wants as its fourth argument (None until it exists)."""

    @property
    def once(self) -> bool:
        """True when the step runs on one server for the whole site."""
        return not self.on

    def applies_to(self, host: Host, platform: Platform) -> bool:
        """Whether the step has a node on this host."""
        if self.once:
            return host.name == platform.leader.name
        return bool(self.on & set(host.spec.roles))


def step(
    *,
    needs: tuple[str, ...] = (),
    on: set[Role] | frozenset[Role] = frozenset(),
    serial: bool = False,
    deadline: float = 600.0,
    gives: type | None = None,
    takes: type | None = None,
) -> Callable[[Resources], Step]:
    """Declare a step; see `Step` for the arguments."""

    def declare(function: Resources) -> Step:
        title = (function.__doc__ or function.__name__).strip().splitlines()[0].rstrip(".")
        return Step(function.__name__, title, function, needs, frozenset(on), serial, deadline, gives, takes)

    return declare


def resources_of(
    declared: Step, site: Site, platform: Platform, host: Host, given: object | None
) -> tuple[Resource, ...]:
    """The resources of a step on a host, in the order in which they are applied."""
    if declared.takes is not None:
        return tuple(declared.resources(site, platform, host, given))
    return tuple(declared.resources(site, platform, host))
