"""Deskside's own containerd: own programs, folders, sockets and unit, so that no other runtime is touched.

A Docker or another containerd on the host is neither used nor changed, and neither can collide with this one.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.errors import SiteError
from deskside.model.facts import Facts
from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.artifacts import CTR, REGISTRY_HOSTS, Archive, Binary
from deskside.resources.files import Directory, File, Link
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import Role, Site

BIN = "/opt/deskside/bin"
CNI_BIN = "/opt/deskside/cni/bin"
CNI_CONFIG = "/etc/deskside/cni/net.d"
CONFIG = "/etc/deskside/containerd/config.toml"
ROOT = "/var/lib/deskside/containerd"
RUN = "/run/deskside/containerd"
SOCKET = CTR[2]
UNIT = "deskside-containerd.service"
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
"""Programs of containerd's archive, below its `bin`."""
ARCHIVE = "/opt/deskside/containerd"


def _true(value: bool) -> str:
    return "true" if value else "false"


def may_raise_limits(facts: Facts) -> bool:
    """Whether processes on the host may be given larger limits and lower OOM scores than they start with."""
    return "cap_sys_resource" in facts.capabilities


def containerd_config(facts: Facts, pause: str) -> str:
    """The whole file. `pause` is the image that holds a pod's namespaces."""
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    return f"""\
# Written by Deskside.
version = 3
root = '{ROOT}'
state = '{RUN}'

[grpc]
  address = '{SOCKET}'

[plugins.'io.containerd.internal.v1.opt']
  path = '/opt/deskside/plugins'

[plugins.'io.containerd.nri.v1.nri']
  socket_path = '{RUN}/nri.sock'
  plugin_path = '/opt/deskside/nri/plugins'
  plugin_config_path = '/etc/deskside/nri/conf.d'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{pause}'
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '{REGISTRY_HOSTS}'

[{runtime}]
  restrict_oom_score_adj = {_true(not may_raise_limits(facts))}
[{runtime}.cni]
  bin_dirs = ['{CNI_BIN}']
  conf_dir = '{CNI_CONFIG}'
[{runtime}.containerd]
  default_runtime_name = 'runc'
[{runtime}.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[{runtime}.containerd.runtimes.runc.options]
  BinaryName = '{BIN}/runc'
  Root = '/run/deskside/runc'
  SystemdCgroup = {_true(facts.cgroup == 2)}
"""


def containerd_unit(facts: Facts) -> str:
    """The whole unit file."""
    limits = ""
    if may_raise_limits(facts):
        limits = "LimitNOFILE=1048576\nLimitNPROC=infinity\nLimitCORE=infinity\nOOMScoreAdjust=-999\n"
    return f"""\
# Written by Deskside.
[Unit]
Description=Deskside: container runtime (containerd)
After=network.target dbus.service local-fs.target
RequiresMountsFor={ROOT}

[Service]
Type=notify
Environment=PATH={BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart={BIN}/containerd --config {CONFIG}
Delegate=yes
KillMode=process
Restart=always
RestartSec=2
TasksMax=infinity
{limits}
[Install]
WantedBy=multi-user.target
"""


def pause_image(platform: Platform) -> str:
    """Reference of the pause image that the lock names. Raises SiteError when it names none."""
    for locked in platform.lock.values():
        for reference in locked.references:
            if "/pause:" in reference:
                return reference
    raise SiteError("deskside.lock names no pause image", hint="write it anew: deskside lock --refresh")


@step(needs=("baseline",), on={Role.SERVER, Role.WORKER})
def container_runtime(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Install containerd and start it."""
    del site
    containerd = Archive(platform.artifact("containerd"), ARCHIVE)
    yield containerd
    yield from (Link(f"{BIN}/{name}", f"{ARCHIVE}/bin/{name}") for name in PROGRAMS)
    yield from (Binary(platform.artifact(name), f"{BIN}/{name}") for name in ("runc", "crictl"))
    yield Archive(platform.artifact("cni-plugins"), CNI_BIN)
    yield Directory(REGISTRY_HOSTS)
    yield Directory(CNI_CONFIG)
    config = File(CONFIG, containerd_config(host.facts, pause_image(platform)))
    unit = File(f"{UNIT_DIRECTORY}/{UNIT}", containerd_unit(host.facts))
    yield from (config, unit)
    endpoint = f"unix://{SOCKET}"
    yield File("/etc/crictl.yaml", f"runtime-endpoint: {endpoint}\nimage-endpoint: {endpoint}\ntimeout: 10\n")
    yield Unit(UNIT, after=(containerd, config, unit))
