"""Parses JSON from outside this process. Rejects text that parsers read differently, such as repeated keys."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

# The maximum number of characters of an integer: 39 digits for 128 bits, and a sign. The limit also ensures that code
# can convert the integer to a float, which Python cannot do with more than 309 digits.
LONGEST_INTEGER = 40


class JsonError(ValueError):
    """Raised for text that is not JSON, or that two parsers could understand differently.

    The message can quote a key of the text, but no value. For a syntax error, `line` is the number of the line, and
    `detail` has the column and a description of the error.
    """

    def __init__(self, message: str, *, line: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.line, self.detail = line, detail


def read_json(text: str | bytes) -> Any:
    """Parse JSON, and return the value as `json.loads` does.

    Raise JsonError if the text is malformed, not UTF-8 or nested too deeply, if an object has a key twice, or if a
    number is too large. For a repeated key, some parsers take the first value and others the last. NaN and Infinity are
    rejected, because they are not JSON.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant
        )
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        detail = f"column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}"
        raise JsonError(f"line {error.lineno} is not valid JSON", line=error.lineno, detail=detail) from None
    except UnicodeDecodeError:
        raise JsonError("it is not UTF-8") from None
    except RecursionError:
        raise JsonError("it is nested too deep") from None


def object_of(value: object) -> Mapping[str, object]:
    """Return a value of a JSON document unchanged. Raise TypeError if it is not an object."""
    if not isinstance(value, dict):
        raise TypeError("it is not an object")
    return value


def list_of(value: object) -> list[object]:
    """Return a value of a JSON document unchanged. Raise TypeError if it is not a list."""
    if not isinstance(value, list):
        raise TypeError("it is not a list")
    return value


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise JsonError("a number in it is too long")
    return int(digits)


def _float(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise JsonError("a number in it is too large")
    return number


def _refuse_constant(name: str) -> object:
    raise JsonError(f"{name} is not a JSON value")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise JsonError(f"it has the key {twice[:40]!a} twice in one object")
    return members
