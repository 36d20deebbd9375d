"""Addresses and names of the site: dnsmasq on one host, and every host asking it.

Deskside's own unit and file: a dnsmasq of somebody else's (a virtual network's, say) is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.door import Door, Source
from deskside.model.platform import Host, Platform
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.files import Directory, File
from deskside.resources.packages import Packages
from deskside.resources.system import UNIT_DIRECTORY, Unit
from deskside.site.schema import HostSpec, Role, Site

CONFIG = "/etc/deskside/dnsmasq.conf"
UNIT = "deskside-names.service"
LEASES = "/var/lib/deskside/names/leases"
PROGRAM = "/usr/sbin/dnsmasq"
DNS_PORT, DHCP_PORT = 53, 67
APPS = "apps"
"""Whatever is below this name of the site leads to the address at which applications are published."""

UNIT_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: addresses and names of the site
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStartPre={PROGRAM} --test --conf-file={CONFIG}
ExecStart={PROGRAM} --keep-in-foreground --conf-file={CONFIG}
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


def serves_addresses(site: Site, host: HostSpec) -> bool:
    """Whether Deskside hands out addresses from this host."""
    dhcp = site.network.dhcp
    return dhcp is not None and dhcp.provider == "dnsmasq" and dhcp.on == host.name


def serves_names(site: Site, host: HostSpec) -> bool:
    """Whether Deskside answers for the site's names from this host."""
    dns = site.network.dns
    return dns is not None and dns.provider == "dnsmasq" and dns.on == host.name


ASKING = (Source.PEOPLE, Source.SUBNET, Source.NODES, Source.PODS)
DHCP = Door("addresses (DHCP)", "udp", str(DHCP_PORT), (Source.ANYONE,), serves_addresses)
DNS = Door("names (DNS)", "udp", str(DNS_PORT), ASKING, serves_names)
DNS_TCP = Door("names (DNS)", "tcp", str(DNS_PORT), ASKING, serves_names)


@step(needs=("baseline",), on=frozenset(Role))
def names(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Hand out addresses and answer for names (dnsmasq)."""
    del platform
    if not (serves_addresses(site, host.spec) or serves_names(site, host.spec)):
        return
    yield Packages(host.os.packages["names"])
    yield Directory("/var/lib/deskside/names")
    config = File(CONFIG, dnsmasq_config(site, host.spec), check=(PROGRAM, "--test", "--conf-file={}"))
    unit = File(f"{UNIT_DIRECTORY}/{UNIT}", UNIT_TEXT)
    yield from (config, unit)
    yield Unit(UNIT, after=(config, unit))


@step(needs=("names",), on=frozenset(Role))
def resolver(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Let the host ask the site's name server."""
    del platform
    server = site.dns_server
    if server is None:
        return
    others = tuple(address for address in site.forwarders if address != server)
    if host.facts.resolved:
        # Only the site's names are asked there: all others go where they went.
        text = f"[Resolve]\nDNS={server}\nDomains=~{site.name} {site.name}\n"
        part = File("/etc/systemd/resolved.conf.d/80-deskside.conf", f"# Written by Deskside.\n{text}")
        yield part
        yield Unit("systemd-resolved.service", after=(part,))
    elif not host.facts.network_manager:
        lines = [f"search {site.name}", *(f"nameserver {address}" for address in (server, *others[:2]))]
        text = "\n".join(["# Written by Deskside.", *lines, "options timeout:2 attempts:2", ""])
        yield File("/etc/resolv.conf", text)


def dnsmasq_config(site: Site, host: HostSpec) -> str:
    """The whole file for one host."""
    lines = [
        "# Written by Deskside.",
        "user=dnsmasq",
        "group=nogroup",
        # Not on the loopback, where systemd-resolved may be, and not on the links of virtual machines.
        f"listen-address={host.address}",
        "except-interface=lo",
        "bind-dynamic",
        "no-hosts",
        "no-resolv",
        "no-poll",
        *(_names(site) if serves_names(site, host) else ("port=0",)),
        *(_addresses(site) if serves_addresses(site, host) else ()),
    ]
    return "\n".join(lines) + "\n"


def _names(site: Site) -> Iterator[str]:
    yield from ("domain-needed", "bogus-priv", "cache-size=1000", f"domain={site.name}")
    # Nobody else is asked for a name of the site.
    yield f"local=/{site.name}/"
    yield from (f"server={address}" for address in site.forwarders)
    for address, known in site.records:
        yield f"host-record={','.join(known)},{address}"
    yield f"address=/{APPS}.{site.name}/{site.network.load_balancer.first}"


def _addresses(site: Site) -> Iterator[str]:
    dhcp, network = site.network.dhcp, site.network
    assert dhcp is not None
    yield f"dhcp-range={dhcp.range.first},{dhcp.range.last},{network.subnet.netmask},{dhcp.lease}"
    yield "dhcp-authoritative"
    yield f"dhcp-leasefile={LEASES}"
    yield f"dhcp-option=option:router,{network.gateway}"
    yield f"dhcp-option=option:dns-server,{site.dns_server or network.gateway}"
    yield f"dhcp-option=option:domain-search,{site.name}"
    yield f"dhcp-option=option:ntp-server,{site.servers[0].address}"
    # A stranger's machine gets an address, but no name of the site.
    yield "dhcp-ignore-names=tag:!known"
    for spec in site.hosts:
        if spec.mac:
            yield f"dhcp-host={spec.mac},{spec.name},{spec.address}"
