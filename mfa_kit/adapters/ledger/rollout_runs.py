"""Stores which runs belong to each rollout plan, and which enrollments failed. The journal has the successful ones."""

from collections.abc import Sequence

from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.rollout.outcomes import Failure
from mfa_kit.rollout.watching import PlanProgress

BEGUN = "insert into rollout_runs (plan, run, at) values ($1, $2, $3)"
ENDED = "update rollout_runs set ended = $3 where plan = $1 and run = $2"
# Selects for each plan when its last incomplete run and its last complete run began, how many devices its runs staged
# or enabled, and how many users failed. `{}` stands for the list of plans.
PROGRESS = """
    select r.plan, max(case when r.ended is null then r.at end), max(case when r.ended is not null then r.at end),
        (select count(*) from journal j join rollout_runs m on m.run = j.run
            where m.plan = r.plan and j.verb = 'enroll' and j.reached in ('staged', 'enabled', 'confirmed')),
        (select count(*) from failures f where f.plan = r.plan and f.cause <> '')
    from rollout_runs r where r.plan in ({}) group by r.plan
"""


class RolloutRuns:
    """Stores the IDs of the runs of one rollout plan. `plan` is the digest of the plan's file."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, run: str, *, now: float) -> None:
        """Record a run that is about to begin. `now` is a Unix time."""
        self._tables.write((BEGUN, [(self._plan, run, now)]))

    def end(self, run: str, *, now: float) -> None:
        """Record that a run is complete: it has a result for each user of the plan. `now` is a Unix time."""
        self._tables.write((ENDED, [(self._plan, run, now)]))

    def all(self, *, since: float = 0.0) -> set[str]:
        """Return the IDs of the plan's runs. Leave out runs that began before the Unix time `since`."""
        rows = self._tables.select(
            "select run from rollout_runs where plan = $1 and at >= $2", (self._plan, since), types="run"
        )
        return {run for (run,) in rows}


def progress_of_plans(tables: Tables, plans: Sequence[str]) -> dict[str, PlanProgress]:
    """Return the progress of each plan that has a run in the ledger. `plans` are digests of the plans' files."""
    if not plans:
        return {}
    sql = PROGRESS.format(", ".join(f"${number}" for number in range(1, len(plans) + 1)))
    rows = tables.select(sql, plans, types="text time? time? integer integer")
    return {
        plan: PlanProgress(
            made=device_count, failed=failed, complete=ended is not None and (unfinished_at or 0.0) <= ended
        )
        for plan, unfinished_at, ended, device_count, failed in rows
    }


FAILED = """
    insert into failures (plan, "user", at, cause, reason) values ($1, $2, $3, $4, $5)
    on conflict (plan, "user") do update set at = excluded.at, cause = excluded.cause, reason = excluded.reason
"""
FORGOTTEN = """update failures set cause = '', reason = '' where plan = $1 and "user" = $2"""
SINCE = """select "user", cause, reason from failures where plan = $1 and at >= $2 and cause <> ''"""


class Failures:
    """Stores the last failed enrollment of each user of a rollout plan. `plan` is the digest of the plan's file."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, failure: Failure, *, now: float) -> None:
        """Record a user's failure at a Unix time. It replaces the user's previous failure."""
        self._tables.write((FAILED, [(self._plan, failure.user, now, failure.cause, failure.reason)]))

    def forget(self, user: str) -> None:
        """Forget a user's failure, because a later run has enrolled the user.

        The row is emptied instead of deleted, because in PostgreSQL, only the ledger's owner may delete it.
        """
        self._tables.write((FORGOTTEN, [(self._plan, user)]))

    def by_user(self, *, since: float = 0.0) -> dict[str, Failure]:
        """Return the last failure of each user, by user name, without failures before the Unix time `since`."""
        rows = self._tables.select(SINCE, (self._plan, since), types="text text text")
        return {user: Failure(user=user, cause=cause, reason=reason) for user, cause, reason in rows}
