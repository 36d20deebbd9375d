"""The actions of a run, in order, until the first that fails. Part of the remote program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from deskside.hosts.remote.core import Raw, seconds_since, text_of, texts_of
from deskside.hosts.remote.files import ACTIONS, ActionBusy, ActionFailed, Clock, shown_command
from deskside.hosts.remote.room import disk_is_full


def described(action: Mapping[str, object]) -> str:
    """What an action does, for a person; never a secret, for contents and standard input are left out."""
    op = text_of(action, "op")
    words = {"install_packages": texts_of(action, "names"), "run_command": texts_of(action, "argv")}.get(op)
    if op == "run_command":
        return shown_command(words or [])
    if words is None:
        words = [text_of(action, "path") or text_of(action, "name")]
    return " ".join([op.replace("_", " "), *words]).strip()


def failure(place: int, action: Mapping[str, object], error: ActionFailed) -> Raw:
    """What went wrong, for the controller."""
    ended = error.ended
    said = "\n".join([str(error), *([ended.stdout, ended.stderr] if ended else [])])
    full = disk_is_full(said)
    return {
        "action": place,
        "what": described(action),
        "error": f"{described(action)} failed, {full}" if full else str(error),
        "full": bool(full),
        "busy": isinstance(error, ActionBusy),
        "status": ended.status if ended else None,
        "stdout": ended.stdout if ended else "",
        "stderr": ended.stderr if ended else "",
    }


def carried_out(action: Mapping[str, object], clock: Clock) -> Raw:
    """The result of one action. Raises ActionFailed, whatever went wrong."""
    carry_out = ACTIONS.get(text_of(action, "op"))
    if carry_out is None:
        raise ActionFailed(f"this host knows no action {text_of(action, 'op')!r}")
    if clock.left() <= 0:
        raise ActionFailed("the run had no time left for it")
    start = monotonic()
    try:
        result = carry_out(action, clock)
    except ActionFailed:
        raise
    except OSError as error:
        raise ActionFailed(f"{error.filename or described(action)}: {error.strerror or error}") from None
    except Exception as error:
        # Text of an unforeseen error may quote what it was given; where it happened does not.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f" in {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
        raise ActionFailed(f"{described(action)} met a {type(error).__name__}{where}") from None
    return {"status": 0, "stdout": "", "stderr": "", **result, "seconds": seconds_since(start)}


def carry_out_all(actions: Sequence[Mapping[str, object]], clock: Clock) -> Raw:
    """Results of the actions up to the first that fails, and that failure."""
    results: list[Raw] = []
    for place, action in enumerate(actions):
        clock.report(described(action))
        try:
            results.append(carried_out(action, clock))
        except ActionFailed as error:
            return {"results": results, "failed": failure(place, action, error)}
    return {"results": results, "failed": None}
