"""The results that a command prints: rows of named cells under a schema name. forms.py decides how rows are printed."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mfa_kit.core.text import ResultRow


class Results(NamedTuple):
    """One result (`single`), or a list of results with the same fields. No result contains a secret.

    `schema` is the name of the schema without `mfa-kit/`. A table without results shows `empty`. Without `header`, the
    rows continue a CSV that was begun earlier. If the window has no room for all columns and `wide` is not set, a table
    has shorter cells, and only the columns in `narrow` (all columns if `narrow` is empty). The cells of the columns in
    `below` are then printed below their row. `search` returns the part of a JSON document to print. With `color`, a
    table has colors.
    """

    schema: str
    rows: "Sequence[ResultRow]"
    single: bool = False
    empty: str = ""
    header: bool = True
    narrow: Sequence[str] = ()
    below: Sequence[str] = ()
    wide: bool = False
    search: Callable[[object], object] | None = None
    color: bool = False
