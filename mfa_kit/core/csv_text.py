"""Writes CSV with an apostrophe before each formula, so that spreadsheets do not evaluate it. Also restores cells."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from mfa_kit.core.text import one_line

# Matches the place before a formula. A spreadsheet treats a cell that begins with =, +, - or @ as a formula. In
# countries whose decimal separator is a comma, a spreadsheet also splits cells at semicolons, even in quotation marks.
# A formula that already has apostrophes gets one more, because `original_cell` removes one.
FORMULA = re.compile(r"(?P<before>^|[;\t])(?='*[=+\-@])")
DISARMED = re.compile(r"(?P<before>^|[;\t])'(?='*[=+\-@])")


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
