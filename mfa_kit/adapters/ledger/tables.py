"""What the modules of this package that keep tables of their own need of the ledger."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

# A row as SQLite gives it: what a column holds, the statement knows.
SqlRow = tuple[Any, ...]


class Tables(Protocol):
    """The ledger as a database. Raise IntegrityFault when its file cannot be used."""

    def select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Return rows. `types` names the type of each column, as for `check_types`."""
        ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Write rows, all of them or none: each change is a statement and the values of each of its rows."""
        ...
