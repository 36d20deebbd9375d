"""Records on a name server that somebody else runs and that takes updates by a key (RFC 2136, TSIG).

Without a key a person enters them, from `deskside handout`. Only records of the site's own names are touched;
what else stands in the zone stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from deskside.model.platform import Host, Platform
from deskside.model.query import Output, object_of
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.command import Command
from deskside.resources.packages import Packages
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.steps.names import APPS
from deskside.steps.resolving import names_question

LIFETIME = 3600
"""Seconds for which others may keep an answer."""
Record = tuple[str, str, str, str]
"""Owner, type, value, and what is asked to see it: a wildcard is seen by any name below it."""


@step(needs=("baseline",), deadline=300.0)
def records(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Enter the site's names on its name server."""
    dns = site.network.dns
    if dns is None or dns.tsig is None or platform.dns_key is None:
        return
    yield Packages(host.os.packages["updates"])
    wanted = tuple(wanted_records(site))
    yield Command(
        "records of the site",
        ("nsupdate", "-t", "30"),
        asks=names_question(site),
        done=lambda output: all_there(wanted, output),
        summary=f"enter {len(wanted)} records on {site.dns_server}",
        stdin=update_script(site, wanted, platform.dns_key),
        timeout=120.0,
    )


def wanted_records(site: Site) -> Iterator[Record]:
    """Names below the site's domain with their addresses, the wildcard, and the name of every address."""
    for address, (name, *_) in site.records:
        if name.endswith(f".{site.name}"):
            yield name, "A", address, name
    wildcard = f"{APPS}.{site.name}"
    yield f"*.{wildcard}", "A", str(site.network.load_balancer.first), f"any.{wildcard}"
    for address, (name, *_) in site.records:
        yield IPv4Address(address).reverse_pointer, "PTR", name, address


def all_there(wanted: tuple[Record, ...], output: Output) -> bool:
    """Whether the name server already says so; a server that says nothing does not."""
    found = object_of(output)
    return found is not None and all(found.get(asked) == [value] for _, _, value, asked in wanted)


def update_script(site: Site, wanted: tuple[Record, ...], key: Secret) -> Secret:
    """What nsupdate reads: each record in the place of what its owner had; one update per zone."""
    dns = site.network.dns
    assert dns is not None
    assert dns.tsig is not None
    lines = [f"server {site.dns_server}", f"key {dns.tsig.algorithm}:{dns.tsig.name} {key.reveal()}"]
    zone = ""
    for owner, kind, value, _ in wanted:
        within = site.name if kind == "A" else owner.partition(".")[2]
        if zone not in ("", within):
            lines.append("send")
        zone = within
        end = "." if kind == "PTR" else ""
        lines += [f"update delete {owner}. {kind}", f"update add {owner}. {LIFETIME} {kind} {value}{end}"]
    return Secret("\n".join([*lines, "send", ""]))
