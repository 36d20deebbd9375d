"""The planner of turns, against every state that one to seven servers can be in (F32)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest

from deskside.engine.quorum import Move, Voters, next_turn, refusal
from deskside.errors import StepFailed

MOST = 7
NEW = "new"


def subsets(names: frozenset[str], least: int = 0) -> Iterator[frozenset[str]]:
    for size in range(least, len(names) + 1):
        yield from map(frozenset, combinations(sorted(names), size))


def states() -> Iterator[Voters]:
    for count in range(1, MOST + 1):
        members = frozenset(f"s{number}" for number in range(1, count + 1))
        for healthy in subsets(members):
            yield Voters(members, healthy)


def majority(members: frozenset[str], healthy: frozenset[str]) -> bool:
    """The rule once more, told another way: those who answer outnumber those who do not."""
    return len(members & healthy) > len(members - healthy)


def afterwards(voters: Voters, move: Move, names: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(members, healthy) as the move leaves them, at its worst moment."""
    if move is Move.REMOVE:
        return voters.members - names, voters.healthy - names
    if move is Move.AWAY:
        return voters.members, voters.healthy - names
    return voters.members | names, voters.healthy | names


def moves(voters: Voters) -> Iterator[tuple[Move, frozenset[str]]]:
    for names in subsets(voters.members, least=1):
        yield Move.AWAY, names
        yield Move.REMOVE, names
    yield Move.ADD, frozenset([NEW])
    yield Move.ADD, frozenset([NEW, "another"])


def test_f32_no_move_that_is_let_through_ends_a_majority(capsys: pytest.CaptureFixture[str]) -> None:
    """And none that would be harmless is refused."""
    cases = violations = 0
    for voters in states():
        before = majority(voters.members, voters.healthy)
        for move, names in moves(voters):
            cases += 1
            allowed = not refusal(voters, move, names)
            kept = majority(*afterwards(voters, move, names))
            if move is Move.ADD:
                right = before and len(names) == 1
            elif move is Move.REMOVE:
                right = before and kept and names != voters.members
            elif voters.members == names and len(names) == 1:
                right = True  # a single server comes back with all that it knows
            else:
                right = kept if before else not names & voters.healthy
            violations += allowed != right
    with capsys.disabled():
        print(f"\nquorum: {cases:,} moves on 1 to {MOST} servers, {violations} violations")
    assert cases > 40_000
    assert violations == 0


def test_f32_turn_after_turn_a_majority_is_kept_whoever_comes_back() -> None:
    """Every set of servers is worked through from every state, and each may come back or stay away."""
    done: set[tuple[Voters, Move, frozenset[str]]] = set()

    def follow(voters: Voters, move: Move, names: frozenset[str]) -> None:
        if not names or (voters, move, names) in done:
            return
        done.add((voters, move, names))
        if all(refusal(voters, move, frozenset([one])) for one in names):
            with pytest.raises(StepFailed) as refused:
                next_turn(voters, move, sorted(names))
            assert refused.value.hint
            return
        name = next_turn(voters, move, sorted(names))
        after = Voters(*afterwards(voters, move, frozenset([name])))
        if voters.decide and len(voters.members) > 1:
            assert after.decide
        follow(after, move, names - {name})
        if move is Move.AWAY:
            follow(Voters(voters.members, voters.healthy | {name}), move, names - {name})

    for voters in states():
        for names in subsets(voters.members, least=1):
            follow(voters, Move.AWAY, names)
            follow(voters, Move.REMOVE, names)
    assert len(done) > 10_000


def worked_through(voters: Voters, move: Move, names: frozenset[str]) -> list[str]:
    """The turns where everybody comes back."""
    turns = []
    while names:
        name = next_turn(voters, move, sorted(names))
        turns.append(name)
        names -= {name}
        members = voters.members - ({name} if move is Move.REMOVE else set())
        voters = Voters(members, (voters.healthy | {name}) & members)
    return turns


def test_where_enough_are_well_everything_gets_done() -> None:
    for voters in states():
        count, well = len(voters.members), voters.healthy == voters.members
        if well and count != 2:
            assert worked_through(voters, Move.AWAY, voters.members) == sorted(voters.members)
        if voters.decide and len(voters.members) > 1:
            sick = voters.members - voters.healthy
            assert worked_through(voters, Move.REMOVE, sick) == sorted(sick)
            keep = min(voters.healthy)
            assert len(worked_through(voters, Move.REMOVE, voters.members - {keep})) == count - 1
            if sick and count > 2:
                # The one that is ill is mended first, and then the others have their turns.
                assert worked_through(voters, Move.AWAY, voters.members)[0] in sick


@pytest.mark.parametrize(
    ("healthy", "move", "names", "said", "hint"),
    [
        (
            "s1 s2",
            Move.AWAY,
            "s1",
            "s1 cannot be taken away for a while now: 2 of 3 servers answer (s3 does not), and 2 are needed;"
            " meanwhile 1 would answer",
            "bring back or remove s3 first",
        ),
        (
            "s1",
            Move.REMOVE,
            "s3",
            "s3 cannot be removed now: 1 of 3 servers answer (s2, s3 do not), and 2 are needed: nobody can be"
            " removed",
            "bring back s2 or s3, or restore the cluster from a backup",
        ),
    ],
)
def test_a_refusal_says_who_does_not_answer_and_what_helps(
    healthy: str, move: Move, names: str, said: str, hint: str
) -> None:
    voters = Voters(frozenset(["s1", "s2", "s3"]), frozenset(healthy.split()))
    with pytest.raises(StepFailed) as refused:
        next_turn(voters, move, names.split())
    assert (refused.value.message, refused.value.hint) == (said, hint)


def test_two_servers_can_spare_none_and_one_stays_the_last() -> None:
    two = Voters(frozenset(["s1", "s2"]), frozenset(["s1", "s2"]))
    with pytest.raises(StepFailed) as refused:
        next_turn(two, Move.AWAY, ["s1"])
    assert refused.value.hint == "2 servers can spare none: add one, or remove one, first"
    with pytest.raises(StepFailed, match="no server would be left") as refused:
        next_turn(Voters(frozenset(["s1"]), frozenset(["s1"])), Move.REMOVE, ["s1"])
    assert refused.value.hint == "the last server goes with the cluster"
