"""Convert the text of rosters, CSV or JSON, to rows of cells, and rows of cells to CSV.

Rosters are untrusted. Unknown columns are ignored, and the CSV that this module writes contains no control characters
and no formulas.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mfa_kit.core.csv_text import csv_lines, original_cell
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import JsonError, read_json

COLUMNS = ("user", "kind", "name", "path", "recipient", "serial", "asset", "tags", "email")
# The column for the account. mfa-kit writes this column only if a row has an account.
ACCOUNT = "account"
READ = (*COLUMNS, ACCOUNT)
# Columns that `faults_table` adds and `read_rows` ignores: the faults of a row, and its cells that have no column.
WRONG, SURPLUS = "wrong", "surplus"
# The column names in the AWS console's file of new users, and the columns of a roster that they stand for.
CONSOLE_COLUMNS = {"user name": "user"}
SEPARATORS = ",;\t"
# Matches the beginning of a JSON array or of the output of `aws iam list-users`. Any other JSON must have one object
# per line.
JSON_DOCUMENT = re.compile(r'\s*(\[|\{\s*"Users"\s*:)')
IAM_USER = "UserName"
# A first line such as `sep=;`. Excel takes the separator from it.
EXCEL_SEPARATOR = re.compile(r'\s*"?sep=([,;\t])"?[,;\t]*\r?\n', re.IGNORECASE)
# A cell such as ="0123". Excel treats its content as text and therefore keeps the zero.
EXCEL_TEXT = re.compile(r'="(.*)"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One row: the text of its cells in known columns, and the number of the line on which the row begins.

    In a JSON array, `line` is the number of the item and `unit` is "item".
    """

    line: int
    cells: Mapping[str, str]
    unit: str = "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFault:
    """A fault of one cell, or of a whole row if `column` is None. `cells` are the cells of the row's known columns."""

    line: int
    column: str | None
    what: str
    cells: Mapping[str, str]
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}{f', {self.column}' if self.column else ''}: {self.what}"


def read_rows(text: str, *, also: Collection[str] = ()) -> list[ReadRow | CellFault]:
    """Read a roster, CSV or JSON. Return each row as a ReadRow, or as a CellFault if the row cannot be read.

    `also` are the names, in lower case, of columns that are read besides those in READ. Raise UsageFault if the text
    is not a roster.
    """
    text = text.removeprefix("\ufeff")
    columns = (*READ, *(name for name in also if name not in READ))
    if JSON_DOCUMENT.match(text):
        return list(_read_json_document(text, columns))
    return list(_read_json_lines(text, columns) if text.lstrip().startswith("{") else _read_csv(text, columns))


def _read_json_document(text: str, columns: Sequence[str]) -> Iterator[ReadRow | CellFault]:
    try:
        found = read_json(text)
    except JsonError as error:
        raise UsageFault(f"the roster is not JSON: {error}", "write a JSON array, or one object per line") from None
    items = found.get("Users") if isinstance(found, dict) else found
    if not isinstance(items, list):
        raise UsageFault("'Users' in the roster is not a JSON array", "use the output of `aws iam list-users`")
    for number, item in enumerate(items, 1):
        yield _json_row(number, {"user": item} if isinstance(item, str) else item, columns, unit="item")


def _read_json_lines(text: str, columns: Sequence[str]) -> Iterator[ReadRow | CellFault]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _read_json_line(number, line, columns)


def _read_json_line(number: int, line: str, columns: Sequence[str]) -> ReadRow | CellFault:
    try:
        found = read_json(line)
    except JsonError as error:
        return CellFault(line=number, column=None, what=f"the line is not a JSON object: {error}", cells={})
    return _json_row(number, found, columns)


def _json_row(number: int, found: object, columns: Sequence[str], *, unit: str = "line") -> ReadRow | CellFault:
    if not isinstance(found, dict):
        return CellFault(line=number, column=None, what=f"the {unit} is not a JSON object", cells={}, unit=unit)
    if IAM_USER in found:
        found = {"user": found[IAM_USER], **found}
    values = {name: _join_tags(found[name]) if name == "tags" else found[name] for name in columns if name in found}
    cells = {name: _json_cell(value) for name, value in values.items() if value is not None}
    if wrong := [name for name, value in values.items() if not isinstance(value, str | None)]:
        return CellFault(line=number, column=wrong[0], what="the value is not text", cells=cells, unit=unit)
    return ReadRow(number, cells, unit)


def _json_cell(value: object) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _join_tags(value: object) -> object:
    """Convert a JSON object of tags to the text of a CSV cell, `K=V;K=V`. Return any other value unchanged."""
    return ";".join(f"{key}={each}" for key, each in value.items()) if isinstance(value, dict) else value


def _read_csv(text: str, columns: Sequence[str]) -> Iterator[ReadRow | CellFault]:
    """Yield the rows of CSV as Excel, Sheets and LibreOffice write it. Raise UsageFault without a valid header."""
    names: list[str] | None = None
    fault: CellFault | None = None
    for each in split_csv(text):
        if isinstance(each, CellFault):
            fault = each
        elif names is None:
            line, cells = each
            names = _header(cells, line, columns)
        else:
            line, cells = each
            yield _csv_row(names, cells, line, columns)
    if fault:
        yield fault
    elif names is None:
        raise UsageFault("the roster is empty", f"begin with a header: {','.join(COLUMNS)}")


def split_csv(text: str) -> Iterator[tuple[int, list[str]] | CellFault]:
    """Yield each non-empty row as its line number and its cells. If the CSV is broken, the last item is the fault.

    A first line such as `sep=;` names the separator. Without this line, the separator is the character of SEPARATORS
    that is most frequent in the header.
    """
    if excel := EXCEL_SEPARATOR.match(text):
        text, separator = text[excel.end() :], excel[1]
    else:
        separator = max(SEPARATORS, key=next((line for line in text.splitlines() if line.strip()), "").count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    before = excel[0].count("\n") if excel else 0
    began = before + 1
    try:
        for row in lines:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield began, cells
            began = before + lines.line_num + 1
    except csv.Error as error:
        what = f"the CSV is broken ({error}); this row and all rows after it were not read"
        yield CellFault(line=began, column=None, what=what, cells={})


def _header(cells: Sequence[str], line: int, columns: Sequence[str]) -> list[str]:
    names = [CONSOLE_COLUMNS.get(cell.lower(), cell.lower()) for cell in cells]
    if "user" not in names:
        raise UsageFault(
            f"line {line}: the roster's header has no column 'user'",
            f"begin with a header of these columns, of which only 'user' is required: {','.join(COLUMNS)}",
        )
    if twice := [name for name in columns if names.count(name) > 1]:
        raise UsageFault(f"the roster has the column {twice[0]} twice", "remove one of them")
    return names


def _csv_row(names: Sequence[str], cells: Sequence[str], line: int, columns: Sequence[str]) -> ReadRow | CellFault:
    ours = {name: plain_cell(cell) for name, cell in zip(names, cells, strict=False) if name in columns}
    if any(cells[len(names) :]):
        what = f"the row has {len(cells)} cells, but the header has {len(names)}"
        # Keep the surplus cells only if all columns are known. In other files, such as the AWS console's file of new
        # users, a surplus cell may contain a password, because a separator in an earlier cell shifted the row.
        if not set(names) - {*columns, WRONG, SURPLUS}:
            ours[SURPLUS] = ",".join(cells[len(names) :])
        return CellFault(line=line, column=None, what=what, cells=ours)
    return ReadRow(line, ours)


def plain_cell(cell: str) -> str:
    """Return the text of a cell, without Excel's `="…"` and without the apostrophe that `csv_lines` adds."""
    if text := EXCEL_TEXT.fullmatch(cell):
        return text[1].replace('""', '"').strip()
    return original_cell(cell)


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Return the rows as CSV with these columns. The CSV is safe to open in a spreadsheet."""
    return csv_lines([columns, *([row.get(name, "") for name in columns] for row in rows)])


def faults_table(faults: Sequence[CellFault]) -> str:
    """Return the faulty rows as a CSV roster for the user to correct: each row once, with its cells and its faults."""
    rows: dict[int, dict[str, str]] = {}
    for fault in faults:
        row = rows.setdefault(fault.line, {**fault.cells, WRONG: ""})
        row[WRONG] = "; ".join(filter(None, [row[WRONG], str(fault)]))
    account, surplus = ([name] if any(row.get(name) for row in rows.values()) else [] for name in (ACCOUNT, SURPLUS))
    return csv_table((*COLUMNS, *account, WRONG, *surplus), rows.values())
