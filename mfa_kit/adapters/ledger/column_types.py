"""Checks the types of values that are read from the ledger, because SQLite stores any value in any column."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeGuard

from mfa_kit.adapters.ledger.tables import DamagedRow, SqlRow
from mfa_kit.core.json_text import JsonError, list_of, object_of, read_json
from mfa_kit.core.models import RUN, GlassAction
from mfa_kit.tokens.seeds import DIGITS, Factor, TokenVerdict


def is_time(value: object) -> TypeGuard[float]:
    """Return whether a value is a Unix time in the years 1970 to 9999."""
    return isinstance(value, int | float) and 0 <= value < LAST_TIME


def _is_object_of(kind: type, value: object) -> bool:
    """Return whether a value is the text of a JSON object whose values have this type."""
    try:
        return isinstance(value, str) and all(isinstance(each, kind) for each in object_of(read_json(value)).values())
    except (JsonError, TypeError):
        return False


def _is_strings(value: object) -> bool:
    """Return whether a value is the text of a JSON list of strings."""
    try:
        return isinstance(value, str) and all(isinstance(each, str) for each in list_of(read_json(value)))
    except (JsonError, TypeError):
        return False


LAST_TIME = 253402300800.0
TYPES: Mapping[str, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int),
    "boolean": lambda value: isinstance(value, bool),
    "time": is_time,
    "factor": lambda value: value in [*Factor],
    "action": lambda value: value in [*GlassAction],
    "names": partial(_is_object_of, str),
    "counts": partial(_is_object_of, int),
    "strings": _is_strings,
    "digits": lambda value: value in DIGITS,
    "run": lambda value: isinstance(value, str) and RUN.fullmatch(value) is not None,
    "verdict": lambda value: value in [*TokenVerdict],
}


def check_types(types: str) -> Callable[[SqlRow], SqlRow]:
    """Return a function that returns a row, or raises DamagedRow if a value does not have the type of its column.

    `types` has one word per column, separated by spaces. Each word is a key of TYPES. A `?` after a word allows null.
    """
    checks = [(TYPES[each.rstrip("?")], each.endswith("?")) for each in types.split()]

    def check(row: SqlRow) -> SqlRow:
        if len(row) != len(checks):
            raise DamagedRow("a row has another number of columns")
        for value, (fits, may_be_null) in zip(row, checks, strict=True):
            if not (fits(value) or (may_be_null and value is None)):
                raise DamagedRow("a column has a value that mfa-kit does not write")
        return row

    return check
