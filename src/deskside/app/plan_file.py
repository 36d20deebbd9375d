"""A proposal kept in a file, and carried out later: which site, lock, key and version it belongs to."""

from __future__ import annotations

import shlex
from hashlib import sha256
from pathlib import Path

from deskside import __version__
from deskside.app.own_secrets import plan_key
from deskside.app.runs import Proposal
from deskside.app.workspace import Workspace
from deskside.engine.agreement import Agreement
from deskside.engine.saved import About, SavedPlan, believe, read_plan, saved_plan, text_of, write_plan
from deskside.errors import DesksideError
from deskside.store.lock import LOCK_NAME


def unfit(proposal: Proposal) -> DesksideError | None:
    """Why a proposal cannot be approved now and carried out later: a part of it is not known, or refused."""
    failures = proposal.plan.failures
    return proposal.silent_error or (failures[0].failure if failures else None) or proposal.refusal


def save(proposal: Proposal, path: Path) -> None:
    """Keep a proposal that is fit. Raises FileError and SiteError."""
    workspace = proposal.workspace
    key = plan_key(workspace.folder, make=True)
    assert key is not None
    write_plan(path, text_of(saved_plan(proposal.plan, about(workspace), key), key))


def kept(workspace: Workspace, path: Path) -> SavedPlan:
    """The plan in a file, which holds for this site as it is. Raises FileError and SiteError."""
    saved, seal = read_plan(path)
    believe(saved, seal, plan_key(workspace.folder), about(workspace), path)
    return saved


def agreement(proposal: Proposal, saved: SavedPlan, path: Path) -> Agreement:
    """What the plan approves, after what was found now."""
    key = plan_key(proposal.workspace.folder)
    assert key is not None
    again = f"deskside plan --out {shlex.quote(str(path))}"
    return Agreement(saved, key, proposal.graph, proposal.plan, again)


def about(workspace: Workspace) -> About:
    """What a plan of this site made now is of."""
    lock = workspace.folder / LOCK_NAME
    return About(
        site=workspace.site.name,
        site_digest=workspace.digest,
        train=workspace.train.name,
        lock_digest=sha256(lock.read_bytes()).hexdigest() if lock.exists() else "",
        deskside=__version__,
    )
