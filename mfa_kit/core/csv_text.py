"""Writes CSV with an apostrophe before each formula, so that spreadsheets do not evaluate it.

Also reads what spreadsheets write: cells that they keep as text, numbers that they rounded, and Excel's separator line.
"""

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
