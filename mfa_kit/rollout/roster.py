"""Rosters: lists of users, and the device that each user gets.

Parsing returns the rows without a fault, and all faults of the other rows.
"""

import base64
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

from mfa_kit.core import models
from mfa_kit.core.csv_text import ROUNDED
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.models import ACCOUNT_ID, REPORTED_ROOT, USER_NAME, DeviceSpec, Method, check_label, check_user
from mfa_kit.core.text import one_line
from mfa_kit.rollout.roster_text import ACCOUNT, DEVICE_NAME, CellFault, ReadRow, read_rows

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterMethod:
    """How the user of a row gets a device. If `method` is None, the user enrolls the device.

    `unattended` means that `rollout apply` makes the device without help from a person. `by_serial` means that AWS
    already has the device's seed, so the roster must contain the serial that is printed on the device.
    """

    method: Method | None = None
    unattended: bool = False
    by_serial: bool = False

    @property
    def name(self) -> str:
        """The word in the roster column `kind`: the name of an enrollment method, or `self`."""
        return self.method.name if self.method else "self"

    def __str__(self) -> str:
        return self.name


SELF = RosterMethod()
# The method of a row whose cell `kind` is empty.
VIRTUAL = RosterMethod(method=models.VIRTUAL, unattended=True)


T = TypeVar("T")
Tags = tuple[tuple[str, str], ...]

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
ARN = re.compile(r"arn:(?P<partition>[a-z-]+):iam::(?P<account>\d{12}):user/(?:.*/)?(?P<user>[^/]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRow:
    """One user of a roster, and the device to make: its kind, name, path, tags and, for a token, serial.

    `recipient` is the user's public key, to which a copy of the backup is encrypted. `asset` is a label for the key or
    token. `email` is the address for `rollout handover` and `remind`. `account` is the ID of the user's account. It
    is None if the rollout is for one account, and neither the `account` cell nor the user's ARN names an account.
    """

    user: str
    kind: RosterMethod = VIRTUAL
    name: str | None = None
    path: str = "/"
    recipient: str | None = None
    serial: str | None = None
    asset: str | None = None
    tags: Tags = ()
    email: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """A list of users, and the device that each user gets.

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
) -> Roster:
    """Parse a roster. Return the rows without a fault, and the faults of the other rows.

    The cell `kind` of a row has the name of one of `methods`, or `self`. `parse_key` returns a public key without its
    comment, or raises UsageFault. `accounts` finds the account that a row names; by default, the roster is for one
    account. Raise UsageFault if the text is not a roster.
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
            if duplicate := _find_duplicate(read_row, rows_by_user, account):
                faults.append(duplicate)
            elif row is not None:
                rows.append(row)
    public = [replace(fault, cells=_without_private_keys(fault.cells)) for fault in faults]
    return Roster(rows=rows, faults=sorted(public, key=lambda fault: fault.line), unread=read.unread)


def _find_duplicate(
    read_row: ReadRow, rows_by_user: dict[tuple[str | None, str], ReadRow], account: str | None
) -> CellFault | None:
    """Add a row to `rows_by_user`, or return a fault if an earlier row has the same user, ignoring case."""
    name = _user_name(read_row.cells.get("user", ""))
    first = rows_by_user.setdefault((account, name.lower()), read_row) if USER_NAME.fullmatch(name) else read_row
    if first is read_row:
        return None
    before = _user_name(first.cells["user"])
    message = f"{name!r} is a duplicate of {first.unit} {first.line}"
    if before != name:
        message = f"{name!r} is a duplicate of {before!r} on {first.unit} {first.line}, because IAM ignores case"
    if account is None and read_row.cells.get(ACCOUNT) != first.cells.get(ACCOUNT):
        message += "; if the roster is for several accounts, add --accounts FILE or --org"
    return CellFault(line=read_row.line, column="user", what=message, cells=read_row.cells, unit=read_row.unit)


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
        )
        if row.kind.by_serial and not self.read.cells.get("serial"):
            self._add_fault("serial", "the cell is empty; write the serial that is printed on the token")
        return None if self.faults else row

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


def row_cells(row: RosterRow) -> dict[str, str]:
    """Return a row as the cells of a roster, by column, without the account.

    From these cells, `parse_roster` makes the same row again.
    """
    return {
        "user": row.user,
        "kind": row.kind.name,
        DEVICE_NAME: row.name or "",
        "path": row.path,
        "recipient": row.recipient or "",
        "serial": row.serial or "",
        "asset": row.asset or "",
        "tags": ";".join(f"{key}={value}" for key, value in row.tags),
        "email": row.email or "",
    }


def key_fingerprint(recipient: str) -> str:
    """Return the fingerprint of a public key: for SSH, as `ssh-keygen -l` prints it; for age, the key itself."""
    if not recipient.startswith("ssh-"):
        return recipient
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    digest = hashlib.sha256(base64.b64decode(recipient.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def keep_users(rows: Sequence[RosterRow], users: Sequence[str]) -> list[RosterRow]:
    """Return the rows of these users, in the order of `rows`. Raise UsageFault for a user without a row."""
    names = {user.lower() for user in users}
    if missing := names - {row.user.lower() for row in rows}:
        raise UsageFault(
            f"--only names users who are not in the roster, plan or selection: {', '.join(sorted(missing))}",
            "check the spelling, or remove these names from --only",
        )
    return [row for row in rows if row.user.lower() in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUser:
    """A user in IAM's list. `groups` and `tags` are empty if they were not read."""

    name: str
    path: str = "/"
    groups: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSelection:
    """Conditions for selecting users. A user must meet all of them.

    The user must be in one of `groups` if there are any, have all of `tags`, and have a path that begins with
    `path_prefix`. If `without_mfa` is true, the user must also have a console password. Whether the user has a device
    is not a condition, because the plan skips users who have one.

    IAM ignores the case of group names and tag keys, but not the case of paths and tag values (IAM user guide, "IAM and
    STS quotas" and "Tags for IAM resources").
    """

    groups: tuple[str, ...] = ()
    path_prefix: str = "/"
    tags: tuple[tuple[str, str], ...] = ()
    without_mfa: bool = False

    @property
    def by_details(self) -> bool:
        """Whether the selection depends on the users' groups or tags, so that they have to be read."""
        return bool(self.groups or self.tags)

    def matches(self, user: ListedUser, passwords: Container[str]) -> bool:
        """Return whether a user is selected.

        `passwords` has the names of the users with a console password. They are used only if `without_mfa` is true.
        """
        return (
            user.path.startswith(self.path_prefix)
            and (not self.groups or bool(_lower(self.groups) & _lower(user.groups)))
            and _lower_keys(self.tags) <= _lower_keys(user.tags)
            and (not self.without_mfa or user.name in passwords)
        )


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def _lower_keys(tags: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(key.lower(), value) for key, value in tags}
