"""Rosters: who is to get which device, as CSV or JSON lines. Text in, rows and everything that is wrong out.

A roster is hostile: what it has beyond our columns is dropped unread, and nothing that a terminal, a page or a sheet
would act on comes out of it.
"""

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mfa_kit.core import models
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import USER_NAME, Intent, Method, check_label, check_user
from mfa_kit.core.text import FORMULA, no_formula, one_line

COLUMNS = ("user", "kind", "name", "path", "recipient", "serial", "asset", "tags")
# What the console's file of new users calls the column.
CONSOLES = {"user name": "user"}
SEPARATORS = ",;\t"
# IAM API reference, Tag, but of blanks the space alone. Ours and AWS's own are not for a roster.
TAG_KEY, TAG_VALUE = re.compile(r"[\w .:/+@-]{1,128}"), re.compile(r"[\w .:/=+@-]{0,256}")
TAKEN = ("mfa-kit:", "aws:")
MOST_TAGS = 40
SERIAL = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
ARN = re.compile(r"arn:(?P<partition>[a-z-]+):iam::(?P<account>\d{12}):user/(?:.*/)?(?P<user>[^/]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a row's user gets a device: by an enrollment method, or by himself, where there is none.

    `unattended`: `rollout apply` makes it, with nobody there. `by_serial`: IAM has the device already, by the serial
    printed on it, which the roster has to say.
    """

    method: Method | None = None
    unattended: bool = False
    by_serial: bool = False

    @property
    def name(self) -> str:
        """The word in a roster."""
        return self.method.name if self.method else "self"

    def __str__(self) -> str:
        return self.name


BY_HIMSELF = How()
# Of a row that does not say how.
VIRTUAL = How(method=models.VIRTUAL, unattended=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user as IAM lists him; groups and tags where they were asked for."""

    name: str
    path: str = "/"
    groups: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failure of a user under one plan, as the ledger keeps it."""

    user: str
    cause: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One user of a roster; `account` where he was named by an ARN."""

    user: str
    kind: How = VIRTUAL
    name: str | None = None
    path: str = "/"
    recipient: str | None = None
    serial: str | None = None
    asset: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """What is wrong with one cell, or with a whole row; `cells` is the row as it was read, our columns only."""

    line: int
    column: str | None
    what: str
    cells: Mapping[str, str]

    def __str__(self) -> str:
        return f"line {self.line}{f', {self.column}' if self.column else ''}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    rows: Sequence[Row]
    wrong: Sequence[Wrong]


@dataclass(frozen=True, slots=True)
class _Read:
    """One row as text, and where it began."""

    line: int
    cells: Mapping[str, str]


def parsed(text: str, *, methods: Iterable[How], recipient: Callable[[str], str]) -> Roster:
    """Read a roster, in which `methods` can stand. `recipient` returns a public key without its comment, or raises.

    Raise UsageFault for what is no roster at all; what is wrong with single rows is in the result, all of it.
    """
    text = text.removeprefix("\ufeff")
    hows = {how.name: how for how in (*methods, BY_HIMSELF)}
    read, unread = _json(text) if text.lstrip().startswith("{") else _csv(text)
    wrong = [replace(each, cells=_unread(each.cells, recipient)) for each in unread]
    rows: list[Row] = []
    seen: dict[str, _Read] = {}
    for each in read:
        row = _row(each, recipient, hows, wrong)
        name = _user(each.cells.get("user", ""))
        first = seen.setdefault(name.lower(), each) if USER_NAME.fullmatch(name) else each
        if first is not each:
            same = _user(first.cells["user"]) == name
            what = "is there already" if same else "differs from another user in case only, and IAM sees no case"
            wrong.append(Wrong(line=each.line, column="user", what=f"{what}: line {first.line}", cells=each.cells))
        elif row is not None:
            rows.append(row)
    return Roster(rows=rows, wrong=sorted(wrong, key=lambda one: one.line))


def _json(text: str) -> tuple[list[_Read], list[Wrong]]:
    read: list[_Read] = []
    wrong: list[Wrong] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            wrong.append(Wrong(line=number, column=None, what="is not one JSON object", cells={}))
            continue
        cells, bad = {}, None
        for name in COLUMNS:
            value = found.get(name)
            if name == "tags" and isinstance(value, dict):
                value = ";".join(f"{key}={each}" for key, each in value.items())
            if isinstance(value, str):
                cells[name] = value.strip()
            elif value is not None:
                bad = bad or name
        if bad:
            wrong.append(Wrong(line=number, column=bad, what="is not text", cells=cells))
        else:
            read.append(_Read(number, cells))
    return read, wrong


def _csv(text: str) -> tuple[list[_Read], list[Wrong]]:
    """Read what Excel, Sheets and LibreOffice write: the separator is the one that the header has most."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=head.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    read: list[_Read] = []
    wrong: list[Wrong] = []
    names: list[str] | None = None
    began = 1
    while True:
        try:
            cells = [cell.strip() for cell in next(lines)]
        except StopIteration:
            break
        except csv.Error as error:
            what = f"is no CSV ({error}), and nothing after it was read"
            wrong.append(Wrong(line=began, column=None, what=what, cells={}))
            break
        line, began = began, lines.line_num + 1
        if not any(cells):
            continue
        if names is None:
            names = _names(cells, line)
            continue
        ours = {name: _plain(cell) for name, cell in zip(names, cells, strict=False) if name in COLUMNS}
        if any(cells[len(names) :]):
            what = f"has {len(cells)} cells, and the header has {len(names)}"
            wrong.append(Wrong(line=line, column=None, what=what, cells=ours))
        else:
            read.append(_Read(line, ours))
    if names is None and not wrong:
        raise UsageFault("the roster is empty", f"begin with a header: {','.join(COLUMNS)}")
    return read, wrong


def _names(cells: Sequence[str], line: int) -> list[str]:
    names = [CONSOLES.get(cell.lower(), cell.lower()) for cell in cells]
    if "user" not in names:
        raise UsageFault(
            f"the roster has no column user in its header, line {line}",
            f"the columns are {', '.join(COLUMNS)}; all but user may be left out",
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise UsageFault(f"the roster has the column {twice[0]} twice", "leave one of them")
    return names


def _plain(cell: str) -> str:
    """Take away the apostrophe that `no_formula` put before a cell."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def _user(cell: str) -> str:
    return found["user"] if (found := ARN.fullmatch(cell)) else cell


def _row(read: _Read, recipient: Callable[[str], str], hows: Mapping[str, How], wrong: list[Wrong]) -> Row | None:
    """Return a row, or None when something is wrong with it: every cell is looked at."""
    values: dict[str, Any] = {}
    before = len(wrong)
    read_cell: Mapping[str, Callable[[str], object]] = {
        **CELLS,
        "recipient": recipient,
        "kind": partial(_how, hows=hows),
    }
    for column in COLUMNS:
        cell = read.cells.get(column, "")
        try:
            if column == "user" or cell:
                values[column] = read_cell[column](cell)
        except UsageFault as error:
            # What is no public key may be a private one, and is not copied anywhere.
            cells = {**read.cells, "recipient": ""} if column == "recipient" else read.cells
            wrong.append(Wrong(line=read.line, column=column, what=f"{error}; {error.hint}", cells=cells))
    if values.get("kind", VIRTUAL).by_serial and not read.cells.get("serial"):
        what = "is empty, and a hardware token has a serial printed on it"
        wrong.append(Wrong(line=read.line, column="serial", what=what, cells=read.cells))
    if len(wrong) > before:
        return None
    arn = ARN.fullmatch(read.cells["user"])
    return Row(**values, account=arn["account"] if arn else None)


def _unread(cells: Mapping[str, str], recipient: Callable[[str], str]) -> Mapping[str, str]:
    """Return the cells of a row that was not looked at further, without what is no public key."""
    try:
        return {**cells, "recipient": recipient(cells["recipient"])} if cells.get("recipient") else cells
    except UsageFault:
        return {**cells, "recipient": ""}


def _checked_user(cell: str) -> str:
    check_user(user := _user(cell))
    return user


def _how(cell: str, *, hows: Mapping[str, How]) -> How:
    if cell not in hows:
        raise UsageFault(f"{cell!a} is no kind of device", f"write {', '.join(hows)}")
    return hows[cell]


def _name(cell: str) -> str:
    return Intent(account="", partition="", user="u", name=cell).name


def _path(cell: str) -> str:
    return Intent(account="", partition="", user="u", name="n", path=cell).path


def _serial(cell: str) -> str:
    if not SERIAL.fullmatch(cell):
        raise UsageFault(f"{cell!a} is no serial", "use 9 to 256 letters, digits and +=/:,.@-")
    return cell


def _tags(cell: str) -> tuple[tuple[str, str], ...]:
    """Read `K=V;K=V`."""
    pairs = [part.strip().partition("=") for part in cell.split(";") if part.strip()]
    tags = {key: value for key, equals, value in pairs if equals}
    if len({key.lower() for key in tags}) < len(pairs) or len(tags) > MOST_TAGS:
        raise UsageFault(f"{cell!a} are no tags", f"write K=V;K=V, each key once, {MOST_TAGS} at most")
    for key, value in tags.items():
        if not TAG_KEY.fullmatch(key) or not TAG_VALUE.fullmatch(value) or key.lower().startswith(TAKEN):
            raise UsageFault(
                f"{key!a} is no tag that a roster can give",
                "use letters, digits, blanks and .:/=+@-_, and none of AWS's or mfa-kit's own keys",
            )
    return tuple(tags.items())


CELLS: Mapping[str, Callable[[str], object]] = {
    "user": _checked_user,
    "name": _name,
    "path": _path,
    "serial": _serial,
    "asset": check_label,
    "tags": _tags,
}


def cells(row: Row) -> dict[str, str]:
    """Return a row as the cells of a roster; `parsed` reads the same row from them."""
    return {
        "user": row.user,
        "kind": row.kind.name,
        "name": row.name or "",
        "path": row.path,
        "recipient": row.recipient or "",
        "serial": row.serial or "",
        "asset": row.asset or "",
        "tags": ";".join(f"{key}={value}" for key, value in row.tags),
    }


def fingerprint(recipient: str) -> str:
    """Return what people compare: of an SSH key what `ssh-keygen -l` prints, of an age key the key itself."""
    if not recipient.startswith("ssh-"):
        return recipient
    digest = hashlib.sha256(base64.b64decode(recipient.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def table(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Write CSV that is safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([no_formula(one_line(row.get(name, ""))) for name in columns] for row in rows)
    return out.getvalue()


def bad_rows(wrong: Sequence[Wrong]) -> str:
    """Write what is wrong as a roster to be mended: each row once, with a column `wrong`, which is not read."""
    rows: dict[int, dict[str, str]] = {}
    for each in wrong:
        row = rows.setdefault(each.line, {**each.cells, "wrong": ""})
        row["recipient"] = each.cells.get("recipient", "") and row.get("recipient", "")
        row["wrong"] = "; ".join(filter(None, [row["wrong"], str(each)]))
    return table((*COLUMNS, "wrong"), rows.values())


def only(rows: Sequence[Row], users: Sequence[str]) -> list[Row]:
    """Keep the rows of these users. Raise UsageFault for one that has none."""
    wanted = {user.lower() for user in users}
    if missing := wanted - {row.user.lower() for row in rows}:
        raise UsageFault(
            f"--only names {', '.join(sorted(missing))}, who are not there",
            "see the names in the roster or the plan, or in IAM",
        )
    return [row for row in rows if row.user.lower() in wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of IAM's users a rollout is for, where there is no roster: all that is given must fit."""

    groups: tuple[str, ...] = ()
    path_prefix: str = "/"
    tags: tuple[tuple[str, str], ...] = ()
    without_mfa: bool = False

    def fits(self, person: Person, passwords: Container[str]) -> bool:
        """Whether a user is meant; nobody needs MFA who has no console password."""
        return (
            person.path.startswith(self.path_prefix)
            and (not self.groups or bool(set(self.groups) & set(person.groups)))
            and set(self.tags) <= set(person.tags)
            and (not self.without_mfa or person.name in passwords)
        )
