"""What failed in a rollout, for its status: a table of the ledger. What was done stands in the journal."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from mfa_kit.rollout.roster import Failure

FAILED = """
    insert into failures (plan, user, at, cause, reason) values (?, ?, ?, ?, ?)
    on conflict (plan, user) do update set at = excluded.at, cause = excluded.cause, reason = excluded.reason
"""


class Tables(Protocol):
    """The ledger, as far as it is needed here."""

    def select(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None: ...


class Failures:
    """The last failure of each user under one plan, which the digest of its file names."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, failure: Failure, *, at: float) -> None:
        self._tables.write((FAILED, [(self._plan, failure.user, at, failure.cause, failure.reason)]))

    def by_user(self) -> dict[str, Failure]:
        rows = self._tables.select("select user, cause, reason from failures where plan = ?", (self._plan,))
        return {user: Failure(user=user, cause=cause, reason=reason) for user, cause, reason in rows}
