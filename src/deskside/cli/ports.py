"""The command `ports`: what the firewall lets in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from deskside.cli.options import as_json, open_workspace

if TYPE_CHECKING:
    from deskside.site.schema import Site
    from deskside.steps.open_ports import OpenPort


@click.command()
@as_json
@click.pass_context
def ports(ctx: click.Context, as_json: bool) -> None:
    """Show which ports are open on which host, and to whom. Asks no host.

    Everything else is closed. More is opened by network.firewall.open, and to more people by
    network.firewall.allow_from.

    \b
    Examples:
      deskside ports
      deskside ports --json | jq '.ports[] | select(.host == "ws1")'
    """
    from deskside.app.ports import open_ports

    site = open_workspace(ctx).site
    found = open_ports(site)
    if as_json:
        enabled = site.network.firewall.enabled
        click.echo(json.dumps({"enabled": enabled, "ports": [line.to_json() for line in found]}))
        return
    for line in _lines(site, found):
        click.echo(line)


def _lines(site: Site, found: tuple[OpenPort, ...]) -> Iterator[str]:
    from deskside.app.ports import who

    head = ("HOST", "ADDRESS", "SERVICE", "PORT", "FROM")
    rows = [
        (
            line.host,
            line.address,
            line.service,
            "/".join(filter(None, (line.protocol, line.ports))),
            ", ".join(line.sources),
        )
        for line in found
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    used = {source for line in found for source in line.sources}
    yield from (f"{word}: {meaning}" for word, meaning in who(site) if word in used)
    if not site.network.firewall.enabled:
        yield "network.firewall.enabled is false: nothing of this is enforced."


COMMANDS: tuple[click.Command, ...] = (ports,)
