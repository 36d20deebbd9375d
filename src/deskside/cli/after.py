"""Commands for a site that is up: status, verify, kubeconfig."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from deskside.cli.options import as_json, make_store, on_terminal, open_workspace, run, say
from deskside.errors import CheckFailed

if TYPE_CHECKING:
    from deskside.app.needs import Needs
    from deskside.app.verify import Login
    from deskside.app.workspace import Workspace
    from deskside.model.finding import Finding
    from deskside.site.schema import Person
    from deskside.site.secrets import Secret


@click.command()
@as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what is running, what drifted, and what expires.

    \b
    Examples:
      deskside status
      deskside status --json | jq .certificates
    """
    from deskside.app.status import site_status
    from deskside.ui.status_text import status_text

    workspace = open_workspace(ctx)
    found = run(site_status(workspace, make_store(workspace), say))
    click.echo(json.dumps(found.to_json()) if as_json else status_text(found), nl=as_json)


@click.command()
@as_json
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Run the acceptance test as a real user: log in, start a desk, run a cell, come back.

    It logs in as verify.user of the site file, and tries verify.outsider in vain; passwords that the file
    names no place for are asked for on a terminal. Everything it changed is put back.

    \b
    Example:
      deskside verify
    """
    from deskside.app.acceptance import accept
    from deskside.ui.findings import finding_line

    workspace = open_workspace(ctx)
    user, outsider = _logins(workspace)

    def told(finding: Finding) -> None:
        click.echo(json.dumps(asdict(finding)) if as_json else finding_line(finding))

    findings = run(accept(workspace, make_store(workspace), say, told=told, user=user, outsider=outsider))
    refusing = [finding for finding in findings if finding.refuses]
    if refusing:
        raise CheckFailed(
            f"{len(refusing)} of {len(findings)} checks did not pass, the first: {refusing[0].check}: "
            f"{refusing[0].message}",
            hint=refusing[0].hint,
        )
    if not as_json:
        click.echo(f"all {len(findings)} checks passed")


def _logins(workspace: Workspace) -> tuple[Login | None, Login | None]:
    """The user and the outsider. Raises one error with everything that is missing, before it asks."""
    from deskside.app.needs import Needs

    people = workspace.site.verify
    needs = Needs(workspace.path)
    workspace.given_by(needs)
    needs.take("network.dns.tsig.secret", workspace.dns_key, None)
    user = _secret(workspace, needs, people.user, "verify.user.password")
    outsider = _secret(workspace, needs, people.outsider, "verify.outsider.password")
    needs.settle()
    return _login(people.user, user, "the user"), _login(people.outsider, outsider, "the outsider")


def _secret(workspace: Workspace, needs: Needs, person: Person | None, field: str) -> Secret | None:
    source = person.password if person is not None else None
    return needs.take(field, lambda: source.resolve(workspace.folder), None) if source else None


def _login(person: Person | None, password: Secret | None, who: str) -> Login | None:
    from deskside.app.verify import Login
    from deskside.site.secrets import Secret

    if person is not None and password is not None:
        return Login(person.name, password)
    if not on_terminal():
        return Login(person.name, None) if person is not None else None
    name = person.name if person is not None else click.prompt(f"Name of {who} (empty: skip)", default="")
    if not name:
        return None
    return Login(name, Secret(click.prompt(f"Password of {name}", hide_input=True, err=True)))


@click.command()
@click.option(
    "--merge", is_flag=True, help="Add it to ~/.kube/config (or $KUBECONFIG) under a name of its own."
)
@click.pass_context
def kubeconfig(ctx: click.Context, merge: bool) -> None:
    """Print the administrator's access to the cluster, or add it to the user's own.

    It names the API's address and the name in its certificate, so that no DNS of the site is needed. An entry
    that is not Deskside's is never changed.

    \b
    Examples:
      deskside kubeconfig > lab.kubeconfig
      deskside kubeconfig --merge && kubectl --context deskside-lab.example get nodes
    """
    from deskside.app.kubeconfig import fetch, merge_into, user_file

    workspace = open_workspace(ctx)
    found = run(fetch(workspace, make_store(workspace), say))
    if not merge:
        click.echo(found.reveal(), nl=False)
        return
    name = merge_into(user_file(), found)
    click.echo(f"added to {user_file()}; try: kubectl --context {name} get nodes")


COMMANDS: tuple[click.Command, ...] = (status, verify, kubeconfig)
