"""Commands about the site file and what lies beside it: validate, trust."""

from __future__ import annotations

from pathlib import Path

import click

from deskside.cli.fingerprints import accepted, fingerprint_option, typed_fingerprints
from deskside.cli.options import as_json, open_workspace, run
from deskside.errors import SiteError, Unreachable


@click.command()
@as_json
@click.pass_context
def validate(ctx: click.Context, as_json: bool) -> None:
    """Show every problem of the site file at once, with line, field and remedy.

    \b
    Example:
      deskside -f lab.yaml validate
    """
    from dataclasses import asdict

    from deskside.site.load import load

    path = Path(ctx.obj)
    try:
        loaded = load(path)
    except SiteError as error:
        if as_json:
            import json

            click.echo(json.dumps({"ok": False, "problems": [asdict(problem) for problem in error.problems]}))
        raise
    if as_json:
        import json

        click.echo(json.dumps({"ok": True, "problems": [asdict(warning) for warning in loaded.warnings]}))
        return
    for warning in loaded.warnings:
        click.echo(str(warning), err=True)
    click.echo(f"{path}: no problems. Next: deskside trust, deskside check, deskside plan")


@click.command()
@fingerprint_option
@click.pass_context
def trust(ctx: click.Context, fingerprints: tuple[str, ...]) -> None:
    """Show the hosts' SSH keys, and pin those that a person accepts.

    Compare each fingerprint with what the host itself prints:
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

    \b
    Examples:
      deskside trust
      deskside trust --fingerprint ws1=SHA256:abc...
    """
    from deskside.app.trust import Seen, look_at_keys, pin

    workspace = open_workspace(ctx)
    typed = typed_fingerprints(fingerprints, [spec.name for spec in workspace.site.managed_hosts])

    async def keys() -> tuple[Seen, ...]:
        return await look_at_keys(workspace, only=set(typed) or None)

    failed: list[str] = []
    for seen in run(keys()):
        if seen.pinned:
            click.echo(f"{seen.host}: {seen.fingerprint} is pinned already")
        elif seen.error is not None:
            click.echo(f"{seen.host}: {seen.error.message}", err=True)
            failed.append(seen.host)
        elif accepted(seen, typed.get(seen.host), "deskside trust"):
            pin(workspace, seen)
            click.echo(f"{seen.host}: pinned in {workspace.pins}")
        else:
            failed.append(seen.host)
    if failed:
        raise Unreachable(f"not pinned: {', '.join(failed)}", hint="run deskside trust again")


@click.command()
@click.option("--refresh", is_flag=True, help="Ask the source again for what is locked already.")
@click.pass_context
def lock(ctx: click.Context, refresh: bool) -> None:
    """Write deskside.lock: version, digest and source of everything that is brought to the hosts.

    plan and apply do it by themselves for what is not locked yet; nothing is sent to any host.

    \b
    Examples:
      deskside lock
      deskside lock --refresh
    """
    from deskside.catalog import wanted_artifacts
    from deskside.cli.options import make_store, say

    workspace = open_workspace(ctx)
    store = make_store(workspace)
    wanted = wanted_artifacts(workspace.site, workspace.train)
    found = run(store.resolve(workspace.site.train, wanted, say, write=True, refresh=refresh))
    click.echo(f"{store.lock_path}: {len(found)} artifacts of the train {workspace.train.name}")


COMMANDS: tuple[click.Command, ...] = (validate, trust, lock)
