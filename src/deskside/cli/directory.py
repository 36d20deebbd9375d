"""The commands `directory ...`: the directory that Deskside runs, its backups, and one of them put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from deskside.cli.options import as_json, open_workspace, run
from deskside.cli.people import ask, yes
from deskside.errors import CheckFailed, StepFailed
from deskside.ui.words import table

if TYPE_CHECKING:
    from deskside.app.directory import ServerStatus


@click.group()
def directory() -> None:
    """The directory that Deskside runs (identity.kind: openldap): how it is, and its backups.

    \b
    Examples:
      deskside directory status
      deskside directory backups
      deskside directory restore 20261124T021500Z.ldif.gz
    """


@directory.command()
@as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show the directory on each of its hosts. Exits 5 when one does not answer or is behind.

    \b
    Example:
      deskside directory status --json | jq '.[].in_step'
    """
    from deskside.app.directory import directory_status

    found = run(directory_status(open_workspace(ctx)))
    if as_json:
        click.echo(json.dumps([vars(one) for one in found]))
    else:
        head = ("HOST", "ROLE", "ANSWERS", "PEOPLE", "GROUPS", "LAST BACKUP")
        click.echo("\n".join(table(head, [_row(one) for one in found])))
    for one in found:
        if not one.answers:
            raise CheckFailed(f"the directory on {one.host} does not answer: {one.said}", hint=one.hint)
        if not one.in_step:
            hint = "look again in a minute; one that stays so follows anew by: deskside directory follow"
            raise CheckFailed(f"the copy on {one.host} has not what the first has", hint=hint)


def _row(one: ServerStatus) -> tuple[str, ...]:
    answers = "no" if not one.answers else "yes" if one.in_step else "behind"
    return (one.host, one.role, answers, str(one.people), str(one.groups), one.backup or "none")


@directory.command()
@as_json
@click.pass_context
def backups(ctx: click.Context, as_json: bool) -> None:
    """List the backups on all hosts of the directory, the newest first.

    One is made every night on each of them; fourteen are kept. A name is the moment of the backup, in UTC.

    \b
    Example:
      deskside directory backups
    """
    from deskside.app.directory import all_backups

    found = run(all_backups(open_workspace(ctx)))
    if as_json:
        click.echo(json.dumps([vars(one) for one in found]))
        return
    rows = [
        (one.name, one.host, f"{one.bytes} bytes", str(one.people) if one.people >= 0 else "damaged")
        for one in found
    ]
    click.echo("\n".join(table(("NAME", "HOST", "SIZE", "PEOPLE"), rows)))


@directory.command()
@as_json
@click.pass_context
def backup(ctx: click.Context, as_json: bool) -> None:
    """Make a backup now, besides those of every night.

    \b
    Example:
      deskside directory backup
    """
    from deskside.app.directory import make_backup

    name = run(make_backup(open_workspace(ctx)))
    click.echo(json.dumps({"name": name}) if as_json else name)


@directory.command()
@click.argument("name")
@yes
@as_json
@click.pass_context
def restore(ctx: click.Context, name: str, yes: bool, as_json: bool) -> None:
    """Put a backup back in place of everything that is in the directory now.

    What is there is backed up first, where it can still be read. People, groups and passwords are then those
    of the backup. When the directory does not answer with it, the old data come back. Safe to repeat.

    \b
    Examples:
      deskside directory restore 20261124T021500Z.ldif.gz
      deskside directory restore 20261124T021500Z.ldif.gz --yes
    """
    from deskside.app.directory import restore as put_back
    from deskside.app.directory import servers_of

    workspace = open_workspace(ctx)
    servers_of(workspace)
    question = f"Replace all people and groups of {workspace.site.name} by those of {name}?"
    ask(question, f"deskside directory restore {name}", yes)
    done = run(put_back(workspace, name))
    if as_json:
        click.echo(json.dumps(vars(done)))
    else:
        click.echo(f"the directory has the data of {done.name}: {done.people} people")
        click.echo(f"what it had before: {done.before or 'could not be read any more'}")
    if done.late:
        raise StepFailed(
            f"the copy still has the old data: {done.late}",
            hint="once its host is back, run: deskside directory follow",
        )


@directory.command()
@yes
@as_json
@click.pass_context
def follow(ctx: click.Context, yes: bool, as_json: bool) -> None:
    """Let the copy forget everything it has, and follow the first host anew.

    For a copy that was off while a backup was put back, or that stays behind. People log in meanwhile by the
    first host; nothing is forgotten unless that answers.

    \b
    Example:
      deskside directory follow
    """
    from deskside.app.directory import follow as begin_anew
    from deskside.app.directory import servers_of

    workspace = open_workspace(ctx)
    servers_of(workspace)
    ask("Let the copy forget what it has, and follow the first host anew?", "deskside directory follow", yes)
    host = run(begin_anew(workspace))
    click.echo(json.dumps({"copy": host}) if as_json else f"the copy on {host} has what the first host has")


COMMANDS: tuple[click.Command, ...] = (directory,)
