"""What the modules of this package that keep tables of their own need of the ledger."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Tables(Protocol):
    """The ledger as a database. Raise IntegrityFault when its file cannot be used."""

    def select(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return rows."""
        ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Write rows, all of them or none: each change is a statement and the values of each of its rows."""
        ...
