"""JSON and CSV from outside this process, CSV that people open in a spreadsheet, and the faults in a file.

JSON that parsers read differently, such as repeated keys, is rejected. Written CSV has an apostrophe before each
formula, so that spreadsheets do not evaluate it. CSV that spreadsheets wrote has cells that they keep as text, numbers
that they rounded, and Excel's separator line.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of, one_line

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


# Matches the place before a formula. A spreadsheet treats a cell that begins with =, +, - or @ as a formula. In
# countries whose decimal separator is a comma, a spreadsheet also splits cells at semicolons, even in quotation marks.
# A formula that already has apostrophes gets one more, because `original_cell` removes one.
FORMULA = re.compile(r"(?P<before>^|[;\t])(?='*[=+\-@])")
DISARMED = re.compile(r"(?P<before>^|[;\t])'(?='*[=+\-@])")

# A first line such as `sep=;`. Excel takes the separator from it.
EXCEL_SEPARATOR = re.compile(r'\s*"?sep=([,;\t])"?[,;\t]*\r?\n', re.IGNORECASE)
# A cell such as ="0123" or '0123. Excel treats its content as text and therefore keeps the zero.
EXCEL_TEXT = re.compile(r'="(.*)"|\'([0-9a-z]+=*)', re.DOTALL | re.ASCII | re.IGNORECASE)
# A spreadsheet rounds long numbers to a form such as 1.23457E+14, and programs write a fraction of zero. The form
# always has a plus sign, which a hex serial or seed with an E among its digits never has.
ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+|\d+[.,]0+", re.ASCII | re.IGNORECASE)


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV in which every cell is quoted and no spreadsheet evaluates a cell as a formula.

    An apostrophe is put before each formula; `original_cell` removes it. Control characters and line breaks are written
    as escapes.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([FORMULA.sub(r"\g<before>'", one_line(cell)) for cell in row] for row in rows)
    return out.getvalue()


def original_cell(cell: str) -> str:
    """Return a cell's text without the apostrophes that `csv_lines` put before formulas."""
    return DISARMED.sub(r"\g<before>", cell)


def plain_cell(cell: str) -> str:
    """Return the text of a cell, without what EXCEL_TEXT matches and without the apostrophe that `csv_lines` adds."""
    if text := EXCEL_TEXT.fullmatch(cell):
        return text[2] or text[1].replace('""', '"').strip()
    return original_cell(cell)


def error_of_faults(name: str, faults: Sequence[object], hint: str) -> UsageFault:
    """Return the error for the faults in the file `name`, with a note for each fault."""
    error = UsageFault(f"{name} has {count_of(len(faults), 'error')}", hint)
    for fault in faults:
        error.add_note(str(fault))
    return error


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Return the rows as CSV with these columns. The CSV is safe to open in a spreadsheet."""
    return csv_lines([columns, *([row.get(name, "") for name in columns] for row in rows)])
