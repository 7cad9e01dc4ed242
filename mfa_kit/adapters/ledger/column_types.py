"""Checks the types of values that are read from the ledger, because SQLite stores any value in any column."""

from collections.abc import Callable, Iterable, Mapping

from mfa_kit.adapters.ledger.tables import DamagedRow, SqlRow
from mfa_kit.core.json_text import JsonError, object_of, read_json
from mfa_kit.core.models import GlassAction
from mfa_kit.tokens.seeds import Factor, TokenVerdict


def _is_time(value: object) -> bool:
    """Return whether a value is a Unix time in the years 1970 to 9999."""
    return isinstance(value, int | float) and 0 <= value < LAST_TIME


def _is_names(value: object) -> bool:
    """Return whether a value is the text of a JSON object whose values are strings."""
    try:
        return isinstance(value, str) and all(isinstance(each, str) for each in object_of(read_json(value)).values())
    except (JsonError, TypeError):
        return False


LAST_TIME = 253402300800.0
TYPES: Mapping[str, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int),
    "time": _is_time,
    "factor": lambda value: value in [*Factor],
    "action": lambda value: value in [*GlassAction],
    "names": _is_names,
    "verdict": lambda value: value in [*TokenVerdict],
}


def check_types(rows: Iterable[SqlRow], types: str) -> None:
    """Raise DamagedRow if a value does not have the type of its column.

    `types` has one word per column, separated by spaces. Each word is a key of TYPES. A `?` after a word allows null.
    """
    checks = [(TYPES[each.rstrip("?")], each.endswith("?")) for each in types.split()]
    for row in rows:
        for value, (fits, may_be_null) in zip(row, checks, strict=True):
            if not (fits(value) or (may_be_null and value is None)):
                raise DamagedRow("a column has a value that mfa-kit does not write")
