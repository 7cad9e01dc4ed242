"""Stores the failed enrollments of a rollout for `rollout status`. The journal has the successful enrollments."""

from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.rollout.outcomes import Failure

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

    def record(self, failure: Failure, *, at: float) -> None:
        """Record a user's failure at a Unix time. It replaces the user's previous failure."""
        self._tables.write((FAILED, [(self._plan, failure.user, at, failure.cause, failure.reason)]))

    def forget(self, user: str) -> None:
        """Forget a user's failure, because a later run has enrolled the user.

        The row is emptied instead of deleted, because in PostgreSQL, only the ledger's owner may delete it.
        """
        self._tables.write((FORGOTTEN, [(self._plan, user)]))

    def by_user(self, *, since: float = 0.0) -> dict[str, Failure]:
        """Return the last failure of each user, by user name, without failures before the Unix time `since`."""
        rows = self._tables.select(SINCE, (self._plan, since), types="text text text")
        return {user: Failure(user=user, cause=cause, reason=reason) for user, cause, reason in rows}
