"""The rack's switch: one bridge, one nft table, and a subnet that nothing else on this machine uses.

It changes nothing but links and tables that carry the rack's name. A cable is the veth pair that
systemd-nspawn makes for a host; its end on this machine is plugged in here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path

from deskside.errors import DesksideError
from deskside.lab import DEFAULT_RACK
from deskside.lab.process import run, run_now
from deskside.lab.spec import Layout, RackHost

LINKS = Path("/sys/class/net")


def subnet_order(name: str) -> list[int]:
    """Subnet numbers in the order that a rack of this name tries them: the same at all times."""
    first = 0 if name == DEFAULT_RACK else 1 + zlib.crc32(name.encode()) % 254
    return [(first + step) % 255 for step in range(255)]


def free_subnet(name: str, taken: Iterable[IPv4Network]) -> int:
    """The N of the first 10.77.N.0/24 that overlaps nothing in `taken`."""
    used = list(taken)
    for number in subnet_order(name):
        candidate = IPv4Network(f"10.77.{number}.0/24")
        if not any(candidate.overlaps(one) for one in used):
            return number
    raise DesksideError(f"rack {name}: every subnet of 10.77.0.0/16 is in use on this machine")


def as_networks(subnets: Iterable[str]) -> list[IPv4Network]:
    """Subnets in text as values."""
    return [IPv4Network(one) for one in subnets]


async def networks_here(besides: str) -> list[IPv4Network]:
    """Networks that this machine has an address in or a route to, but for the default route and one link."""
    addresses = await run(["ip", "-json", "-4", "address"], "looking at this machine's addresses")
    routes = await run(
        ["ip", "-json", "-4", "route", "show", "table", "all"], "looking at this machine's routes"
    )
    found = [
        IPv4Network(f"{one['local']}/{one['prefixlen']}", strict=False)
        for link in json.loads(addresses.out or "[]")
        if link.get("ifname") != besides
        for one in link.get("addr_info", [])
        if "local" in one
    ]
    for route in json.loads(routes.out or "[]"):
        if route.get("dst", "default") != "default" and route.get("dev") != besides:
            found.append(IPv4Network(route["dst"], strict=False))
    return found


def rules(layout: Layout) -> str:
    """The rack's nft table; loading it again replaces it.

    Masquerade is decided by the outgoing link and not only by address: where br_netfilter is on, packets
    between hosts pass here too, among them those from a host to a pod of another host.
    """
    outgoing = f'ip saddr {layout.subnet} ip daddr != {layout.subnet} oifname != "{layout.bridge}"'
    return f"""\
table ip {layout.table} {{}}
delete table ip {layout.table}
table ip {layout.table} {{
  chain outgoing {{
    type nat hook postrouting priority srcnat; policy accept;
    {outgoing} masquerade
  }}
  chain forwarded {{
    type filter hook forward priority mangle; policy accept;
    oifname != "{layout.bridge}" iifname "{layout.bridge}" tcp flags syn tcp option maxseg size set rt mtu
  }}
}}
"""


async def lay(layout: Layout) -> None:
    """Make the bridge and the table, or put right what is left of them."""
    bridge = layout.bridge
    doing = f"making the switch of rack {layout.name}"
    if not (LINKS / bridge).exists():
        # A fixed address: a bridge otherwise changes its own with every cable, and neighbours lose it.
        link = ["ip", "link", "add", bridge, "address", layout.mac(1), "type", "bridge", "forward_delay", "0"]
        await run(link, doing)
    await run(["ip", "address", "replace", f"{layout.gateway}/24", "dev", bridge], doing)
    await run(["ip", "link", "set", bridge, "up"], doing)
    await run(["nft", "-f", "-"], f"setting the rules of rack {layout.name}", stdin=rules(layout))


async def remove(layout: Layout) -> None:
    """Remove everything that `lay` and the hosts' cables left. Nothing of it needs to be there."""
    cables = {layout.link(host) for host in layout.hosts}
    cables |= {port.name for port in (LINKS / layout.bridge / "brif").glob("vb-*")}
    for cable in sorted(cables):
        if (LINKS / cable).exists():
            await run(["ip", "link", "delete", cable])
    if (LINKS / layout.bridge).exists():
        await run(["ip", "link", "delete", layout.bridge], f"removing the switch of rack {layout.name}")
    if (await run(["nft", "list", "table", "ip", layout.table])).ok:
        await run(["nft", "delete", "table", "ip", layout.table], f"removing the rules of rack {layout.name}")


def plug(layout: Layout, host: RackHost, leader: int, *, cut: bool) -> bool:
    """Plug a host's cable in, with the host's fixed hardware address; False: there is none yet."""
    link = layout.link(host)
    if not (LINKS / link).exists():
        return False
    enter = ["nsenter", f"--target={leader}", "--net", "ip", "link", "set", "host0"]
    if not run_now([*enter, "address", layout.mac(host.number)]).ok:
        return False
    run_now(["ip", "link", "set", link, "master", layout.bridge])
    run_now(["ip", "link", "set", link, "down" if cut else "up"])
    return True


def unplug(layout: Layout, host: RackHost) -> None:
    """Take away the cable of the boot before: the kernel does so too, but after the next one is made."""
    if (LINKS / layout.link(host)).exists():
        run_now(["ip", "link", "delete", layout.link(host)])


async def switch_cable(layout: Layout, host: RackHost, *, up: bool) -> None:
    """Cut a host's cable or mend it."""
    doing = f"{'mending' if up else 'cutting'} the cable of {host.name}"
    await run(["ip", "link", "set", layout.link(host), "up" if up else "down"], doing)
