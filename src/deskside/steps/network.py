"""The pod network `flat`: one bridge per host, one route per other host, no overlay, no policies.

A pod range follows from its host's address, so that a new host changes one file on each other host, which is
taken up without a break.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.files import File
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import Role, Site, pod_range

BRIDGE = "cni-deskside"
"""Of a name that networkd and NetworkManager are told to leave alone (`cni*`)."""
CONFLIST = "/etc/deskside/cni/net.d/10-deskside.conflist"
PEERS = "/etc/deskside/pod-network.conf"
PROGRAM = "/opt/deskside/libexec/pod-network"
UNIT = "deskside-pod-network.service"
WATCH_UNIT = "deskside-pod-routes.service"
ROUTE_PROTOCOL = 142
"""Number that marks our routes, so that those of hosts that have left are found and removed."""
DEFAULT_MTU = 1500


def pod_mtu(site: Site, host: Host) -> int:
    """Bytes: the site's choice, or that of the link with the host's address."""
    link = host.facts.interface_with(str(host.spec.address))
    return site.network.mtu or (link.mtu if link and link.mtu else DEFAULT_MTU)


def conflist(site: Site, host: Host) -> str:
    """How pods are attached, as the reference CNI plug-ins read it."""
    document = {
        "cniVersion": "1.0.0",
        "name": "deskside",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "mtu": pod_mtu(site, host),
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(pod_range(site, host.spec))}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    # Gone with a reboot, like the pods that the addresses were given to.
                    "dataDir": "/run/deskside/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def peers(site: Site, host: Host) -> str:
    """The network of all pods, this host's own range, then one line per other node: range and address."""
    own, network = pod_range(site, host.spec), site.network.pods
    others = [spec for spec in site.nodes if spec.name != host.name]
    lines = [f"peer {pod_range(site, spec)} {spec.address}" for spec in others]
    return "\n".join(["# Written by Deskside.", f"pods {network}", f"own {own}", *lines, ""])


PROGRAM_TEXT = f"""\
#!/bin/sh
# Written by Deskside: routes to the pods of other hosts, and masquerading of what leaves the pods' network.
# Reads {PEERS}; safe to run again at any time. With `watch` it goes on, and does so whenever an
# address or a route is gone: the kernel drops every route of a link that loses its last address.
set -eu

if [ "${{1:-}}" = watch ]; then
    ip -o monitor address route | while read -r line; do
        case "$line" in
            Deleted* | *" inet "*) "$0" || true ;;
        esac
    done
    exit 1
fi

pods="" own="" wanted=""
while read -r word first second; do
    case "$word" in
        pods) pods="$first" ;;
        own) own="$first" ;;
        peer)
            ip route replace "$first" via "$second" proto {ROUTE_PROTOCOL}
            wanted="$wanted $first "
            ;;
    esac
done <{PEERS}

# Routes of hosts that have left.
ip -o route show proto {ROUTE_PROTOCOL} | while read -r range rest; do
    case "$wanted" in
        *" $range "*) ;;
        *) ip route del "$range" proto {ROUTE_PROTOCOL} ;;
    esac
done

nft -f - <<RULES
add table ip deskside_pods
delete table ip deskside_pods
table ip deskside_pods {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr $own ip daddr != $pods masquerade
    }}
}}
RULES

# A Docker on the host sets the policy of forwarding to drop.
if command -v iptables >/dev/null; then
    for side in -s -d; do
        iptables -w -C FORWARD "$side" "$pods" -m comment --comment deskside -j ACCEPT 2>/dev/null ||
            iptables -w -I FORWARD "$side" "$pods" -m comment --comment deskside -j ACCEPT
    done
fi
"""

UNIT_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: routes to the pods of other hosts
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={PROGRAM}
ExecReload={PROGRAM}
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


WATCH_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: keep the routes to the pods of other hosts
After={UNIT}
StartLimitIntervalSec=0

[Service]
ExecStart={PROGRAM} watch
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


@step(needs=("container_runtime",), on={Role.SERVER, Role.WORKER})
def pod_network(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Connect the pods of all hosts."""
    del platform
    program = File(PROGRAM, PROGRAM_TEXT, 0o755)
    others = File(PEERS, peers(site, host))
    unit = File(f"{UNIT_DIRECTORY}/{UNIT}", UNIT_TEXT)
    watch = File(f"{UNIT_DIRECTORY}/{WATCH_UNIT}", WATCH_TEXT)
    yield from (program, others, unit, watch)
    yield Unit(UNIT, after=(program, others, unit), reload=True)
    yield Unit(WATCH_UNIT, after=(program, watch))
    # Last: with this file the runtime calls the node ready for pods.
    yield File(CONFLIST, conflist(site, host))
