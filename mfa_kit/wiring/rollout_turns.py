"""Turns of workers: one worker at a time carries out a plan, on all computers that share the ledger."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mfa_kit.adapters.ledger.failures import Failures
from mfa_kit.adapters.ledger.rollout_runs import RolloutRuns
from mfa_kit.rollout.other_workers import results_of_others
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.plan import Plan

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger


@contextmanager
def turn_of_plan(ledger: "Ledger", plan: Plan, digest: str) -> Iterator[bool]:
    """Yield whether this worker has the turn in a plan's account, and keep the turn until the context ends.

    It is False while another worker has the turn, and while a run of the plan is in progress. All locks of a killed
    worker are released, but not at the same instant. At the end, the locks of this worker's runs are released too, so
    that the next worker can settle what they left.
    """
    runs = RolloutRuns(ledger, plan=digest)
    with ledger.claimed(f"{digest}-{plan.account}") as ours:
        if not ours or any(ledger.lives(run) for run in runs.all()):
            yield False
            return
        try:
            yield True
        finally:
            for run in runs.all():
                ledger.end(run)


def record_run(ledger: "Ledger", digest: str, run: str, *, at: float) -> None:
    """Record that a run of a plan begins. `at` is its time in Unix seconds by AWS's clock."""
    RolloutRuns(ledger, plan=digest).record(run, at=at)


def done_by_others(ledger: "Ledger", plan: Plan, digest: str, *, since: float) -> Sequence[RowResult] | None:
    """Return the results of a plan that other workers have completed since a Unix time, or None."""
    if not RolloutRuns(ledger, plan=digest).all(since=since):
        return None
    failures = Failures(ledger, plan=digest).by_user(since=since)
    return results_of_others(plan, entries=ledger.made(plan.account), failures=failures)
