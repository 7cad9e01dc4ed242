"""The interface of the ledger for modules of this package that have their own tables."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

# A row from SQLite. The types of its values depend on the statement.
SqlRow = tuple[Any, ...]


class Tables(Protocol):
    """The ledger as a database. Methods raise IntegrityFault if its file cannot be used."""

    def select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Run a select statement and return the rows. `types` names the type of each column, as in `check_types`."""
        ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Write rows, all of them or none. Each change is a statement with the values of its rows."""
        ...
