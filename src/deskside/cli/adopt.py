"""The command that takes freshly installed machines over by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deskside.cli.fingerprints import accepted, fingerprint_option, typed_fingerprints
from deskside.cli.options import as_json, on_terminal, open_workspace, run, say
from deskside.errors import DesksideError, Unreachable, UsageError, WrongMachine

if TYPE_CHECKING:
    from deskside.app.enter import Entered, Login, Wanted
    from deskside.app.workspace import Workspace
    from deskside.site.secrets import Secret


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST[=ADDRESS]]...")
@click.option("--discover", is_flag=True, help="Find the current addresses by the site file's MAC addresses.")
@click.option("--user", metavar="NAME", help="The installer's user.  [default: admin.installer.user]")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File (mode 0600) with that user's password; asked for once otherwise, when a host wants one.",
)
@fingerprint_option
@click.option("--yes", is_flag=True, help="Do not ask before the hosts are changed.")
@as_json
@click.pass_context
def adopt(
    ctx: click.Context,
    hosts: tuple[str, ...],
    *,
    discover: bool,
    user: str | None,
    password_file: Path | None,
    fingerprints: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Take over freshly installed hosts: the site's account and keys, then no other way in.

    Shows what is on each host and what becomes of it, and asks. A host that fails, or that loses us half
    way, puts itself back within half a minute to two. HOST alone is at the site file's address.

    \b
    Examples:
      deskside adopt ws1=192.0.2.57 ws2=192.0.2.61
      deskside adopt --discover --user ubuntu
      deskside adopt ws1 --password-file installer.secret --yes
    """
    workspace = open_workspace(ctx)
    known = [spec.name for spec in workspace.site.managed_hosts]
    with _all_at_once() as wrong:
        with wrong():
            installer = _installer(workspace, user)
        with wrong():
            places = _places(hosts, known, discover=discover)
        with wrong():
            typed = typed_fingerprints(fingerprints, known)
    login = _login(installer, password_file)

    async def work() -> DesksideError | None:
        wanted = await _wanted(workspace, places, discover=discover)
        pinned = await _pin_keys(workspace, wanted, typed)
        return await _adopt(workspace, wanted, login, pinned, Asked(yes), as_json=as_json)

    if error := run(work()):
        raise error


@contextmanager
def _all_at_once() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Blocks that each say what is wrong with their argument; raises one UsageError of all at the end."""
    found: list[UsageError] = []

    @contextmanager
    def one() -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            found.append(error)

    yield one
    if found:
        raise UsageError("; ".join(error.message for error in found), hint="; ".join(e.hint for e in found))


def _installer(workspace: Workspace, user: str | None) -> str:
    """Whom the installer made. Raises UsageError."""
    installer = workspace.site.admin.installer
    name = user or (installer.user if installer else "")
    if not name:
        raise UsageError(
            "who did the installer make? neither --user nor admin.installer.user says",
            hint="deskside adopt --user ubuntu ..., or write admin.installer: {user: ubuntu}",
        )
    return name


def _login(user: str, password_file: Path | None) -> Login:
    """How machines are entered. Raises SiteError for a file that others may read."""
    from deskside.app.enter import Login
    from deskside.site.secrets import SecretSource

    return Login(user, SecretSource(file=password_file).resolve(Path()) if password_file else None)


def _places(hosts: Sequence[str], known: Sequence[str], *, discover: bool) -> Mapping[str, str]:
    """Address by host, as typed; empty where none was."""
    from ipaddress import AddressValueError, IPv4Address

    if not hosts and not discover:
        raise UsageError(
            "which hosts? name them with their current addresses, or use --discover",
            hint=f"deskside adopt {known[0] if known else 'ws1'}=ADDRESS",
        )
    found: dict[str, str] = {}
    wrong: list[str] = []
    for item in hosts:
        name, sign, address = item.partition("=")
        if name not in known:
            wrong.append(f"{name} is no managed host of the site file (hosts: {', '.join(known)})")
        elif name in found:
            wrong.append(f"{name} is named twice")
        try:
            found[name] = str(IPv4Address(address)) if sign else ""
        except AddressValueError:
            wrong.append(f"{item}: {address!r} is no IPv4 address")
    twice = sorted(
        {address for address in found.values() if address and list(found.values()).count(address) > 1}
    )
    wrong += [f"{address} is given to two hosts" for address in twice]
    if wrong:
        raise UsageError("; ".join(wrong), hint="write HOST=ADDRESS, as ws1=192.0.2.57")
    return found


async def _wanted(workspace: Workspace, places: Mapping[str, str], *, discover: bool) -> list[Wanted]:
    from deskside.app.discover import discovered
    from deskside.app.enter import Wanted

    site = workspace.site
    found: Mapping[str, str] = {}
    if discover:
        found = await discovered(workspace)
        for name, address in found.items():
            click.echo(f"{name} ({site.host(name).mac}) is at {address}", err=True)
    names = list(places) or list(found)
    missing = [name for name in places if discover and not places[name] and name not in found]
    missing += [spec.name for spec in site.managed_hosts if not places and spec.name not in found]
    if missing:
        text = f"not found by MAC address: {', '.join(missing)}"
        if not names or places:
            hint = (
                "is it on, in the same network, and its hosts[].mac right? else: deskside adopt HOST=ADDRESS"
            )
            raise Unreachable(text, hint=hint)
        click.echo(text, err=True)
    own = {name: str(site.host(name).address) for name in names}
    return [Wanted(site.host(name), places.get(name) or found.get(name) or own[name]) for name in names]


async def _pin_keys(
    workspace: Workspace, wanted: Sequence[Wanted], typed: Mapping[str, str]
) -> Mapping[str, tuple[str, ...]]:
    """Show and pin the hosts' keys; by host what stood there before, for those that are pinned now.

    Raises Unreachable naming all that are not pinned.
    """
    from deskside.app.trust import look_at_places, pin

    pinned: dict[str, tuple[str, ...]] = {}
    failed: list[str] = []
    for seen in await look_at_places(workspace, [(one.spec, one.address) for one in wanted]):
        if seen.pinned:
            continue
        if seen.error is not None:
            click.echo(f"{seen.host}: {seen.error.message}", err=True)
            failed.append(seen.host)
        elif accepted(seen, typed.get(seen.host), "deskside adopt"):
            pinned[seen.host] = pin(workspace, seen)
            click.echo(f"{seen.host}: {seen.fingerprint} is pinned in {workspace.pins}", err=True)
        else:
            failed.append(seen.host)
    if failed:
        raise Unreachable(f"not pinned: {', '.join(failed)}; no host was changed", hint="run adopt again")
    return pinned


def _unpin_strangers(
    workspace: Workspace,
    found: Mapping[str, Entered | DesksideError],
    pinned: Mapping[str, tuple[str, ...]],
) -> None:
    """A key that was just pinned is not the host's where the machine turned out to be another."""
    from deskside.app.trust import unpin

    for name, error in found.items():
        if isinstance(error, WrongMachine) and name in pinned:
            unpin(workspace, name, pinned[name])
            say(name, "its key is not pinned any more: it is another machine's")


async def _adopt(
    workspace: Workspace,
    wanted: Sequence[Wanted],
    login: Login,
    pinned: Mapping[str, tuple[str, ...]],
    person: Asked,
    *,
    as_json: bool,
) -> DesksideError | None:
    from deskside.app.adopt import take_all_over, take_over
    from deskside.app.enter import Entered, close_all, enter_all, public_keys

    keys = public_keys(workspace)
    login, found = await enter_all(workspace, wanted, login, person, say)
    try:
        _unpin_strangers(workspace, found, pinned)
        inside = [one for one in found.values() if isinstance(one, Entered)]
        fresh = [one for one in inside if not one.adopted]
        broken = [one for one in found.values() if isinstance(one, DesksideError)]
        asking = bool(fresh and not broken and not person.yes)
        if asking or not as_json:
            # What a program reads on standard output is the document alone.
            _show(inside, aside=as_json)
        if asking:
            person.confirm([one.name for one in fresh])
        done: Mapping[str, tuple[str, ...] | DesksideError] = {}
        if not broken:
            done = await take_all_over(
                fresh, workspace.site, lambda one: take_over(workspace, one, keys, login, say)
            )
    finally:
        await close_all(list(found.values()))
    _tell(wanted, found, done, as_json=as_json)
    failures = [*broken, *(one for one in done.values() if isinstance(one, DesksideError))]
    return failures[0] if failures else None


@dataclass
class Asked:
    """A person at the terminal, or `--yes`."""

    yes: bool
    python_on: list[str] = field(default_factory=list)
    """Where python3 was allowed to be installed."""

    def password(self, user: str) -> Secret | None:
        """Asked for without showing it; None without a terminal."""
        from deskside.site.secrets import Secret

        if not on_terminal():
            return None
        return Secret(click.prompt(f"Password of {user} on the hosts", hide_input=True, err=True))

    def python(self, hosts: Sequence[str]) -> bool:
        """Whether python3 may be installed."""
        names = ", ".join(hosts)
        allowed = self.yes or (
            on_terminal()
            and click.confirm(f"Install python3 on {names}? Without it nothing can be seen there", err=True)
        )
        if allowed:
            self.python_on += hosts
            say(names, "installing python3")
        return allowed

    def confirm(self, hosts: Sequence[str]) -> None:
        """Raises UsageError where nobody can be asked, DesksideError after a no."""
        changed = f"nothing but python3 on {', '.join(self.python_on)}" if self.python_on else "nothing"
        if not on_terminal():
            raise UsageError(
                f"there is no terminal to ask on, and {changed} was changed",
                hint="read what was found, then run the same command with --yes",
            )
        if not click.confirm(f"Take over {', '.join(hosts)}?", default=False, err=True):
            raise DesksideError(f"declined; {changed} was changed")


def _show(inside: Sequence[Entered], *, aside: bool) -> None:
    from deskside.ui.takeover import things_text

    for one in inside:
        if not one.adopted:
            click.echo(things_text(one.name, one.wanted.address, one.things), nl=False, err=aside)


def _tell(
    wanted: Sequence[Wanted],
    found: Mapping[str, Entered | DesksideError],
    done: Mapping[str, tuple[str, ...] | DesksideError],
    *,
    as_json: bool,
) -> None:
    documents = [_document(one, found[one.spec.name], done.get(one.spec.name)) for one in wanted]
    if as_json:
        click.echo(json.dumps({"hosts": documents}))
        return
    words = {
        "adopted": "is taken over: it lets in keys only",
        "already": "is taken over already; nothing was changed",
        "untouched": "is as it was, because of the others",
    }
    for document in documents:
        outcome = str(document["outcome"])
        said = words.get(outcome) or f"{document['error']}; {document['hint']}".removesuffix("; ")
        click.echo(f"{document['host']}: {said}", err=outcome == "failed")
        for line in document["next"] if isinstance(document["next"], list) else ():
            click.echo(f"next: {line}")


def _document(
    one: Wanted, entered: Entered | DesksideError, result: tuple[str, ...] | DesksideError | None
) -> dict[str, object]:
    error = next((item for item in (entered, result) if isinstance(item, DesksideError)), None)
    things = [] if isinstance(entered, DesksideError) else [asdict(thing) for thing in entered.things]
    if error is not None:
        outcome = "failed"
    elif result is not None:
        outcome = "adopted"
    else:
        already = not isinstance(entered, DesksideError) and entered.adopted
        outcome = "already" if already else "untouched"
    return {
        "host": one.spec.name,
        "address": one.address,
        "outcome": outcome,
        "things": things,
        "next": list(result) if isinstance(result, tuple) else [],
        "error": error.message if error else "",
        "hint": error.hint if error else "",
    }


COMMANDS: tuple[click.Command, ...] = (adopt,)
