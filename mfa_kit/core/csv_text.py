"""Write CSV that is safe to open in a spreadsheet, and read its cells again."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from mfa_kit.core.text import one_line

# A spreadsheet treats a cell that begins with one of these as a formula. In countries with a decimal comma, it also
# begins a new cell at a semicolon, even within quotation marks.
FORMULA = re.compile(r"(?P<before>^|[;\t])(?=[=+\-@])")
DISARMED = re.compile(r"(?P<before>^|[;\t])'(?=[=+\-@])")


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Write rows as CSV with every cell quoted. A spreadsheet runs none of them, and `original_cell` restores them."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([FORMULA.sub(r"\g<before>'", one_line(cell)) for cell in row] for row in rows)
    return out.getvalue()


def original_cell(cell: str) -> str:
    """Remove the apostrophes that `csv_lines` put before formulas."""
    return DISARMED.sub(r"\g<before>", cell)
