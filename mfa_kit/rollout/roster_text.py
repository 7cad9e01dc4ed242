"""Convert the text of rosters, CSV or JSON, to rows of cells, and rows of cells to CSV.

Rosters are untrusted. Of unknown columns, only the names are kept. The CSV that this module writes contains no control
characters and no formulas.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from mfa_kit.core.csv_text import EXCEL_SEPARATOR, csv_lines, plain_cell
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.json_text import JsonError, read_json
from mfa_kit.core.message import Message, command
from mfa_kit.core.text import count_of, one_line

DEVICE_NAME = "device_name"
COLUMNS = ("user", "kind", DEVICE_NAME, "path", "recipient", "serial", "asset", "tags", "email")
# The column for the account. mfa-kit writes this column only if a row has an account.
ACCOUNT = "account"
READ = (*COLUMNS, ACCOUNT)
# Columns that `faults_table` adds and `read_rows` ignores: the faults of a row, and its cells that have no column.
WRONG, SURPLUS = "wrong", "surplus"
# Other names of columns, reduced to letters and digits, and the columns that they stand for. `User name` is in the AWS
# console's file of new users.
SYNONYMS = {name.replace("_", ""): name for name in READ}
SYNONYMS |= {"username": "user", "mail": "email", "publickey": "recipient", "sshkey": "recipient", "type": "kind"}
# Columns that are not read, and not reported either: those that mfa-kit writes, and the one for the user's own name.
SILENT = {WRONG, SURPLUS, "person", "recipient_source", "recipient_fetched", "recipient_fingerprint"}
# A message names at most this many columns, each with at most this many characters.
SHOWN, LONGEST_NAME = 10, 40
SEPARATORS = ",;\t"
IAM_USER = "UserName"
# The keys of an answer of the AWS CLI that is not complete.
CUT_OFF = ("IsTruncated", "NextToken", "Marker")
# Matches the beginning of a JSON array or of the output of `aws iam list-users`, whose keys some programs sort. Any
# other JSON must have one object per line.
JSON_DOCUMENT = re.compile(rf'\s*(\[|\{{\s*"(Users|\w+DetailList|{"|".join(CUT_OFF)})"\s*:)')


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


@dataclass(frozen=True, slots=True)
class ReadRoster:
    """The rows of a roster: a ReadRow, or a CellFault if the row cannot be read.

    `unread` is a sentence about the columns that were not read, or "".
    """

    rows: Sequence[ReadRow | CellFault]
    unread: str


def _reduced(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(slots=True)
class _Columns:
    """The names of the columns to read. `read` are those that the roster has, and `unread` the names of its others."""

    names: Sequence[str]
    read: set[str] = field(default_factory=set)
    unread: dict[str, None] = field(default_factory=dict)

    def find(self, cell: str) -> str:
        """Return the column that a name in a roster means. Remember a name that means none, and return it."""
        name = cell.lower()
        column = name if name in self.names else SYNONYMS.get(_reduced(cell), name)
        if column in self.names:
            self.read.add(column)
        elif cell and column not in SILENT:
            self.unread[cell] = None
        return column

    def note_unread(self) -> str:
        """Return a sentence about the columns that were not read, with the nearest names of columns, or ""."""
        shown = [self._suggestion(name) for name in [*self.unread][:SHOWN]]
        shown += [f"and {len(self.unread) - SHOWN} more"] if len(self.unread) > SHOWN else []
        return f"not read: {', '.join(shown)}" if shown else ""

    def _suggestion(self, name: str) -> str:
        """Return the name, with the column that it is similar to or contains, unless the roster has that column."""
        missing = {other: column for other, column in SYNONYMS.items() if column not in self.read}
        reduced = _reduced(name)
        near = get_close_matches(reduced, missing, n=1, cutoff=0.7) or [other for other in missing if other in reduced]
        return one_line(name[:LONGEST_NAME]) + (f" (did you mean {missing[near[0]]}?)" if near else "")

    def find_clash(self, cells: Sequence[str], columns: Sequence[str]) -> str:
        """Return a column that several cells of a header mean, and these cells, or "".

        `columns` has the column that each cell means.
        """
        for name in self.names:
            same = [one_line(cell) for cell, column in zip(cells, columns, strict=True) if column == name]
            if len(same) > 1:
                return f"{name}: {', '.join(same)}"
        return ""


def read_rows(text: str, *, also: Collection[str] = ()) -> ReadRoster:
    """Read a roster, CSV or JSON.

    `also` are the names, in lower case, of columns that are read besides those in READ. Raise UsageFault if the text
    is not a roster.
    """
    text = text.removeprefix("\ufeff")
    columns = _Columns((*READ, *(name for name in also if name not in READ)))
    if JSON_DOCUMENT.match(text):
        rows = _read_json_document(text, columns)
    else:
        rows = _read_json_lines(text, columns) if text.lstrip().startswith("{") else _read_csv(text, columns)
    return ReadRoster(list(rows), columns.note_unread())


def read_whole_rows(text: str, *, also: Collection[str], name: str) -> list[ReadRow]:
    """Return the rows of a roster in the file `name`. The other parameters are those of `read_rows`.

    Raise UsageFault if the text is not a roster, or if rows cannot be read. The error has a note for each such row.
    """
    rows = read_rows(text, also=also).rows
    faults = [row for row in rows if isinstance(row, CellFault)]
    if faults:
        error = UsageFault(f"{name} has {count_of(len(faults), 'error')}", "correct these rows")
        for fault in faults:
            error.add_note(str(fault))
        raise error
    return [row for row in rows if isinstance(row, ReadRow)]


def _check_name(names: Collection[str]) -> None:
    """Raise UsageFault if a column could have the name of the device or of the user."""
    if "name" in names and DEVICE_NAME not in names:
        raise UsageFault(
            "the roster's column 'name' could be the name of the device or of the user",
            f"rename the column to {DEVICE_NAME}, or to person if it is the user's name",
        )


def _read_json_document(text: str, columns: _Columns) -> Iterator[ReadRow | CellFault]:
    try:
        document = read_json(text)
    except JsonError as error:
        raise UsageFault(f"the roster is not JSON: {error}", "write a JSON array, or one object per line") from None
    if isinstance(document, dict) and "UserDetailList" in document:
        raise UsageFault(
            "the roster is the output of `aws iam get-account-authorization-details`",
            Message("use", command("aws iam list-users")),
        )
    if isinstance(document, dict) and any(map(document.get, CUT_OFF)):
        raise UsageFault(
            "the list of users was cut off, so users are missing in the roster",
            Message("list all, without --max-items and --no-paginate", command("aws iam list-users")),
        )
    items = document.get("Users") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise UsageFault("'Users' in the roster is not a JSON array", "use the output of `aws iam list-users`")
    for number, item in enumerate(items, 1):
        yield _json_row(number, {"user": item} if isinstance(item, str) else item, columns, unit="item")


def _read_json_lines(text: str, columns: _Columns) -> Iterator[ReadRow | CellFault]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _read_json_line(number, line, columns)


def _read_json_line(number: int, line: str, columns: _Columns) -> ReadRow | CellFault:
    try:
        row = read_json(line)
    except JsonError as error:
        return CellFault(line=number, column=None, what=f"the line is not a JSON object: {error}", cells={})
    return _json_row(number, row, columns)


def _json_row(number: int, row: object, columns: _Columns, *, unit: str = "line") -> ReadRow | CellFault:
    if not isinstance(row, dict):
        return CellFault(line=number, column=None, what=f"the {unit} is not a JSON object", cells={}, unit=unit)
    if IAM_USER in row:  # its other fields have names of IAM, such as Path, which is not the device's path
        named = {"user": row[IAM_USER], **row}
    else:
        names = [columns.find(name) for name in row]
        if clash := columns.find_clash([*row], names):
            return CellFault(line=number, column=None, what=f"two of its fields mean {clash}", cells={}, unit=unit)
        named = dict(zip(names, row.values(), strict=True))
    _check_name(named)
    values = {
        name: _join_tags(named[name]) if name == "tags" else named[name] for name in columns.names if name in named
    }
    cells = {name: _json_cell(value) for name, value in values.items() if value is not None}
    if wrong := [name for name, value in values.items() if not isinstance(value, str | None)]:
        return CellFault(line=number, column=wrong[0], what="the value is not text", cells=cells, unit=unit)
    return ReadRow(number, cells, unit)


def _json_cell(value: object) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _join_tags(value: object) -> object:
    """Convert a JSON object of tags to the text of a CSV cell, `K=V;K=V`. Return any other value unchanged."""
    return ";".join(f"{key}={tag_value}" for key, tag_value in value.items()) if isinstance(value, dict) else value


def _read_csv(text: str, columns: _Columns) -> Iterator[ReadRow | CellFault]:
    """Yield the rows of CSV as Excel, Sheets and LibreOffice write it. Raise UsageFault without a valid header."""
    names: list[str] | None = None
    fault: CellFault | None = None
    for row in split_csv(text):
        if isinstance(row, CellFault):
            fault = row
        elif names is None:
            line, cells = row
            names = _header(cells, line, columns)
        else:
            line, cells = row
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
        message = f"the CSV is broken ({error}); this row and all rows after it were not read"
        yield CellFault(line=began, column=None, what=message, cells={})


def _header(cells: Sequence[str], line: int, columns: _Columns) -> list[str]:
    cells = [plain_cell(cell) for cell in cells]
    names = [columns.find(cell) for cell in cells]
    if "user" not in names:
        raise UsageFault(
            f"line {line}: the roster's header has no column 'user'",
            f"begin with a header of these columns, of which only 'user' is required: {','.join(COLUMNS)}",
        )
    _check_name(names)
    if clash := columns.find_clash(cells, names):
        raise UsageFault(f"two columns of the roster mean {clash}", "remove one of them, or give it another name")
    return names


def _csv_row(names: Sequence[str], cells: Sequence[str], line: int, columns: _Columns) -> ReadRow | CellFault:
    ours = {name: plain_cell(cell) for name, cell in zip(names, cells, strict=False) if name in columns.names}
    if any(cells[len(names) :]):
        message = f"the row has {len(cells)} cells, but the header has {len(names)}"
        # Keep the surplus cells only if all columns are known. In other files, such as the AWS console's file of new
        # users, a surplus cell may contain a password, because a separator in an earlier cell shifted the row.
        if not set(names) - {*columns.names, WRONG, SURPLUS}:
            ours[SURPLUS] = ",".join(cells[len(names) :])
        return CellFault(line=line, column=None, what=message, cells=ours)
    return ReadRow(line, ours)


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
