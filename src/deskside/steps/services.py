"""Images of the services on every node; the catalog makes one step of each add-on by itself."""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.artifacts import UnpinnedImages, images_of
from deskside.site.schema import Role, Site


@step(needs=("container_runtime",), on={Role.SERVER, Role.WORKER}, deadline=3600.0)
def images(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Bring the images of the services to the host."""
    del site, host
    names = dict.fromkeys(name for addon in platform.addons for name in addon.images)
    yield from images_of(platform.artifact(name) for name in names)
    kept = (reference for locked in platform.lock.values() for reference in locked.references)
    yield UnpinnedImages(tuple(sorted(kept)))
