from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deskside.model.resource import Resource
from deskside.model.step import Step
from deskside.oses.debian import DEBIAN
from deskside.oses.ubuntu import UBUNTU
from deskside.resources.command import Command
from deskside.resources.disks import DataDisk
from deskside.resources.files import Block, Directory, File
from deskside.resources.mounts import Mount
from deskside.resources.system import Masked, Modules, Sysctls, Unit
from deskside.site.schema import Site
from deskside.steps.baseline import DATA_FOLDERS, baseline, site_names, time_sync

from .sites import make_hosts, make_platform, make_site

SITE = make_site()
RACK = {
    "capabilities": ("cap_net_raw",),
    "container": "systemd-nspawn",
    "cgroup": 1,
    "swap": ("/dev/sda2",),
    "modules": ("overlay", "br_netfilter"),
}


def resources(
    step: Step = baseline,
    name: str = "ws1",
    site: Site = SITE,
    facts: Mapping[str, object] = MappingProxyType({}),
    **more: object,
) -> dict[str, Resource]:
    hosts = make_hosts(site, **{name: {**facts, **more}})
    found = list(step.resources(site, make_platform(hosts), hosts[name]))
    subjects = [resource.subject for resource in found]
    assert len(subjects) == len(set(subjects)), "subjects are unique"
    return dict(zip(subjects, found, strict=True))


OF_EVERY_HOST = (
    "file /etc/systemd/journald.conf.d/80-deskside.conf",
    "unit systemd-journald.service",
    "directory /etc/deskside",
    "directory /opt/deskside",
    "directory /opt/deskside/bin",
    "directory /var/lib/deskside",
    "directory /var/lib/deskside/staging",
)


def test_a_workstation() -> None:
    assert list(resources()) == [
        "hostname",
        "block site in /etc/hosts",
        "packages ca-certificates, ethtool, iproute2 and 11 more",
        "kernel modules",
        "sysctls baseline",
        *OF_EVERY_HOST,
    ]


def test_a_host_that_is_only_storage_gets_nothing_of_what_pods_need() -> None:
    hosts = [
        *(
            {"name": name, "address": f"10.20.0.1{n}", "roles": ["server", "worker"]}
            for n, name in enumerate(("ws1", "ws2", "ws3"), 1)
        ),
        {"name": "nas", "address": "10.20.0.20", "roles": ["storage"], "data": "/data"},
    ]
    site = make_site(hosts=hosts)
    found = resources(
        name="nas", site=site, facts=RACK, network_manager=True, networkd=True, swap_shared=False
    )
    assert list(found) == [
        "hostname",
        "block site in /etc/hosts",
        "packages ca-certificates, ethtool, iproute2 and 4 more",
        *OF_EVERY_HOST,
    ]
    text = text_of(resources(time_sync, "nas", site), "/etc/chrony/conf.d/deskside.conf")
    assert text.splitlines()[-1] == "server 10.20.0.11 iburst"


def test_names_of_the_site() -> None:
    assert site_names(SITE) == (
        "10.20.0.11 ws1.lab.example ws1\n10.20.0.12 ws2.lab.example ws2\n10.20.0.13 ws3.lab.example ws3\n"
        "10.20.0.20 nas.lab.example nas\n10.20.0.10 api.lab.example"
    )
    block = resources()["block site in /etc/hosts"]
    assert isinstance(block, Block)


def test_the_full_name_stands_before_what_an_installer_wrote() -> None:
    block = resources()["block site in /etc/hosts"]
    assert isinstance(block, Block)
    installed = "127.0.0.1\tlocalhost\n127.0.1.1\tws1\n"
    once = block.within(installed)
    assert once.splitlines()[1] == "10.20.0.11 ws1.lab.example ws1"
    assert once.endswith("# END deskside site\n127.0.0.1\tlocalhost\n")
    assert block.within(once) == once


def test_cloud_init_leaves_the_names_alone() -> None:
    path = "/etc/cloud/cloud.cfg.d/99-zz-deskside.cfg"
    assert f"file {path}" not in resources()
    text = text_of(resources(cloud_init=True), path)
    assert "preserve_hostname: true\nmanage_etc_hosts: false\n" in text


def test_f29_inotify_limits_are_raised_and_never_lowered() -> None:
    sysctls = resources()["sysctls baseline"]
    assert isinstance(sysctls, Sysctls)
    assert sysctls.values == {
        "net.ipv4.ip_forward": "1",
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.bridge.bridge-nf-call-ip6tables": "1",
        "fs.inotify.max_user_instances": "8192",
        "fs.inotify.max_user_watches": "655360",
    }
    assert sysctls.at_least == {"fs.inotify.max_user_instances", "fs.inotify.max_user_watches"}


def test_a_shared_kernel_is_not_touched() -> None:
    found = resources(facts=RACK)
    assert not {"kernel modules", "masked swap.target", "swap"} & set(found)
    bare = resources(facts=RACK, modules=("overlay",))["sysctls baseline"]
    assert isinstance(bare, Sysctls)
    assert "net.bridge.bridge-nf-call-iptables" not in bare.values, "a setting that cannot come is not wanted"
    assert "sysctls baseline" not in resources(writable_sysctls=False)


def test_modules_that_are_built_in_are_not_loaded() -> None:
    modules = resources()["kernel modules"]
    assert isinstance(modules, Modules)
    assert (modules.names, modules.present) == (("overlay", "br_netfilter"), ("overlay",))


def test_swap_stays_on_cgroup_v2_and_goes_on_v1() -> None:
    assert "swap" not in resources(swap=("/dev/sda2",), cgroup=2)
    found = resources(swap=("/dev/sda2",), cgroup=1)
    assert isinstance(found["swap"], Command)
    assert isinstance(found["masked swap.target"], Masked)
    assert set(found) == set(resources(cgroup=1)), "the wish does not depend on whether swap is on just now"


def test_f26_network_services_keep_their_hands_off_pod_links() -> None:
    found = resources(network_manager=True, networkd=True)
    unmanaged = found["file /etc/NetworkManager/conf.d/80-deskside.conf"]
    assert isinstance(unmanaged, File)
    assert "unmanaged-devices=interface-name:cni*;interface-name:veth*;" in str(unmanaged.content)
    routes = found["file /etc/systemd/networkd.conf.d/80-deskside.conf"]
    assert isinstance(routes, File)
    assert "ManageForeignRoutes=no" in str(routes.content)
    unit = found["unit NetworkManager.service"]
    assert isinstance(unit, Unit)
    assert unit.reload
    assert "unit systemd-networkd.service" in found


def test_a_desktop_never_sleeps() -> None:
    assert {"masked sleep.target", "masked suspend.target"} <= set(resources(desktop=True))
    assert "masked sleep.target" not in resources(desktop=False)


def with_data(data: object) -> Site:
    hosts = [spec.model_dump(mode="json") for spec in SITE.hosts]
    hosts[0]["data"] = data
    return make_site(hosts=hosts)


def test_data_path_holds_what_grows() -> None:
    found = resources(site=with_data("/data"))
    for name, where in DATA_FOLDERS.items():
        mount = found[f"mount {where}"]
        assert mount == Mount(f"/data/{name}", where, "none", "bind")
        # With a mode of its own it would quarrel with whoever uses the folder through the mount.
        assert found[f"directory /data/{name}"] == Directory(f"/data/{name}", None)
        assert list(found).index(f"directory /data/{name}") < list(found).index(f"mount {where}")
    assert not any(isinstance(resource, DataDisk) for resource in found.values())


def test_data_disk_is_made_and_mounted_before_the_folders_on_it() -> None:
    found = resources(site=with_data({"device": "/dev/nvme1n1", "serial": "S3R1AL"}))
    order = list(found)
    disk = DataDisk("/dev/nvme1n1", "S3R1AL")
    assert found["disk /dev/nvme1n1"] == disk
    mount = found["mount /var/lib/deskside/data"]
    assert isinstance(mount, Mount)
    assert mount.what == f"/dev/disk/by-uuid/{disk.uuid}"
    wanted = [
        "disk /dev/nvme1n1",
        mount.subject,
        "directory /var/lib/deskside/data/kubelet",
        "mount /var/lib/kubelet",
    ]
    assert [subject for subject in order if subject in wanted] == wanted


def text_of(found: Mapping[str, Resource], path: str) -> str:
    file = found[f"file {path}"]
    assert isinstance(file, File)
    return str(file.content)


def test_time_is_set_where_the_clock_is_the_hosts_own() -> None:
    found = resources(time_sync)
    assert list(found) == [
        "packages chrony",
        "file /etc/default/chrony",
        "file /etc/chrony/conf.d/deskside.conf",
        "unit chrony.service",
    ]
    assert '"-F 1"' in text_of(found, "/etc/default/chrony")


def test_time_is_only_watched_where_the_clock_is_shared() -> None:
    found = resources(time_sync, facts=RACK)
    assert '"-F 1 -x"' in text_of(found, "/etc/default/chrony")
    drop_in = text_of(found, "/etc/systemd/system/chrony.service.d/80-deskside.conf")
    assert "[Unit]\nConditionCapability=\n" in drop_in


def test_f22_the_site_agrees_with_itself_when_it_is_cut_off() -> None:
    peers = "/etc/chrony/conf.d/deskside.conf"
    assert "allow 10.20.0.0/24\nlocal stratum 10\n" in text_of(resources(time_sync), peers)
    assert "server 10.20.0.11 iburst\n" in text_of(resources(time_sync, "ws3"), peers)


def test_every_system_has_the_same_capabilities() -> None:
    capabilities = {
        "baseline",
        "node",
        "time",
        "names",
        "updates",
        "failover",
        "nfs",
        "directory",
        "directory server",
        "upgrades",
        "people",
    }
    assert set(DEBIAN.packages) == set(UBUNTU.packages) == capabilities
    assert {"conntrack", "mount"} <= set(DEBIAN.packages["node"]), "kubeadm refuses without them"
