"""Whether a machine is the host that the site file means, by the MAC addresses of its network cards.

Asked by the shell of whoever logs in, before anything else: without sudo, without python3.
"""

from __future__ import annotations

from deskside.app.discover import mac_text
from deskside.errors import WrongMachine
from deskside.site.schema import HostSpec, Site

MAC_COMMAND = "cat /sys/class/net/*/address /sys/class/net/*/bonding_slave/perm_hwaddr 2>/dev/null"
"""A card that is part of a bond shows the bond's address, and its own in a file of its own."""
NOBODYS = "00:00:00:00:00:00"
"""The loopback's."""


def macs_of(told: str) -> tuple[str, ...]:
    """MAC addresses in what `MAC_COMMAND` prints, as the site file writes them."""
    found = dict.fromkeys(mac_text(line) for line in told.splitlines())
    return tuple(mac for mac in found if mac and mac != NOBODYS)


def require_same(site: Site, spec: HostSpec, address: str, told: str) -> None:
    """Raises WrongMachine when the cards are not those of the host `spec`, or are another host's."""
    macs = macs_of(told)
    other = next((host.name for host in site.hosts if host.name != spec.name and host.mac in macs), "")
    if not other and (spec.mac is None or spec.mac in macs):
        return
    machine = f"the machine at {address}"
    if other:
        said = f"{machine} is {other}, not {spec.name}: it has the MAC address {site.host(other).mac}"
        raise WrongMachine(said, hint=f"deskside adopt {other}={address}; or correct hosts[].mac of {other}")
    if macs:
        said = f"{machine} is not {spec.name}: its cards are {', '.join(macs)}, hosts[].mac says {spec.mac}"
    else:
        said = f"{machine} does not tell the MAC addresses of its cards: is it {spec.name} ({spec.mac})?"
    hint = f"deskside adopt --discover {spec.name} finds it by its MAC address; or correct hosts[].mac"
    raise WrongMachine(said, hint=hint)
