"""Roster files: reads the rows of a roster from CSV or JSON, and writes rosters.

Parsing returns the rows without a fault, and all faults of the other rows. Rosters are untrusted. Of unknown columns,
only the names are kept. The CSV that this module writes contains no control characters and no formulas.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import (
    EXCEL_SEPARATOR,
    ROUNDED,
    JsonError,
    csv_table,
    error_of_faults,
    plain_cell,
    read_json,
)
from mfa_kit.core.message import Message, clauses, command, suggest
from mfa_kit.core.models import ACCOUNT_ID, REPORTED_ROOT, USER_NAME, DeviceSpec, RosterMethod, check_label, check_user
from mfa_kit.core.text import few, one_line
from mfa_kit.organization.accounts import OrgAccount, names_of, nearest
from mfa_kit.rollout.roster import (
    ACCOUNT,
    ACTION,
    COLUMNS,
    DELIVERY,
    DEVICE_NAME,
    OPTIONAL,
    PROFILE,
    REPLACES,
    SELF,
    VIRTUAL,
    Delivery,
    RosterAction,
    RosterRow,
    Tags,
    columns_of,
)

READ = (*COLUMNS, *OPTIONAL)
# Columns that `faults_table` adds and `read_rows` ignores: the faults of a row, and its cells that have no column.
WRONG, SURPLUS = "wrong", "surplus"
# Other names of columns, reduced to letters and digits, and the columns that they stand for. `User name` is in the AWS
# console's file of new users.
SYNONYMS = {name.replace("_", ""): name for name in READ}
SYNONYMS |= {"username": "user", "mail": "email", "publickey": "recipient", "sshkey": "recipient", "type": "kind"}
# Columns that are not read, and not reported either: those that mfa-kit writes, and the one for the user's own name.
SILENT = {WRONG, SURPLUS, "person", "recipient_source", "recipient_fetched", "recipient_fingerprint"}
# Matches the name of a column, reduced to letters and digits, that may have a secret, and the words of such names.
SECRET_COLUMN = re.compile(r"pass(word|wort|code|phrase)|secret|credential|(access|private|api)key|seed|^code\d*\Z")
SECRET_WORDS = {"pin", "puk", "otp", "pwd", "key", "keys", "token", "tokens", "api"}
# Columns of `handover.csv`: a column of the roster with such a name gets another one there.
HANDOVER_COLUMNS, OF_ROSTER = {"name", "device", "state", "letter", "file"}, " (roster)"
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


def may_have_secret(name: str) -> bool:
    """Return whether the name of a roster's column says that it may have a secret."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return bool(SECRET_COLUMN.search(_reduced(name)) or SECRET_WORDS & {*words})


@dataclass(slots=True)
class _Columns:
    """The names of the columns to read. `read` are those that the roster has, and `unread` the names of its others.

    With `every`, all columns are read, without those that may have a secret.
    """

    names: list[str]
    every: bool = False
    read: set[str] = field(default_factory=set)
    unread: dict[str, None] = field(default_factory=dict)

    def find(self, cell: str) -> str:
        """Return the column that a name in a roster means. Remember a name that means none, and return it."""
        name = cell.lower()
        column = name if name in self.names else SYNONYMS.get(_reduced(cell), name)
        if column in self.names:
            self.read.add(column)
        elif self.every and cell and not may_have_secret(cell):
            self.names.append(column)
            self.read.add(column)
        elif cell and column not in SILENT:
            self.unread[cell] = None
        return column

    def note_unread(self) -> str:
        """Return a sentence about the columns that were not read, with the nearest names of columns, or ""."""
        names = [
            one_line(name[:LONGEST_NAME]) if self.every or number >= SHOWN else self._suggestion(name)
            for number, name in enumerate(self.unread)
        ]
        return f"not read: {few(names, SHOWN)}" if names else ""

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


def read_rows(text: str, *, also: Collection[str] = (), every: bool = False) -> ReadRoster:
    """Read a roster, CSV or JSON.

    `also` are the names, in lower case, of columns that are read besides those in READ. With `every`, all columns are
    read, without those that may have a secret, such as a password. Raise UsageFault if the text is not a roster.
    """
    text = text.removeprefix("\ufeff")
    columns = _Columns([*READ, *(name for name in also if name not in READ)], every=every)
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
        raise error_of_faults(name, faults, "correct these rows")
    return [row for row in rows if isinstance(row, ReadRow)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipping:
    """The columns of a roster with what mfa-kit does not use, such as addresses, and the cells of each row.

    `unread` is a sentence about the columns that were left out, because they may have a secret, or "".
    """

    columns: tuple[str, ...] = ()
    rows: Sequence[ReadRow] = ()
    unread: str = ""

    def cells_of(self, user: str, name: str | None) -> Mapping[str, str]:
        """Return the cells for a user's device: those of the row with its name, else those of the user's first row."""
        of_user = [row.cells for row in self.rows if _user_name(row.cells.get("user", "")).lower() == user.lower()]
        named = [cells for cells in of_user if cells.get(DEVICE_NAME) == name]
        cells = next(iter([*named, *of_user]), {})
        lines = {name: ", ".join(filter(None, map(str.strip, cell.splitlines()))) for name, cell in cells.items()}
        return {column: lines.get(column.removesuffix(OF_ROSTER), "") for column in self.columns}


def parse_shipping(text: str, *, name: str) -> Shipping:
    """Return the columns of a roster in the file `name` that mfa-kit does not use. Raise UsageFault for a wrong row."""
    read = read_rows(text, every=True)
    if faults := [row for row in read.rows if isinstance(row, CellFault)]:
        raise error_of_faults(name, faults, "correct these rows")
    rows = [replace(row, cells=_without_private_keys(row.cells)) for row in read.rows if isinstance(row, ReadRow)]
    names = dict.fromkeys(column for row in rows for column in row.cells if column not in {*READ, *SILENT})
    columns = [f"{name}{OF_ROSTER}" if name in HANDOVER_COLUMNS else name for name in names]
    return Shipping(columns=tuple(columns), rows=rows, unread=read.unread)


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


def faults_table(faults: Sequence[CellFault]) -> str:
    """Return the faulty rows as a CSV roster for the user to correct: each row once, with its cells and its faults."""
    rows: dict[int, dict[str, str]] = {}
    for fault in faults:
        row = rows.setdefault(fault.line, {**fault.cells, WRONG: ""})
        row[WRONG] = "; ".join(filter(None, [row[WRONG], str(fault)]))
    surplus = [SURPLUS] if any(row.get(SURPLUS) for row in rows.values()) else []
    return csv_table((*columns_of([*rows.values()]), WRONG, *surplus), rows.values())


# An account ID that has lost its leading zeros, because a spreadsheet took it for a number.
SHORT = re.compile(r"[1-9][0-9]{1,10}")


class RosterAccounts(Protocol):
    """Finds the accounts that the rows of a roster name."""

    def find(self, cell: str) -> str | None:
        """Return the ID of the account that a cell names; None for an empty cell in a rollout of one account.

        Raise UsageFault if the cell does not name an account of the rollout.
        """
        ...

    def key(self, account: str | None) -> str | None:
        """Return the account to compare when rows are checked for duplicates; None if only user names are compared.

        `account` is the account that the row names. Rows with the same result and the same user name are duplicates.
        """
        ...


class OneAccount:
    """Finds the account that a row names, in a rollout of one account.

    Only the form of the account ID is checked, because the ID of the caller's account is not known yet when the roster
    is parsed. When the plan is made, rows that name another account are blocked.
    """

    def find(self, cell: str) -> str | None:
        """Return the account ID in a cell; None if the cell is empty. Raise UsageFault for any other text."""
        if not cell:
            return None
        if not ACCOUNT_ID.fullmatch(cell):
            raise UsageFault(
                f"{cell[:80]!a} is not the ID of an account", f"write the account's 12 digits{lost_zeros(cell)}"
            )
        return cell

    def key(self, _: str | None) -> str | None:
        """Return None: all rows are for one account, so rows with the same user name are duplicates."""
        return None


def lost_zeros(cell: str) -> str:
    """Return the end of a hint about leading zeros if the cell is a number that is too short for an account ID.

    Return "" for any other text.
    """
    return ", with the leading zeros, which spreadsheets remove" if SHORT.fullmatch(cell) else ""


T = TypeVar("T")

# What a tag may contain (IAM API reference, Tag), with two limits of rosters: the only white space is the space, and a
# key has no `=`. Keys that begin with one of TAKEN are reserved for mfa-kit or AWS.
TAG_KEY, TAG_VALUE = re.compile(r"[\w .:/+@-]{1,128}"), re.compile(r"[\w .:/=+@-]{0,256}")
TAKEN = ("mfa-kit:", "aws:")
MOST_TAGS = 40
# The prefixes of public keys, and text that every private key of age, OpenSSH or PEM contains.
PUBLIC, PRIVATE = ("age1", "ssh-"), re.compile("AGE-SECRET-KEY-|PRIVATE KEY", re.IGNORECASE)
# An email address of at most 254 characters (RFC 5321, 4.5.3.1.3), without quotation marks and the characters that
# separate addresses in a list.
EMAIL = re.compile(r"(?=.{3,254}\Z)(?!')[^\s@,;:<>()\[\]\"\\]+@[^\s@,;:<>()\[\]\"\\]+")
SERIAL = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
# The name or the ARN of a device in IAM, or the serial of a token.
OLD_DEVICE = re.compile(r"[\x21-\x7e]{1,1200}")
ARN = re.compile(r"arn:(?P<partition>[a-z-]+):iam::(?P<account>\d{12}):user/(?:.*/)?(?P<user>[^/]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """A list of users, and the devices that they get.

    `rows` has the rows without faults, in the order of the file. `faults` has the faults of the other rows, by line.
    `unread` is a sentence about the columns that were not read, or "".
    """

    rows: Sequence[RosterRow]
    faults: Sequence[CellFault]
    unread: str = ""


def parse_roster(
    text: str,
    *,
    methods: Iterable[RosterMethod],
    parse_key: Callable[[str], str],
    accounts: RosterAccounts | None = None,
    of_plan: bool = False,
) -> Roster:
    """Parse a roster. Return the rows without a fault, and the faults of the other rows.

    The cell `kind` of a row has the name of one of `methods`, or `self`. `parse_key` returns a public key without its
    comment, or raises UsageFault. `accounts` finds the account that a row names; by default, the roster is for one
    account. `of_plan` means that the rows are those of a plan, where a user may have several named devices. Raise
    UsageFault if the text is not a roster.
    """
    accounts = accounts or OneAccount()
    read = read_rows(text)
    faults = [fault for fault in read.rows if isinstance(fault, CellFault)]
    by_name = {method.name: method for method in (*methods, SELF)}
    rows: list[RosterRow] = []
    rows_by_user: dict[tuple[str | None, str], ReadRow] = {}
    for read_row in read.rows:
        if isinstance(read_row, ReadRow):
            cells = _Cells(read=read_row, methods=by_name, parse_key=parse_key, accounts=accounts)
            row = cells.parse_row()
            faults += cells.faults
            account = accounts.key(cells.account or read_row.cells.get(ACCOUNT))
            if duplicate := _find_duplicate(read_row, rows_by_user, account, of_plan=of_plan):
                faults.append(duplicate)
            elif row is not None:
                rows.append(row)
    public = [replace(fault, cells=_without_private_keys(fault.cells)) for fault in faults]
    return Roster(rows=rows, faults=sorted(public, key=lambda fault: fault.line), unread=read.unread)


def _find_duplicate(
    read_row: ReadRow, rows_by_user: dict[tuple[str | None, str], ReadRow], account: str | None, *, of_plan: bool
) -> CellFault | None:
    """Add a row to `rows_by_user`, or return a fault if an earlier row has the same user, ignoring case.

    Rows that add or replace a device are duplicates only if both name the same device.
    """
    name, key = _user_name(read_row.cells.get("user", "")), _row_key(read_row.cells, of_plan=of_plan)
    first = rows_by_user.setdefault((account, key.lower()), read_row) if key else read_row
    if first is read_row:
        return None
    before = _user_name(first.cells["user"])
    message = f"{name!r} is a duplicate of {first.unit} {first.line}"
    if before != name:
        message = f"{name!r} is a duplicate of {before!r} on {first.unit} {first.line}, because IAM ignores case"
    if account is None and read_row.cells.get(ACCOUNT) != first.cells.get(ACCOUNT):
        message += "; if the roster is for several accounts, add --accounts FILE or --org"
    return CellFault(line=read_row.line, column="user", what=message, cells=read_row.cells, unit=read_row.unit)


def _row_key(cells: Mapping[str, str], *, of_plan: bool) -> str:
    """Return what two rows must not have in common, the user or `USER/DEVICE`; "" if a row is like no other."""
    name, device = _user_name(cells.get("user", "")), cells.get(DEVICE_NAME, "")
    further = cells.get(ACTION, "").lower() in {RosterAction.ADD, RosterAction.REPLACE}
    if not USER_NAME.fullmatch(name) or (further and not device):
        return ""
    return f"{name}/{device}" if device and (further or of_plan) else name


@dataclass(slots=True, kw_only=True)
class _Cells:
    """Parses the cells of one row, and collects their `faults`. Continues after a fault, so every cell is checked."""

    read: ReadRow
    methods: Mapping[str, RosterMethod]
    parse_key: Callable[[str], str]
    accounts: RosterAccounts
    account: str | None = None
    faults: list[CellFault] = field(default_factory=list)

    def parse_row(self) -> RosterRow | None:
        """Return the row, or None if a cell has a fault."""
        user = self._parse("user", _parse_user, required=True)
        self.account = self._parse_account()
        row = RosterRow(
            user=user or "",
            kind=self._parse("kind", partial(_parse_method, methods=self.methods)) or VIRTUAL,
            name=self._parse(DEVICE_NAME, _parse_name),
            path=self._parse("path", _parse_path) or "/",
            recipient=self._parse("recipient", self.parse_key),
            serial=self._parse("serial", _parse_serial),
            asset=self._parse("asset", check_label),
            tags=self._parse("tags", _parse_tags) or (),
            email=self._parse("email", _parse_email),
            account=self.account,
            action=self._parse(ACTION, partial(_parse_word, words=RosterAction)) or RosterAction.ENROLL,
            replaces=self._parse(REPLACES, _parse_old_device),
            profile=self._parse(PROFILE, check_label),
            by_post=self._parse(DELIVERY, partial(_parse_word, words=Delivery)) is Delivery.POST,
        )
        self._check_row(row)
        return None if self.faults else row

    def _check_row(self, row: RosterRow) -> None:
        """Record a fault for each cell that does not fit the others."""
        if row.kind.by_serial and not self.read.cells.get("serial"):
            self._add_fault("serial", "the cell is empty; write the serial that is printed on the token")
        if row.replaces and row.action is not RosterAction.REPLACE:
            self._add_fault(REPLACES, f"a device is named here, but the action is {row.action}; write replace")
        if row.kind == SELF and row.is_further:
            self._add_fault(ACTION, "users who enroll themselves can only have the action enroll")
        if row.by_post and not row.can_be_posted:
            self._add_fault(DELIVERY, f"for the kind {row.kind}, nothing is prepared to be sent by post; write desk")

    def _parse_account(self) -> str | None:
        """Return the ID of the account that the `account` cell, or else the user's ARN, names.

        If neither names an account, return what `accounts` finds for an empty cell. If the account cannot be used,
        record a fault and return None. Also record a fault if the cell and the ARN name different accounts.
        """
        cell = self.read.cells.get(ACCOUNT, "")
        arn = ARN.fullmatch(self.read.cells.get("user", ""))
        in_arn = arn["account"] if arn else ""
        try:
            account = self.accounts.find(cell or in_arn)
        except UsageFault as error:
            self._add_fault(ACCOUNT if cell or not arn else "user", clauses([str(error), error.hint]))
            return None
        if in_arn and account != in_arn:
            self._add_fault(
                ACCOUNT,
                f"the row is for account {account}, but the user's ARN is for {in_arn}; correct one of them",
            )
        return account

    def _parse(self, column: str, parse: Callable[[str], T], *, required: bool = False) -> T | None:
        """Return the value of a cell. If the cell has a fault, record it. Return None for a fault or an empty cell."""
        cell = self.read.cells.get(column, "")
        if not cell and not required:
            return None
        try:
            return parse(cell)
        except UsageFault as error:
            self._add_fault(column, clauses([str(error), error.hint]))
            return None

    def _add_fault(self, column: str, message: str) -> None:
        read = self.read
        self.faults.append(CellFault(line=read.line, column=column, what=message, cells=read.cells, unit=read.unit))


def _without_private_keys(cells: Mapping[str, str]) -> Mapping[str, str]:
    """Return the cells of a faulty row, without cells that may contain a private key.

    The cells are written to a file of faults, which must not contain a private key.
    """
    return {
        name: cell
        for name, cell in cells.items()
        if not PRIVATE.search(cell) and (name != "recipient" or cell.startswith(PUBLIC))
    }


def _user_name(cell: str) -> str:
    """Return the user's name from a cell that contains a user name or a user's ARN. Return other text unchanged."""
    return match["user"] if (match := ARN.fullmatch(cell)) else cell


def _parse_user(cell: str) -> str:
    if cell == REPORTED_ROOT:
        raise UsageFault("this is the root user, not an IAM user", suggest("remove the row, and use", "enroll --root"))
    check_user(user := _user_name(cell))
    return user


def _parse_method(cell: str, *, methods: Mapping[str, RosterMethod]) -> RosterMethod:
    if cell.lower() not in methods:
        raise UsageFault(f"{cell!a} is not a kind of device", f"use one of {', '.join(methods)}")
    return methods[cell.lower()]


W = TypeVar("W", bound=StrEnum)


def _parse_word(cell: str, *, words: type[W]) -> W:
    try:
        return words(cell.lower())
    except ValueError:
        raise UsageFault(f"{cell!a} is not one of the words for this column", f"use {', '.join(words)}") from None


def _parse_old_device(cell: str) -> str:
    """Return the name, the ARN or the serial of an existing device."""
    if not OLD_DEVICE.fullmatch(cell):
        raise UsageFault(f"{cell!a} is not the name of a device", "write the name, or the ARN, that IAM lists")
    return cell


def _parse_name(cell: str) -> str:
    return DeviceSpec(account="", partition="", user="u", name=cell).name


def _parse_path(cell: str) -> str:
    return DeviceSpec(account="", partition="", user="u", name="n", path=cell).path


def _parse_serial(cell: str) -> str:
    if ROUNDED.fullmatch(cell):
        raise UsageFault(
            f"a spreadsheet rounded the serial number to {cell!a}",
            "format the column as text, and write the serial that is printed on the token",
        )
    if not SERIAL.fullmatch(cell):
        raise UsageFault(f"{cell!a} is not a serial number", "use 9 to 256 letters, digits and +=/:,.@-")
    return cell


def _parse_email(cell: str) -> str:
    if not EMAIL.fullmatch(cell) or one_line(cell) != cell:
        raise UsageFault(f"{cell!a} is not an email address", "write one address, such as alice@example.com")
    return cell


def _parse_tags(cell: str) -> Tags:
    """Parse tags written as `K=V;K=V`. Raise UsageFault for any other text, or for a tag that is not allowed."""
    pairs = [part.strip().partition("=") for part in cell.split(";") if part.strip()]
    tags = {key: value for key, equals, value in pairs if equals}
    if len({key.lower() for key in tags}) < len(pairs) or len(tags) > MOST_TAGS:
        raise UsageFault(f"{cell!a} is not a list of tags", f"write K=V;K=V, each key once, at most {MOST_TAGS} tags")
    for key, value in tags.items():
        if not TAG_KEY.fullmatch(key) or not TAG_VALUE.fullmatch(value) or key.lower().startswith(TAKEN):
            raise UsageFault(
                f"the tag {key!a} is not allowed in a roster",
                "use letters, digits, spaces and .:/=+@-_, and no key that begins with aws: or mfa-kit:",
            )
    return tuple(tags.items())


@dataclass(frozen=True, slots=True)
class ChosenAccounts:
    """The accounts that --accounts or --org chose.

    `chosen` are the accounts in which mfa-kit can work. `skipped` are accounts that were chosen, but that are not
    active. `others` are the accounts that were not chosen.
    """

    chosen: Sequence[OrgAccount]
    skipped: Sequence[OrgAccount] = ()
    others: Sequence[OrgAccount] = ()

    def find(self, cell: str) -> str:
        """Return the ID of the chosen account whose ID or name is in the cell.

        If the cell is empty and only one account is chosen, return the ID of that account. Raise UsageFault if the
        cell does not name exactly one chosen account.
        """
        if not cell:
            if len(self.chosen) == 1:
                return self.chosen[0].id
            raise UsageFault("the cell is empty", "write the ID or the name of an account")
        accounts = [account for account in self.chosen if account.is_called(cell)]
        if len(accounts) == 1:
            return accounts[0].id
        if accounts:
            raise UsageFault(f"{len(accounts)} accounts are named {cell[:80]!a}", "write the ID instead")
        raise self._not_chosen(cell)

    def _not_chosen(self, cell: str) -> UsageFault:
        """Return the error for a cell that names none of the accounts in which mfa-kit can work."""
        for account in self.skipped:
            if account.is_called(cell):
                return UsageFault(f"account {account.label} is {account.state}", "remove the row")
        # For a complete account ID, or the name of an account that was not chosen, do not suggest a similar account. A
        # person who followed the suggestion would enroll users in the wrong account.
        if ACCOUNT_ID.fullmatch(cell) or any(account.is_called(cell) for account in self.others):
            hint = "check the ID or the name, or choose this account too, for example with --include"
        else:
            hint = nearest(cell, names_of(self.chosen)) or f"check the ID or the name{lost_zeros(cell)}"
        return UsageFault(f"{cell[:80]!a} is not one of the chosen accounts", hint)

    def key(self, account: str | None) -> str | None:
        """Return `account`, because rows with the same user name in different accounts are not duplicates."""
        return account
