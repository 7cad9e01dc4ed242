"""The interfaces of the ledger. Tables is for modules with tables of their own; Ledger implements it with a Database.

Every statement is written once, for SQLite and PostgreSQL: parameters are `$1`, `$2`, and so on, words that PostgreSQL
reserves are quoted, and parameters whose type PostgreSQL cannot infer are cast.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

# A row from the database. The types of its values depend on the statement.
SqlRow = tuple[Any, ...]
# An SQL statement, and the values of each row that it writes.
RowChange = tuple[str, Iterable[Sequence[object]]]
T = TypeVar("T")


class DamagedRow(Exception):
    """Raised for a row with a value that mfa-kit never writes. `Database.faults` converts it to IntegrityFault."""


class Tables(Protocol):
    """The tables of the ledger. Methods raise IntegrityFault if the ledger's database cannot be used."""

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger. The tables then have a column `computer`."""
        ...

    def select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Run a select statement and return the rows. `types` names the type of each column, as in `check_types`."""
        ...

    def write(self, *changes: RowChange) -> None:
        """Write rows, all of them or none."""
        ...

    def write_in_run(self, *changes: RowChange) -> None:
        """Write rows, all of them or none.

        During a run, a power cut can lose these rows until the next `write`, or the next `Ledger.record` for the run.
        """
        ...


class Database(Protocol):
    """The database of a ledger, and the locks of its runs.

    Methods may be called from any thread. They raise IntegrityFault if the database cannot be used.
    """

    # The statement that records how far an entry of the journal has progressed. `Ledger.record` passes its values.
    record: str
    # Whether several computers share the database. The tables then have a column `computer`.
    shared: bool

    def faults(self) -> AbstractContextManager[None]:
        """Convert errors of the database, and DamagedRow, to IntegrityFault."""
        ...

    def select(self, sql: str, values: Sequence[object] = ()) -> list[SqlRow]:
        """Run a select statement and return the rows."""
        ...

    def read(self, sql: str, values: Sequence[object], convert: Callable[[SqlRow], T]) -> list[T]:
        """Run a select statement and return the converted rows.

        `convert` raises DamagedRow for a row with a value that mfa-kit never writes. In a shared ledger, such a row is
        reported and left out if another role wrote it. Otherwise, raise IntegrityFault.
        """
        ...

    def write(self, *changes: RowChange, run: str | None = None) -> None:
        """Write rows, all of them or none. Return once a power cut can no longer lose them.

        For rows of a run, `run` is the ID of the run, and this process must hold the run's lock.
        """
        ...

    def log(self, *changes: RowChange) -> None:
        """Write rows, all of them or none.

        During a run, a power cut can lose these rows until the next `write` for the run.
        """
        ...

    def hold(self, run: str, *, doing: str) -> None:
        """Take a run's lock until `release`, or until this process ends.

        Raise IntegrityFault if the lock is not free within some seconds. With `doing`, for example "is working
        on ARN", the message becomes "process 123 is working on ARN".
        """
        ...

    def try_to_hold(self, run: str) -> bool:
        """Try to take a run's lock, and return whether this succeeded.

        Return False also if this process already holds the lock, or if it is unknown whether another process holds it.
        """
        ...

    def release(self, run: str, *, finished: Callable[[], bool]) -> None:
        """Release a run's lock. If `finished` returns True, the run is finished, and its lock is never needed again."""
        ...

    def workers(self, works: Sequence[str]) -> list[SqlRow]:
        """Return a row for each of the locks named in `works` that a process holds.

        A row has the name of the lock, the computer, the process ID, and when the process took the lock, in Unix
        seconds.
        """
        ...

    def holds(self, run: str) -> bool:
        """Return whether this process holds a run's lock."""
        ...

    @property
    def left_held(self) -> tuple[str, ...]:
        """The IDs of the runs that must be released before the database is closed."""
        ...

    def check(self) -> None:
        """End the process if it no longer holds the locks of its runs. Called before each write to IAM or a vault."""
        ...

    def without_fsync(self) -> AbstractContextManager[None]:
        """Return a context in which many rows are written fast. Until it ends, a power cut can lose the rows."""
        ...

    def close(self) -> None:
        """Close the database. The caller must have released the runs in `left_held` before."""
        ...
