"""Commands that look at the hosts and change them: check, plan, apply."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deskside.cli.options import (
    as_json,
    make_store,
    on_terminal,
    open_workspace,
    run,
    say,
    stop_on_signal,
    verbose,
)
from deskside.errors import CheckFailed, DesksideError, UsageError

if TYPE_CHECKING:
    from deskside.app.runs import Proposal
    from deskside.app.workspace import Workspace
    from deskside.engine.agreement import Agreement
    from deskside.engine.approval import Approval
    from deskside.engine.outcome import RunResult
    from deskside.engine.planner import Plan
    from deskside.model.resource import Disruption

SOMETHING_TO_DO = 10
PLAN_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("what", type=click.Choice(["network"]), required=False)
@as_json
@click.pass_context
def check(ctx: click.Context, what: str | None, as_json: bool) -> None:
    """Look for what would make apply fail, before it starts. Changes nothing.

    `check network` looks at the wire instead, also while the site is in use: who answers for which address,
    how large packets get through between all hosts, which DHCP servers answer, whether the names resolve.

    \b
    Examples:
      deskside check
      deskside check network
    """
    from deskside.app.runs import proposed
    from deskside.ui.findings import findings_text

    workspace = open_workspace(ctx)
    if what == "network":
        _check_network(workspace, as_json)
        return

    async def look() -> DesksideError | None:
        async with proposed(workspace, make_store(workspace), say) as proposal:
            if as_json:
                click.echo(json.dumps([asdict(finding) for finding in proposal.findings]))
            else:
                click.echo(findings_text(proposal.findings), nl=False)
            return proposal.silent_error or proposal.refusal

    if error := run(look()):
        raise error


def _check_network(workspace: Workspace, as_json: bool) -> None:
    from deskside.app.checks import look_at_network
    from deskside.app.prepare import prepared
    from deskside.ui.findings import findings_text

    async def look() -> DesksideError | None:
        async with prepared(workspace, make_store(workspace), say) as found:
            findings = await look_at_network(workspace, found)
            if as_json:
                click.echo(json.dumps([asdict(finding) for finding in findings]))
            else:
                click.echo(findings_text(findings), nl=False)
            refusing = [finding for finding in findings if finding.refuses]
            if not refusing:
                return None
            return CheckFailed(f"{refusing[0].subject}: {refusing[0].message}", hint=refusing[0].hint)

    if error := run(look()):
        raise error


@click.command()
@as_json
@verbose
@click.option("--exit-code", is_flag=True, help=f"Exit {SOMETHING_TO_DO} when there is something to do.")
@click.option("--graph", type=click.Choice(["text", "dot"]), help="Show the steps instead, asking no host.")
@click.option("--out", type=PLAN_FILE, help="Keep the plan in this file, for `deskside apply FILE`.")
@click.pass_context
def plan(
    ctx: click.Context, *, as_json: bool, verbose: bool, exit_code: bool, graph: str | None, out: Path | None
) -> None:
    """Show what would change, per host, and what it would disturb. Writes nothing to any host.

    \b
    Examples:
      deskside plan
      deskside plan --out lab.plan
      deskside plan --exit-code && echo in step
      deskside plan --graph dot | dot -Tsvg > steps.svg
    """
    if graph is not None and out is not None:
        raise UsageError("--graph asks no host, so there is no plan to keep with --out")
    workspace = open_workspace(ctx)
    if graph is not None:
        from deskside.app.outline import outline

        found = outline(workspace)
        click.echo(found.dot() if graph == "dot" else found.text(), nl=False)
        return
    from deskside.app.runs import proposed

    if out is not None:
        from deskside.engine.saved import look_for_room

        look_for_room(out)  # before hosts are asked in vain

    async def look() -> tuple[Plan, DesksideError | None]:
        async with proposed(workspace, make_store(workspace), say, write_lock=True) as proposal:
            error = proposal.silent_error or _plan_error(proposal.plan)
            if out is not None:
                from deskside.app.plan_file import unfit

                error = unfit(proposal)
            next_command = "" if out and error else f"deskside apply{_named(out)}"
            _show(proposal, as_json=as_json, verbose=verbose, next_command=next_command)
            if out is not None:
                _keep(proposal, out, fit=error is None)
            return proposal.plan, error

    shown, error = run(look())
    if error:
        raise error
    if exit_code and not shown.empty:
        ctx.exit(SOMETHING_TO_DO)


def _keep(proposal: Proposal, out: Path, *, fit: bool) -> None:
    from deskside.app.plan_file import save

    if not fit:
        click.echo(f"The plan was not written to {out}: it cannot be carried out as it is.", err=True)
        return
    save(proposal, out)
    click.echo(f"The plan is in {out}.", err=True)


@click.command()
@click.argument("plan_file", metavar="[PLAN]", type=PLAN_FILE, required=False)
@as_json
@verbose
@click.option("--yes", is_flag=True, help="Do not ask; approves what costs nothing, and restarts.")
@click.option("--allow", metavar="COSTS", default="", help="Also approve drain, reboot (comma-separated).")
@click.pass_context
def apply(
    ctx: click.Context, *, plan_file: Path | None, as_json: bool, verbose: bool, yes: bool, allow: str
) -> None:
    """Make it so. Shows the plan and asks once; safe to stop, to kill and to repeat.

    With a PLAN that `deskside plan --out` wrote, only what stands in it is done. A step on a host where
    something moved since, so that it would do something else or cost more, fails; the rest goes on.

    \b
    Examples:
      deskside apply
      deskside apply --yes --allow reboot
      deskside apply lab.plan
    """
    from deskside.app.plan_file import agreement, kept
    from deskside.app.runs import new_owner, proposed, record_nothing

    workspace = open_workspace(ctx)
    allowed = _allowed(allow, plan_file)
    saved = kept(workspace, plan_file) if plan_file else None

    async def work() -> DesksideError | None:
        store = make_store(workspace)
        async with proposed(workspace, store, say, owner=new_owner("apply"), write_lock=True) as proposal:
            agreed = agreement(proposal, saved, plan_file) if saved and plan_file else None
            _show(proposal, as_json=as_json, verbose=verbose, next_command="", agreed=agreed)
            if (refusal := proposal.refusal) is not None:
                return refusal
            if proposal.plan.empty:
                if proposal.silent_error is None:
                    record_nothing(workspace, "apply")
                return proposal.silent_error
            approval = allowed if yes else _ask((saved or proposal.plan).disruption, plan_file)
            result = await _carried_out(proposal, approval, agreed, as_json=as_json, verbose=verbose)
            return result.error or proposal.silent_error

    if error := run(work()):
        raise error


async def _carried_out(
    proposal: Proposal, approval: Approval, agreed: Agreement | None, *, as_json: bool, verbose: bool
) -> RunResult:
    import asyncio

    from deskside.app.runs import carry_out
    from deskside.ui import make_listener
    from deskside.ui.summary import summary_text

    stopped = asyncio.Event()
    with make_listener(as_json=as_json, verbose=verbose) as listener, stop_on_signal(stopped, listener.tell):
        result = await carry_out(proposal, approval, listener, stopped, agreed)
    if not as_json:
        again = agreed.again if agreed and agreed.moved else approval.command
        click.echo(summary_text(result, again_command=again), nl=False)
    return result


def _show(
    proposal: Proposal,
    *,
    as_json: bool,
    verbose: bool,
    next_command: str,
    agreed: Agreement | None = None,
) -> None:
    from deskside.ui.findings import findings_text
    from deskside.ui.plan_text import moved_text, plan_text

    if as_json:
        findings = [asdict(finding) for finding in proposal.findings]
        moved = {"moved": [asdict(item) for item in agreed.moved]} if agreed else {}
        click.echo(json.dumps({"plan": proposal.plan.to_json(), "findings": findings, **moved}))
        return
    loud = [finding for finding in proposal.findings if finding.outcome != "ok"]
    if loud:
        click.echo(findings_text(loud), nl=False)
    click.echo(plan_text(proposal.plan, verbose=verbose, next_command=next_command), nl=False)
    if agreed:
        click.echo(moved_text(agreed), nl=False)


def _ask(most: Disruption, plan_file: Path | None) -> Approval:
    from deskside.engine.approval import Approval

    command = f"deskside apply{_named(plan_file)}"
    if not on_terminal():
        raise UsageError("there is no terminal to ask on", hint=f"read the plan, then run: {command} --yes")
    if not click.confirm("Make these changes?", default=False, err=True):
        raise DesksideError("declined; nothing was changed")
    return replace(Approval.up_to(most), command=command)


def _named(plan_file: Path | None) -> str:
    return f" {shlex.quote(str(plan_file))}" if plan_file else ""


def _allowed(text: str, plan_file: Path | None) -> Approval:
    from deskside.engine.approval import Approval
    from deskside.model.resource import Disruption

    costs = {cost.word: cost for cost in Disruption}
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in costs]:
        raise UsageError(f"--allow {','.join(unknown)}: costs are {', '.join(costs)}")
    allowed = Approval.of(*(costs[word] for word in words))
    return replace(allowed, command=f"deskside apply{_named(plan_file)}")


def _plan_error(plan: Plan) -> DesksideError | None:
    return plan.failures[0].failure if plan.failures else None


COMMANDS: tuple[click.Command, ...] = (check, plan, apply)
