"""Lets one process (worker) at a time carry out a plan. The workers may be on different computers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mfa_kit.adapters.ledger.computers import Computers
from mfa_kit.adapters.ledger.rollout_runs import Failures, RolloutRuns, progress_of_plans
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.row_status import results_of_others
from mfa_kit.rollout.watching import RolloutProgress, WatchedWork, claim_of

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger


@contextmanager
def turn_of_plan(ledger: "Ledger", plan: Plan, digest: str) -> Iterator[bool]:
    """Yield True if this worker may carry out a plan now. No other worker may do so until the context ends.

    Yield False while another worker carries out the plan. Also yield False while a run of the plan is in progress: if a
    worker is killed, its lock on the plan may be released a moment before the lock of its run. At the end of the
    context, the locks of this worker's runs are released too, so that the next worker can clean up after these runs.
    """
    runs = RolloutRuns(ledger, plan=digest)
    with ledger.claimed(claim_of(digest, plan.account)) as ours:
        if not ours or any(ledger.lives(run) for run in runs.all()):
            yield False
            return
        try:
            yield True
        finally:
            for run in runs.all():
                ledger.end(run)


def record_run(ledger: "Ledger", digest: str, run: str, *, now: float) -> None:
    """Record that a run of a plan begins. `now` is the current Unix time by AWS's clock."""
    RolloutRuns(ledger, plan=digest).record(run, now=now)


def record_end(ledger: "Ledger", digest: str, run: str, *, now: float) -> None:
    """Record that a run of a plan now has a result for each user. `now` is the current Unix time by AWS's clock."""
    RolloutRuns(ledger, plan=digest).end(run, now=now)


def progress_of_works(ledger: "Ledger", works: Sequence[WatchedWork]) -> RolloutProgress:
    """Return the progress of several plans, and the workers that work on them now, from the ledger only."""
    return RolloutProgress.of(
        works,
        plans=progress_of_plans(ledger, [work.digest for work in works]),
        claims=ledger.workers([work.claim for work in works]),
    )


def unseen_runs(ledger: "Ledger", digests: Sequence[str]) -> str | None:
    """If the ledger shows no run of these plans, return a sentence about whose runs it shows. Otherwise return None.

    Return None also if the ledger is not shared, or if this PostgreSQL role sees the runs of all teams.
    """
    team = Computers(ledger).team()
    if team is None or progress_of_plans(ledger, digests):
        return None
    clause = (
        f"your PostgreSQL role sees only the runs of team {team}"
        if team
        else "your PostgreSQL role belongs to no team, so it cannot see the runs of any team"
    )
    return f"the ledger shows no run of this rollout yet; {clause}"


def done_by_others(ledger: "Ledger", plan: Plan, digest: str, *, since: float) -> Sequence[RowResult] | None:
    """Return the results of all users of a plan, if other workers have completed it since the Unix time `since`.

    Return None if no run of the plan began since then, or if the ledger lacks the result of a user.
    """
    if not RolloutRuns(ledger, plan=digest).all(since=since):
        return None
    failures = Failures(ledger, plan=digest).by_user(since=since)
    return results_of_others(plan, entries=ledger.made(plan.account), failures=failures)
