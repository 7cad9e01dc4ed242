"""The part of the ledger that modules with their own tables in this package use."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

# A row from SQLite. The types of its columns depend on the statement.
SqlRow = tuple[Any, ...]


class Tables(Protocol):
    """The ledger as a database. Raise IntegrityFault when its file cannot be used."""

    def select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Return rows. `types` names the type of each column, as for `check_types`."""
        ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Write rows, all of them or none. Each change is a statement and the values of each of its rows."""
        ...
