"""The command `handout`: what a person enters on a router or a Synology."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from deskside.cli.options import as_json, open_workspace


@click.command()
@click.argument("device", type=click.Choice(["router", "synology"]))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the text and the zone files into this folder.",
)
@as_json
@click.pass_context
def handout(ctx: click.Context, device: str, out: Path | None, as_json: bool) -> None:
    """Print what to enter on a device that Deskside does not control. Asks no host.

    Reservations, DHCP settings and DNS records as tables; for a Synology also the zone files that its DNS
    Server imports. `deskside check network` then looks whether it took effect.

    \b
    Examples:
      deskside handout router
      deskside handout synology --out handout/
    """
    from deskside.app.handout import router_handout, synology_handout

    site = open_workspace(ctx).site
    today = datetime.now(UTC).date()
    found = router_handout(site) if device == "router" else synology_handout(site, today)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in ((f"{device}.txt", found.text), *found.files):
            (out / name).write_text(text)
            click.echo(f"{out / name}: written", err=True)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    elif out is None:
        click.echo(found.text, nl=False)
        for name, text in found.files:
            click.echo(f"\nFile {name} (or: deskside handout {device} --out FOLDER)\n\n{text}", nl=False)


COMMANDS: tuple[click.Command, ...] = (handout,)
