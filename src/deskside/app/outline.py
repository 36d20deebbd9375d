"""The workflow of a site without asking any host: for people who want to see what a run is made of."""

from __future__ import annotations

from deskside.app.workspace import Workspace
from deskside.catalog import all_oses, chosen_addons, directory_of, distro_named, steps_for
from deskside.engine.graph import Graph, make_graph
from deskside.model.facts import Facts
from deskside.model.platform import Host, Platform


def outline(workspace: Workspace) -> Graph:
    """The graph of a site's steps on hosts as they would be before the first run."""
    site, system = workspace.site, all_oses()[0]
    hosts = {
        spec.name: Host(
            spec, Facts(hostname=spec.name, os_id=system.id, os_version=system.versions[0]), system
        )
        for spec in site.managed_hosts
    }
    platform = Platform(
        train=workspace.train,
        lock={},
        distro=distro_named(site.kubernetes.distro),
        directory=directory_of(site.identity.kind),
        addons=chosen_addons(site),
        hosts=hosts,
    )
    return make_graph(steps_for(platform), platform)
