"""The command `handout`: what a person enters on a router, a Synology or at Okta."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from deskside.cli.options import as_json, open_workspace


@click.command()
@click.argument("device", type=click.Choice(["router", "synology", "okta"]))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the text and the zone files into this folder.",
)
@as_json
@click.pass_context
def handout(ctx: click.Context, device: str, out: Path | None, as_json: bool) -> None:
    """Print what to enter where Deskside may not: at a router, a Synology, Okta. Asks no host.

    Reservations, DHCP settings and DNS records as tables; for a Synology also the zone files that its DNS
    Server imports. `deskside check network` then looks whether it took effect. For `identity.kind: okta` the
    client and the authorization server; `deskside check` looks at those.

    \b
    Examples:
      deskside handout router
      deskside handout synology --out handout/
      deskside handout okta
    """
    from deskside.app.handout import router_handout, synology_handout
    from deskside.app.handout_okta import okta_handout

    site = open_workspace(ctx).site
    makers = {
        "router": lambda: router_handout(site),
        "synology": lambda: synology_handout(site, datetime.now(UTC).date()),
        "okta": lambda: okta_handout(site),
    }
    found = makers[device]()
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
