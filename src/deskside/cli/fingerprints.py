"""Asking a person about a host's SSH key, for `trust` and `adopt`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from deskside.cli.options import on_terminal
from deskside.errors import UsageError

if TYPE_CHECKING:
    from deskside.app.trust import Seen

fingerprint_option = click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    metavar="HOST=SHA256:...",
    help="Accept this key without asking, if the host has it. Repeatable.",
)


def typed_fingerprints(items: Iterable[str], known: Iterable[str]) -> Mapping[str, str]:
    """Fingerprints by host. Raises UsageError for what is none, or names no host of `known`."""
    typed = dict(_typed(item) for item in items)
    if unknown := sorted(set(typed) - set(known)):
        raise UsageError(
            f"no managed host is called {', '.join(unknown)}", hint=f"hosts: {', '.join(sorted(known))}"
        )
    return typed


def _typed(item: str) -> tuple[str, str]:
    host, separator, fingerprint = item.partition("=")
    if not separator or not fingerprint.startswith("SHA256:"):
        raise UsageError(f"--fingerprint {item}: write HOST=SHA256:...")
    return host, fingerprint


def accepted(seen: Seen, typed: str | None, command: str) -> bool:
    """Whether a person accepts the key, now or by having typed it. Raises UsageError without a terminal."""
    if typed is not None:
        if typed == seen.fingerprint:
            return True
        click.echo(f"{seen.host}: has {seen.fingerprint}, not {typed}; nothing pinned", err=True)
        return False
    warning = f" THE PINNED KEY WAS ANOTHER ONE: {seen.was}." if seen.was else ""
    if not on_terminal():
        raise UsageError(
            f"{seen.host} has the key {seen.fingerprint}, and there is no terminal to ask on.{warning}",
            hint=f"compare it, then run: {command} --fingerprint {seen.host}={seen.fingerprint}",
        )
    click.echo(f"{seen.host} ({seen.address}) has the key {seen.fingerprint}.{warning}", err=True)
    return click.confirm("Is it the host's own?", default=False, err=True)
