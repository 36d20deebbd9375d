"""The one screen of `deskside status`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deskside.ui.style import Style, style_of
from deskside.ui.words import clean, count, listed

if TYPE_CHECKING:
    from deskside.app.status import HostStatus, SiteStatus

SOON = 30
"""Days before its end from which a certificate is something to look at."""


def status_text(found: SiteStatus, *, now: datetime | None = None, style: Style | None = None) -> str:
    """How the site is, as text that ends with a newline. `now` is for the days left and for tests."""
    style = style_of() if style is None else style
    moment = (now or datetime.now(UTC)).timestamp()
    lines = [
        f"{style.bold(found.site)}  train {found.train}  {found.address or 'no address for people yet'}",
        "",
    ]
    lines += [*_table([_host(host) for host in found.hosts]), *_silent(found.hosts, style)]
    if found.releases:
        rows = [
            (f"{release.namespace}/{release.name}", release.status, release.chart)
            for release in found.releases
        ]
        lines += ["", style.bold("releases"), *_table(rows)]
    if found.certificates:
        lines += ["", style.bold("certificates"), *_certificates(found, moment, style)]
    lines += ["", *_drift(found, style), _last(found, style)]
    return "\n".join(lines) + "\n"


def _host(host: HostStatus) -> tuple[str, ...]:
    answers = host.node if host.answers else "no answer"
    changes = count(host.changes, "change") + " due" if host.changes else ""
    return (host.name, host.address, ", ".join(host.roles), answers, host.version, host.system, changes)


def _silent(hosts: Sequence[HostStatus], style: Style) -> Iterator[str]:
    for host in hosts:
        if not host.answers:
            yield f"  {style.bad('!')} {host.name}: {clean(host.reason)}"


def _certificates(found: SiteStatus, moment: float, style: Style) -> Iterator[str]:
    soon = [cert for cert in found.certificates if cert.days_left(moment) < SOON]
    for cert in soon:
        days = cert.days_left(moment)
        left = f"{count(days, 'day')} left" if days >= 0 else f"expired {count(-days, 'day')} ago"
        yield f"  {style.bad('!')} {cert.host} {clean(cert.name)}: {left}"
    rest = [cert for cert in found.certificates if cert not in soon]
    if rest:
        first = min(rest, key=lambda cert: cert.not_after)
        yield (
            f"  {count(len(rest), 'other is', 'others are')} good for {first.days_left(moment)} days or more "
            f"(the next: {clean(first.name)} on {first.host})"
        )


def _drift(found: SiteStatus, style: Style) -> Iterator[str]:
    plan = found.plan
    if plan.empty:
        yield style.good("In step with the site file.")
        return
    subjects = [clean(change.subject) for host in plan.hosts for change in plan.changes_of(host)]
    if subjects:
        yield style.warn(f"Out of step: {listed(subjects)}. See: deskside plan")
    if plan.deferred:
        yield f"{count(plan.deferred, 'thing')} known only later."
    for node in plan.failures:
        yield style.bad(
            f"{node.node} could not be looked at: {clean(node.failure.message if node.failure else '')}"
        )


def _last(found: SiteStatus, style: Style) -> str:
    last = found.last
    if last is None:
        return "No run of this site is known on this machine."
    when = f"{datetime.fromtimestamp(last.started, UTC):%Y-%m-%d %H:%M} UTC"
    if last.ended is None:
        return style.warn(f"The last run, {last.command} of {when}, did not end; it may still go on.")
    how = "ended well" if last.ok else f"had {count(len(last.failures), 'failure')}, see {last.log}"
    return f"The last run, {last.command} of {when}, {how}."


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    shown = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        yield ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()
