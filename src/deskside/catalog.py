"""Finds the plug-ins, and resolves a site's choices into one frozen `Platform`. The only registry.

A step, an add-on, an OS, a distribution or a directory is found by being a constant of its type in a module
of its folder; there is no list to extend.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import TypeVar

from deskside import addons, distros, identity, oses, steps
from deskside.errors import CheckFailed, SiteError
from deskside.model.artifact import Artifact, Locked
from deskside.model.door import Door
from deskside.model.facts import Facts
from deskside.model.platform import AddOn, Directory, Distro, Given, Host, HostOs, Platform
from deskside.model.step import Step
from deskside.site.schema import Role, Site
from deskside.site.trains import Train

T = TypeVar("T")
NO_CONSTANTS = (type, FunctionType, ModuleType)
"""What most names of a module stand for."""


@cache
def all_steps() -> tuple[Step, ...]:
    """Every step of `steps/`, by name."""
    return tuple(sorted(_constants(steps, Step), key=lambda found: found.name))


@cache
def all_addons() -> tuple[AddOn, ...]:
    """Every add-on of `addons/`, by name."""
    return tuple(sorted(_constants(addons, AddOn), key=lambda found: found.name))


@cache
def all_oses() -> tuple[HostOs, ...]:
    """Every operating system of `oses/`, by identifier."""
    return tuple(sorted(_constants(oses, HostOs), key=lambda found: found.id))


@cache
def all_doors() -> tuple[Door, ...]:
    """What every plug-in has to let in, by port."""
    found = (door for package in (steps, distros, addons, identity) for door in _constants(package, Door))
    return tuple(sorted(found, key=lambda door: (int(door.ports.partition("-")[0] or 0), door.name)))


@cache
def distro_named(name: str) -> Distro:
    """The Kubernetes distribution of that name. Raises SiteError when there is none."""
    for found in _constants(distros, Distro):  # type: ignore[type-abstract]  # a protocol is meant
        if found.name == name:
            return found
    raise SiteError(f"kubernetes.distro: {name} is not available in this version")


@cache
def directory_of(kind: str) -> Directory:
    """The directory of that kind. Raises SiteError when there is none."""
    for found in _constants(identity, Directory):  # type: ignore[type-abstract]  # a protocol is meant
        if found.kind == kind:
            return found
    raise SiteError(f"identity.kind: {kind} is not available in this version")


def os_of(facts: Facts) -> HostOs | None:
    """The plug-in that serves a host, or None when no plug-in knows its system."""
    for found in all_oses():
        if found.id == facts.os_id and facts.os_version in found.versions:
            return found
    return None


def served_systems() -> str:
    """The operating systems that plug-ins serve, for a person: `debian 12/13, ubuntu 24.04`."""
    return ", ".join(f"{system.id} {'/'.join(system.versions)}" for system in all_oses())


def chosen_addons(site: Site) -> tuple[AddOn, ...]:
    """The add-ons that a site has. This version has no choice: every site has them all."""
    del site
    return all_addons()


def wanted_artifacts(site: Site, train: Train) -> tuple[Artifact, ...]:
    """What the store must lock for a site: the distribution's artifacts and those of its add-ons."""
    names = list(distro_named(site.kubernetes.distro).artifacts)
    for addon in chosen_addons(site):
        names += [*addon.images, *addon.charts]
    return tuple(_artifact(train, name) for name in dict.fromkeys(names))


def load_plugins() -> None:
    """Import every plug-in: for a thread beside something else, since each is imported at its first use."""
    for find in (all_steps, all_addons, all_oses, all_doors):
        find()


def make_platform(
    site: Site,
    train: Train,
    lock: Mapping[str, Locked],
    facts: Mapping[str, Facts],
    given: Given,
) -> Platform:
    """Resolve a site's choices for the hosts that answered.

    Raises CheckFailed naming every host whose operating system no plug-in serves.
    """
    hosts: dict[str, Host] = {}
    unknown: list[str] = []
    for spec in site.managed_hosts:
        if (found := facts.get(spec.name)) is None:
            continue
        if (system := os_of(found)) is None:
            unknown.append(f"{spec.name} runs {found.os_name or found.os_id} {found.os_version}".strip())
        else:
            hosts[spec.name] = Host(spec, found, system)
    if unknown:
        raise CheckFailed(
            f"no support for this operating system: {'; '.join(unknown)}",
            hint=f"supported: {served_systems()}; a new one is one file in oses/",
        )
    return Platform(
        train=train,
        lock=lock,
        distro=distro_named(site.kubernetes.distro),
        directory=directory_of(site.identity.kind),
        addons=chosen_addons(site),
        hosts=hosts,
        doors=all_doors(),
        given=given,
    )


def steps_for(platform: Platform) -> tuple[Step, ...]:
    """The steps of a platform: those of `steps/`, and one for each of its add-ons."""
    nodes = frozenset({Role.SERVER, Role.WORKER})
    found = [step for step in all_steps() if step.once or step.on & nodes]
    return (*found, *(_addon_step(addon) for addon in platform.addons))


def _addon_step(addon: AddOn) -> Step:
    return Step(
        name=addon.name,
        title=addon.title,
        resources=addon.resources,
        needs=addon.needs,
        deadline=addon.deadline,
    )


def _artifact(train: Train, name: str) -> Artifact:
    try:
        wanted = train.artifacts[name]
    except KeyError:
        raise SiteError(f"the train {train.name} has no {name}", hint="choose another train") from None
    return Artifact(name, wanted.version, wanted.kind)


def _constants(package: ModuleType, kind: type[T]) -> Iterator[T]:
    # A constant that a module imports from a neighbour is found once; a class is not a constant.
    found: dict[int, T] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            if not isinstance(value, NO_CONSTANTS) and isinstance(value, kind):
                found[id(value)] = value
    return iter(found.values())
