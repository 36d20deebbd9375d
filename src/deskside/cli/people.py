"""The command `user`: the people of the directory."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from deskside.cli.options import as_json, make_store, on_terminal, open_workspace, run, say
from deskside.errors import DesksideError, FileError, StepFailed, UsageError

if TYPE_CHECKING:
    from deskside.app.people import People, Removed
    from deskside.app.people_file import ReadPeople
    from deskside.app.people_import import Import
    from deskside.app.workspace import Workspace
    from deskside.identity.people import NewPerson, Roster
    from deskside.site.secrets import Secret

T = TypeVar("T")
PRIVATE = click.Path(dir_okay=False, path_type=Path)
password_file = click.option(
    "--password-file", type=PRIVATE, help="File (mode 0600) with the password; asked for twice otherwise."
)
yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def user() -> None:
    """People of the directory: list, add, change and remove them.

    Reading needs identity.bind or identity.manager in the site file, changing needs identity.manager; a
    directory that Deskside runs needs neither.

    \b
    Examples:
      deskside user list
      deskside user add dan --name "Dan Example" --mail dan@lab.example
      deskside user import people.csv --dry-run
      deskside user remove dan
    """


def read(ctx: click.Context, work: Callable[[People, Roster], Awaitable[T]]) -> T:
    """Do something with the people of the site as they are."""
    return _with_people(open_workspace(ctx), work)


def to_change(ctx: click.Context) -> Workspace:
    """The site of a command that changes its directory. Refused at once where nothing may be changed."""
    from deskside.app.people import may_change

    workspace = open_workspace(ctx)
    may_change(workspace)
    return workspace


def change(workspace: Workspace, work: Callable[[People, Roster], Awaitable[T]]) -> T:
    """Change something, holding the site like a run does."""
    from deskside.app.runs import only_run

    with only_run(workspace):
        return _with_people(workspace, work)


def _with_people(workspace: Workspace, work: Callable[[People, Roster], Awaitable[T]]) -> T:
    from deskside.app.people import people_of

    async def done() -> T:
        async with people_of(workspace, make_store(workspace), say) as found:
            return await work(found, await found.roster())

    return run(done())


async def just_read(found: People, roster: Roster) -> Roster:
    """Nothing but the reading."""
    del found
    return roster


@user.command("list")
@as_json
@click.pass_context
def user_list(ctx: click.Context, as_json: bool) -> None:
    """Show everybody with groups.

    \b
    Examples:
      deskside user list
      deskside user list --json | jq -r '.people[].name'
    """
    from deskside.ui.people_text import people_text

    roster = read(ctx, just_read)
    if as_json:
        click.echo(json.dumps({"people": [one.to_json() for one in roster.people]}))
    else:
        click.echo(people_text(roster), nl=False)


@user.command("show")
@click.argument("name")
@as_json
@click.pass_context
def user_show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one person.

    \b
    Example:
      deskside user show ann
    """
    from deskside.app.people import found_person
    from deskside.ui.people_text import person_text

    person = found_person(read(ctx, just_read), name)
    click.echo(json.dumps(person.to_json()) if as_json else person_text(person), nl=as_json)


@user.command("add")
@click.argument("name")
@click.option("--name", "full_name", default="", help="Full name.")
@click.option("--mail", default="", help="Mail address.")
@click.option("--group", "groups", multiple=True, help="Repeatable; by default the group of identity.allow.")
@click.option("--key", type=PRIVATE, help="File with the public SSH key, for login to the hosts.")
@password_file
@as_json
@click.pass_context
def user_add(  # noqa: PLR0917
    ctx: click.Context,
    name: str,
    full_name: str,
    mail: str,
    groups: tuple[str, ...],
    key: Path | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Add somebody, with a password and groups.

    \b
    Examples:
      deskside user add dan --name "Dan Example" --mail dan@lab.example
      deskside user add eve --group ai --group users --key eve.pub --password-file eve.secret
    """
    from deskside.app.people_new import new_person

    workspace, chosen = to_change(ctx), tuple(dict.fromkeys(groups))
    person = new_person(workspace.site, name, full_name=full_name, mail=mail, groups=chosen, key=key)
    password = _password_asked(name, password_file)

    async def work(found: People, roster: Roster) -> NewPerson:
        from deskside.app.people_new import fit

        fitting = fit(person, roster, password)
        await found.add(roster, [fitting])
        return fitting

    added = change(workspace, work)
    said = f"{name} was added" + (f", in {', '.join(added.groups)}" if added.groups else "")
    click.echo(json.dumps({"added": [name], "groups": added.groups}) if as_json else said)


def _password_asked(name: str, file: Path | None) -> Secret:
    """From the file, or typed twice. Raises UsageError without a terminal, SiteError for a bad file."""
    from deskside.site.secrets import Secret, SecretSource

    if file is not None:
        return SecretSource(file=file).resolve(Path())
    if not on_terminal():
        raise UsageError(
            f"there is no terminal to ask for the password of {name} on",
            hint="write it to a file of mode 0600 and name that: --password-file FILE",
        )
    text = click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    return Secret(text)


@user.command("passwd")
@click.argument("name")
@password_file
@as_json
@click.pass_context
def user_passwd(ctx: click.Context, name: str, password_file: Path | None, as_json: bool) -> None:
    """Set somebody's password. The directory's own policy decides whether it is good enough.

    \b
    Examples:
      deskside user passwd dan
      deskside user passwd dan --password-file dan.secret
    """
    workspace, password = to_change(ctx), _password_asked(name, password_file)

    async def work(found: People, roster: Roster) -> None:
        await found.set_password(roster, name, password)

    change(workspace, work)
    click.echo(json.dumps({"changed": [name]}) if as_json else f"{name} has a new password")


@user.command("remove")
@click.argument("name")
@yes
@as_json
@click.pass_context
def user_remove(ctx: click.Context, name: str, yes: bool, as_json: bool) -> None:
    """Remove somebody: from the directory, and at once from the hub (desks, tokens, cookies).

    The home is never removed; where it is is said.

    \b
    Examples:
      deskside user remove dan
      deskside user remove dan --yes
    """
    from deskside.app.people_new import removal_fault

    workspace = to_change(ctx)
    if fault := removal_fault(workspace.site, name):
        raise UsageError(fault, hint="change the site file first")
    ask(f"Remove {name} from the directory, and stop desks of {name}?", f"deskside user remove {name}", yes)

    async def work(found: People, roster: Roster) -> Removed:
        return await found.remove(roster, name)

    show_removed([change(workspace, work)], as_json)


def ask(question: str, command: str, yes: bool) -> None:
    """Ask for a yes. Raises UsageError without a terminal, DesksideError for a no."""
    if yes:
        return
    if not on_terminal():
        raise UsageError("there is no terminal to ask on", hint=f"run: {command} --yes")
    if not click.confirm(question, default=False, err=True):
        raise DesksideError("declined; nothing was changed")


def show_removed(found: list[Removed], as_json: bool) -> None:
    """Say what was done, and what is left. Raises StepFailed where the hub has not been told."""
    from deskside.ui.people_text import removed_text

    if as_json:
        click.echo(json.dumps({"removed": [one.to_json() for one in found]}))
    else:
        click.echo("".join(removed_text(one) for one in found), nl=False)
    if late := [one for one in found if not one.at_once]:
        raise StepFailed(
            f"{', '.join(one.name for one in late)}: not yet out of the hub: {late[0].hub}",
            hint="run the same command again once the hub answers",
        )


@user.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Look at file and directory; change nothing.")
@as_json
@click.pass_context
def user_import(ctx: click.Context, file: Path, dry_run: bool, as_json: bool) -> None:
    """Add everybody in a CSV file, or nobody: every line that is broken is named.

    The header is name,full_name,mail,groups,password; all but name may be left out. Groups are separated by
    spaces. Who has no password gets a random one, written to FILE.passwords.csv (mode 0600). Where Deskside
    may not change the directory, the file that the directory's own import takes is written instead.

    \b
    Examples:
      deskside user import people.csv --dry-run
      deskside user import people.csv
    """
    from deskside.app import people_import

    workspace = open_workspace(ctx)
    read_file = people_import.read_file(file, workspace)
    try:
        done = _imported(workspace, file, read_file, dry_run)
    except FileError:
        raise
    except DesksideError as error:
        if not read_file.problems:
            raise
        # What is wrong with the file is known, whatever keeps the directory from being asked.
        raise people_import.broken(file, read_file.problems, error) from None
    _show_import(done, file, dry_run, as_json)


def _imported(workspace: Workspace, file: Path, read_file: ReadPeople, dry_run: bool) -> Import:
    from deskside.app import people_import
    from deskside.app.people import may_change
    from deskside.identity.reaching import changing_fault, reading_fault

    if refused := changing_fault(workspace.site):
        roster = _with_people(workspace, just_read) if reading_fault(workspace.site) is None else None
        people_import.refuse_broken(file, read_file, roster)
        if dry_run:
            raise refused
        target, how = people_import.hand_over(workspace, file, read_file, roster)
        raise UsageError(f"{refused.message}; {target} was written for its own import", hint=how)

    async def work(found: People, roster: Roster) -> Import:
        wanted = people_import.make_import(read_file, file, roster)
        if wanted.people and not dry_run:
            await people_import.carry_out(found, roster, wanted)
        return wanted

    if dry_run:
        return _with_people(workspace, work)
    may_change(workspace)
    return change(workspace, work)


def _show_import(done: Import, file: Path, dry_run: bool, as_json: bool) -> None:
    names = [one.name for one in done.people]
    passwords = str(done.passwords) if done.made and not dry_run else ""
    if as_json:
        key = "would_add" if dry_run else "added"
        click.echo(json.dumps({key: names, "there": done.there, "passwords": passwords}))
    elif not names:
        click.echo(f"all {len(done.there)} of {file} are in the directory already; nothing was changed")
    else:
        click.echo(f"{'would add' if dry_run else 'added'} {len(names)}: {', '.join(names)}")
        if passwords:
            click.echo(f"random passwords: {passwords} (mode 0600); hand them out, and delete the file")


COMMANDS: tuple[click.Command, ...] = (user,)
