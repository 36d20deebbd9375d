"""`deskside lab ...`: the rack's commands. They parse, print and call `rack.py`; nothing is decided here.

Imports at the top are light: every `deskside` command loads this file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, TypeVar

import click

from deskside.lab import DEFAULT_RACK

if TYPE_CHECKING:
    from deskside.lab.rack import Rack, RackStatus
    from deskside.lab.spec import Report

KINDS = ("cable", "power", "disk", "service", "file")
T = TypeVar("T")
rack_option = click.option(
    "--rack", "name", default=DEFAULT_RACK, show_default=True, help="Name of the rack."
)


@click.group()
def lab() -> None:
    """A virtual rack on this machine: the same code against hosts made of systemd-nspawn.

    \b
    Examples:
      deskside lab up
      deskside -f $(deskside lab site) apply
      deskside lab down
    """


def _run(work: Coroutine[object, object, T]) -> T:
    import asyncio

    return asyncio.run(work)


def reporter() -> Report:
    """Progress lines with the time since the command began."""
    start = time.monotonic()

    def report(who: str, line: str) -> None:
        click.echo(f"{time.monotonic() - start:6.1f} s  {who:<10} {line}", err=True)

    return report


async def _bring_up(name: str, servers: int, workers: int, disk: int, source: str) -> Rack:
    from deskside.lab import rack
    from deskside.lab.bringup import bring_up
    from deskside.lab.spec import RackSpec, workstations

    report = reporter()
    spec = RackSpec(name, workstations(servers, workers, disk=disk))
    finished = await rack.is_up(name, spec)
    if finished and (finished.folder / "deskside.lock").exists():
        report(name, f"is up: {len(finished.hosts)} hosts in {finished.layout.subnet}")
        return finished
    return (await bring_up(spec, source, report)).rack


@lab.command()
@rack_option
@click.option(
    "--servers", type=click.IntRange(1, 5), default=1, show_default=True, help="Hosts that are servers."
)
@click.option(
    "--workers", type=click.IntRange(0, 40), default=2, show_default=True, help="Hosts that only work."
)
@click.option(
    "--disk", type=click.IntRange(4, 500), default=12, show_default=True, help="GiB of each host's disk."
)
@click.option(
    "--source",
    type=click.Choice(["recipe", "upstream"]),
    default="recipe",
    show_default=True,
    help="Where the artifacts come from.",
)
def up(name: str, servers: int, workers: int, disk: int, source: str) -> None:
    """Boot a rack of bare hosts and a NAS, and write its site file.

    \b
    Examples:
      deskside lab up
      deskside lab up --rack big --servers 3 --workers 1
    """
    from deskside.lab.privilege import become_root

    become_root()
    rack = _run(_bring_up(name, servers, workers, disk, source))
    click.echo(rack.site_file)


@lab.command()
@rack_option
def down(name: str) -> None:
    """Take a rack away; nothing of it is left but the cache of artifacts.

    \b
    Example:
      deskside lab down --rack big
    """
    from deskside.lab import rack
    from deskside.lab.privilege import become_root

    become_root()
    if not _run(rack.down(name, reporter())):
        click.echo(f"there is no rack {name}")


@lab.command()
@rack_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(name: str, as_json: bool) -> None:
    """Show a rack: hosts, power, network, breaks.

    \b
    Examples:
      deskside lab status
      deskside lab status --json | jq .hosts
    """
    from dataclasses import asdict

    from deskside.lab import rack

    found = _run(rack.status(name))
    click.echo(json.dumps(asdict(found), indent=1) if as_json else status_text(found))


def status_text(found: RackStatus) -> str:
    """A rack on one screen."""
    state = "" if found.complete else ", not finished: run deskside lab up again"
    lines = [f"rack {found.name}  {found.subnet}  {found.disk_bytes / 2**30:.1f} GB in {found.folder}{state}"]
    for host in found.hosts:
        said = (
            "up"
            if host.powered and host.answers
            else "on, no answer over the network"
            if host.powered
            else "off"
        )
        lines.append(f"  {host.name:<8} {host.address:<15} {'+'.join(host.roles):<14} {said}")
    lines += [f"  broken on purpose: {one.kind} {one.host} {one.what}".rstrip() for one in found.breaks]
    return "\n".join(lines)


@lab.command()
@rack_option
def site(name: str) -> None:
    """Print the path of a rack's site file.

    \b
    Example:
      deskside -f $(deskside lab site) plan
    """
    from deskside.lab import rack

    click.echo(rack.find(name).site_file)


@lab.command()
@rack_option
@click.option("--remove", is_flag=True, help="Take it away instead.")
def provider(name: str, remove: bool) -> None:
    """Run an OpenID Connect provider on the rack's NAS; print the section `identity` for it.

    People and passwords are those of the NAS's directory.

    \b
    Examples:
      deskside lab provider
      deskside lab provider --remove
    """
    from deskside.lab import provider as providers

    if remove:
        _as_root(name, providers.remove)
        return

    async def started(rack: Rack) -> str:
        await providers.start(rack, reporter())
        return providers.identity_text(rack.layout)

    click.echo(_as_root(name, started), nl=False)


@lab.command("break")
@rack_option
@click.option("--undo", is_flag=True, help="Mend it instead.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("host")
@click.argument("what", default="")
def break_(name: str, undo: bool, kind: str, host: str, what: str) -> None:
    """Break something on a host: its cable, its power, its disk, a service (WHAT), a file (WHAT).

    \b
    Examples:
      deskside lab break cable ws2
      deskside lab break service ws1 kubelet.service
      deskside lab break --undo cable ws2
    """
    if undo:
        _mend(name, kind, host, what)
        return
    _as_root(name, lambda rack: rack.make_break(kind, host, what))
    click.echo(f"broken: {kind} of {host} {what}".rstrip())


@lab.command()
@rack_option
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.argument("host", default="")
@click.argument("what", default="")
def mend(name: str, kind: str | None, host: str, what: str) -> None:
    """Mend what `lab break` broke; all of it without arguments.

    \b
    Examples:
      deskside lab mend
      deskside lab mend cable ws2
    """
    _mend(name, kind or "", host, what)


def _mend(name: str, kind: str, host: str, what: str) -> None:
    for one in _as_root(name, lambda rack: rack.mend(kind, host, what)) or ():
        click.echo(f"mended: {one.kind} of {one.host} {one.what}".rstrip())


def _as_root(name: str, work: Callable[[Rack], Coroutine[object, object, T]]) -> T:
    from deskside.lab import rack
    from deskside.lab.privilege import become_root

    become_root()
    return _run(work(rack.find(name)))


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@rack_option
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, host: str, command: tuple[str, ...]) -> None:
    """Log in to a host, or run a command there, as the rack's user `ops`.

    \b
    Examples:
      deskside lab ssh ws1
      deskside lab ssh ws1 sudo journalctl -b
    """
    from deskside.lab import rack

    # As with ssh, `--` before the command is allowed; click leaves it in.
    words = command[1:] if command[:1] == ("--",) else command
    argv = rack.find(name).host(host).ssh_argv(words)
    os.execvp(argv[0], argv)  # noqa: S606


@lab.command()
@rack_option
@click.argument("host")
@click.option("-n", "--lines", type=click.IntRange(1), default=100, show_default=True, help="How many lines.")
def logs(name: str, host: str, lines: int) -> None:
    """Show what a host's supervisor, console and journal say.

    \b
    Example:
      deskside lab logs ws1 -n 50
    """
    from deskside.lab import rack
    from deskside.lab.privilege import become_root

    become_root()
    one = rack.find(name).host(host)
    place = one.layout.place(one.spec)
    for file in ("supervisor.log", "console.log"):
        path = place / file
        text = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
        click.echo("\n".join([f"== {file}", *text]))
    if one.powered:
        ran = _run(one.run(["journalctl", "--no-pager", f"--lines={lines}"]))
        click.echo(f"== journal\n{ran.out}{ran.err}")
