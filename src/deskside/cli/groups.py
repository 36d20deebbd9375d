"""The command `group`: groups of the directory, and who is in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from deskside.cli.options import as_json
from deskside.cli.people import ask, change, just_read, read, show_removed, to_change, yes
from deskside.errors import UsageError

if TYPE_CHECKING:
    from deskside.app.people import People, Removed
    from deskside.identity.people import Roster


@click.group()
def group() -> None:
    """Groups of the directory, and who is in them.

    \b
    Examples:
      deskside group list
      deskside group join ai dan eve
      deskside group leave ai dan
    """


@group.command("list")
@as_json
@click.pass_context
def group_list(ctx: click.Context, as_json: bool) -> None:
    """Show every group with its members.

    \b
    Example:
      deskside group list
    """
    from deskside.ui.people_text import groups_text

    found = read(ctx, just_read).groups
    if as_json:
        click.echo(json.dumps({"groups": [one.to_json() for one in found]}))
    else:
        click.echo(groups_text(found), nl=False)


@group.command("add")
@click.argument("name")
@click.argument("users", nargs=-1)
@as_json
@click.pass_context
def group_add(ctx: click.Context, name: str, users: tuple[str, ...], as_json: bool) -> None:
    """Make a group, with members where you name some.

    \b
    Examples:
      deskside group add vision
      deskside group add vision ann dan
    """
    from deskside.app.people_new import group_fault

    if fault := group_fault(name):
        raise UsageError(fault, hint="use letters, digits, '.', '_' and '-', a letter first")
    members = tuple(dict.fromkeys(users))

    async def work(found: People, roster: Roster) -> None:
        await found.add_group(roster, name, members)

    change(to_change(ctx), work)
    made = {"added": [name], "members": members}
    click.echo(json.dumps(made) if as_json else f"the group {name} was made")


@group.command("remove")
@click.argument("name")
@yes
@as_json
@click.pass_context
def group_remove(ctx: click.Context, name: str, yes: bool, as_json: bool) -> None:
    """Remove a group. Its people stay.

    \b
    Example:
      deskside group remove vision
    """
    workspace = to_change(ctx)
    ask(f"Remove the group {name}?", f"deskside group remove {name}", yes)

    async def work(found: People, roster: Roster) -> None:
        from deskside.app.people import found_group
        from deskside.app.people_new import group_removal_fault

        target = found_group(roster, name)
        if fault := group_removal_fault(roster, target):
            raise UsageError(fault, hint="change the site file first")
        await found.remove_group(target)

    change(workspace, work)
    click.echo(json.dumps({"removed": [{"name": name}]}) if as_json else f"the group {name} was removed")


@group.command("join")
@click.argument("name", metavar="GROUP")
@click.argument("users", nargs=-1, required=True)
@as_json
@click.pass_context
def group_join(ctx: click.Context, name: str, users: tuple[str, ...], as_json: bool) -> None:
    """Put people into a group: all of them, or none.

    \b
    Example:
      deskside group join ai dan eve
    """
    members = tuple(dict.fromkeys(users))

    async def work(found: People, roster: Roster) -> tuple[str, ...]:
        from deskside.app.people import found_group

        return await found.join(roster, found_group(roster, name), members)

    fresh = change(to_change(ctx), work)
    if as_json:
        there = [one for one in members if one not in fresh]
        click.echo(json.dumps({"group": name, "joined": fresh, "there": there}))
    else:
        click.echo(f"{', '.join(fresh)} joined {name}" if fresh else f"all were in {name} already")


@group.command("leave")
@click.argument("name", metavar="GROUP")
@click.argument("users", nargs=-1, required=True)
@as_json
@click.pass_context
def group_leave(ctx: click.Context, name: str, users: tuple[str, ...], as_json: bool) -> None:
    """Take people out of a group; out of the hub too, at once, when the group was what let them in.

    \b
    Example:
      deskside group leave ai dan
    """

    async def work(found: People, roster: Roster) -> tuple[Removed, ...]:
        from deskside.app.people import found_group

        return await found.leave(roster, found_group(roster, name), tuple(dict.fromkeys(users)))

    show_removed(list(change(to_change(ctx), work)), as_json)


COMMANDS: tuple[click.Command, ...] = (group,)
