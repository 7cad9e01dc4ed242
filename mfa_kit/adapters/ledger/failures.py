"""The failures of a rollout, in a table of the ledger, for its status. Successes are in the journal."""

from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.rollout.outcomes import Failure

FAILED = """
    insert into failures (plan, user, at, cause, reason) values (?, ?, ?, ?, ?)
    on conflict (plan, user) do update set at = excluded.at, cause = excluded.cause, reason = excluded.reason
"""


class Failures:
    """The last failure of each user under one plan, which is identified by the digest of its file."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, failure: Failure, *, at: float) -> None:
        """Record a failure at a Unix time. It replaces the user's previous one."""
        self._tables.write((FAILED, [(self._plan, failure.user, at, failure.cause, failure.reason)]))

    def by_user(self) -> dict[str, Failure]:
        """Return the last failure of each user that has one."""
        rows = self._tables.select(
            "select user, cause, reason from failures where plan = ?", (self._plan,), types="text text text"
        )
        return {user: Failure(user=user, cause=cause, reason=reason) for user, cause, reason in rows}
