"""The API's address, held by one server at a time: keepalived with peers named one by one.

Every server starts with the same priority and gains some while its own API is ready, so the address is there
before the first API is, follows a healthy server, and does not move back when a server returns. Deskside's
own unit and file: a keepalived of somebody else is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.door import Door, Source, on_servers
from deskside.model.platform import Host
from deskside.model.resource import Resource
from deskside.resources.files import File
from deskside.resources.packages import Packages
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import Site

CONFIG = "/etc/deskside/keepalived.conf"
PROBE = "/opt/deskside/libexec/api-ready"
UNIT = "deskside-failover.service"
TURNS = Door("the API's address in turns (VRRP)", "vrrp", "", (Source.SERVERS,), on_servers)
PRIORITY = 100
READY_WEIGHT = 50

_PROBE_TEXT = """\
#!/bin/sh
# Written by Deskside: whether this server's own API is ready to answer.
exec curl --silent --fail --insecure --noproxy '*' --max-time 2 --output /dev/null https://127.0.0.1:6443/readyz
"""

_UNIT_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: the address of the cluster's API
Wants=network-online.target
After=network-online.target

[Service]
RuntimeDirectory=deskside-failover
ExecStart=/usr/sbin/keepalived --dont-fork --log-console --no-syslog --vrrp --use-file={CONFIG} \\
  --pid=/run/deskside-failover/keepalived.pid --vrrp_pid=/run/deskside-failover/vrrp.pid
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


def interface_of(host: Host) -> str:
    """The link that carries the host's address; that of the default route when the facts do not show it."""
    found = host.facts.interface_with(str(host.spec.address))
    return found.name if found else host.facts.route_interface


def router_id(site: Site) -> int:
    """Number of the virtual router, 1 to 255: sites on one network differ in the address, so in this."""
    return int(site.network.api) % 255 + 1


def keepalived_config(site: Site, host: Host) -> str:
    """The whole file for one server."""
    peers = [str(peer.address) for peer in site.servers if peer.name != host.name]
    unicast = ""
    if peers:
        lines = "".join(f"        {peer}\n" for peer in peers)
        unicast = f"    unicast_src_ip {host.spec.address}\n    unicast_peer {{\n{lines}    }}\n"
    return (
        "# Written by Deskside.\n"
        "global_defs {\n"
        f"    router_id {host.name}\n"
        "    enable_script_security\n"
        "    script_user root\n"
        "}\n"
        "vrrp_script api_ready {\n"
        f'    script "{PROBE}"\n'
        "    interval 2\n"
        "    timeout 3\n"
        "    rise 1\n"
        "    fall 2\n"
        f"    weight {READY_WEIGHT}\n"
        "}\n"
        "vrrp_instance api {\n"
        "    state BACKUP\n"
        f"    interface {interface_of(host)}\n"
        f"    virtual_router_id {router_id(site)}\n"
        f"    priority {PRIORITY}\n"
        "    advert_int 1\n"
        "    garp_master_refresh 60\n"
        f"{unicast}"
        "    virtual_ipaddress {\n"
        # A host route of its own: with the subnet's prefix it could become the source of outgoing packets.
        f"        {site.network.api}/32\n"
        "    }\n"
        "    track_script {\n"
        "        api_ready\n"
        "    }\n"
        "}\n"
    )


def failover(site: Site, host: Host) -> Iterator[Resource]:
    """What a server needs to take its turn at the API's address."""
    # curl asks the API whether it is ready.
    yield Packages(host.os.packages["failover"])
    probe = File(PROBE, _PROBE_TEXT, 0o755)
    config = File(CONFIG, keepalived_config(site, host))
    unit = File(f"{UNIT_DIRECTORY}/{UNIT}", _UNIT_TEXT)
    yield from (probe, config, unit)
    yield Unit(UNIT, after=(config, unit), reload=True)
