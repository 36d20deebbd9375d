from __future__ import annotations

from deskside.resources.files import File
from deskside.resources.mounts import Mount, mount_point
from deskside.resources.packages import Packages
from deskside.resources.system import Unit
from deskside.site.schema import Role
from deskside.steps.storage import HOMES, homes, homes_mount

from .sites import make_hosts, make_platform, make_site

SITE = make_site()


def test_homes_are_mounted_on_workers_only() -> None:
    assert homes.on == {Role.WORKER}
    assert homes.needs == ("baseline",)


def test_f41_a_nas_that_is_gone_cannot_hold_a_worker_for_ever() -> None:
    hosts = make_hosts(SITE)
    packages, point, mount, file, unit = homes.resources(SITE, make_platform(hosts), hosts["ws3"])
    assert packages == Packages(("nfs-common",))
    assert point == mount_point(HOMES)
    assert isinstance(mount, Mount)
    assert (mount.what, mount.where, mount.fstype) == ("10.20.0.20:/volume1/homes", HOMES, "nfs")
    assert {"softerr", "timeo=300", "retrans=3", "nosuid", "nodev", "_netdev"} <= set(
        mount.options.split(",")
    )
    assert not mount.at_boot
    assert "[Install]" not in str(mount.file.content)
    assert isinstance(file, File)
    text = str(file.content)
    assert "ExecStart=systemctl start var-lib-deskside-homes.mount\n" in text
    assert "Restart=on-failure\n" in text
    assert unit == Unit("deskside-homes.service", after=(file,))


def test_a_storage_host_that_works_uses_its_own_folder() -> None:
    hosts = [spec.model_dump(mode="json") for spec in SITE.hosts if spec.name != "nas"]
    hosts[2]["roles"] = ["worker", "storage"]
    site = make_site(hosts=hosts, storage={"homes": {"source": "ws3:/srv/homes"}})
    assert homes_mount(site, "ws3") == Mount("/srv/homes", HOMES, "none", "bind,nosuid,nodev", at_boot=False)
    assert homes_mount(site, "ws1").what == "10.20.0.13:/srv/homes"
    facts = make_hosts(site)
    found = list(homes.resources(site, make_platform(facts), facts["ws3"]))
    assert not any(isinstance(resource, Packages) for resource in found)
