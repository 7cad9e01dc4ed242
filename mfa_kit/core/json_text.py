"""Reads JSON from outside this process. Each key of an object has one value."""

import json
from collections import Counter
from typing import Any


class JsonError(ValueError):
    """Raised for text that is not JSON, or that two readers could understand differently. The message has no value."""


def read_json(text: str | bytes) -> Any:
    """Parse JSON. Raise JsonError if it is malformed, nested too deep, or has a key twice.

    Of a key that occurs twice, some readers take the first value and others the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        raise JsonError(f"line {error.lineno} is not valid JSON") from None
    except UnicodeDecodeError:
        raise JsonError("it is not UTF-8") from None
    except RecursionError:
        raise JsonError("it is nested too deep") from None
    except ValueError:  # json refuses to convert numbers with thousands of digits
        raise JsonError("a number in it is too long") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise JsonError(f"it has the key {twice[:40]!a} twice in one object")
    return found
