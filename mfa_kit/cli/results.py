"""What a verb prints: rows of named cells under a schema name. How a row looks is up to the form, in forms.py."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

# The version of all schemas.
VERSION = 1
# A value of a result; nested ones are for JSON. Where a row has nothing under a name, the cell is None.
Cell: TypeAlias = "str | float | Sequence[Cell] | Mapping[str, Cell] | None"
ResultRow: TypeAlias = "Mapping[str, Cell]"


class Results(NamedTuple):
    """One result (`single`), or a list of results with the same fields. None holds a secret.

    `schema` is its name without `mfa-kit/`. `empty` is what a table of no results says. Without `header` a CSV goes on
    with one that was begun.
    """

    schema: str
    rows: Sequence[ResultRow]
    single: bool = False
    empty: str = ""
    header: bool = True
