"""Splits tables into rows, and parses numbers, hashes, types and seeds in the spellings that vendors use.

`Contents` is what the reader of each format receives.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from mfa_kit.adapters.seedfiles.encoding import SeedRow
from mfa_kit.core.csv_text import EXCEL_SEPARATOR, ROUNDED, plain_cell
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, Token

DIGESTS = {"sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
# The identifiers of RFC 6030 and its drafts end in the type: `urn:ietf:params:xml:ns:keyprov:pskc:totp`.
IDENTIFIER = re.compile(r"(?:.*[:#/])?(?:oath-)?([ht]otp)")
# The maximum number of rows, which no vendor's file reaches, and how many cells of each row are read.
ROWS = 500_000
CELLS = 64

Cells = list[str]
Line = tuple[str, Cells | DroppedRow]


def digest_named(name: str) -> str:
    """Return mfa-kit's name for a hash, such as `sha256` for `HMAC-SHA-256`. Unknown names are returned unchanged."""
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return DIGESTS.get(bare.removeprefix("totp").removeprefix("hmac"), name)


def number(text: str, *, otherwise: int) -> int:
    """Return a number of at most 20 digits, or `otherwise` for an empty string.

    For any other string, return -1, which no field allows.
    """
    if not text:
        return otherwise
    return int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else -1


def signed_number(text: str) -> int:
    """Return an integer of at most 9 digits, or 0 for an empty string. Raise ValueError for any other string."""
    if not re.fullmatch(r"(-?\d{1,9})?", text, re.ASCII):
        raise ValueError("its clock drift is not a number")
    return int(text or 0)


def factor_named(text: str) -> Factor:
    """Return the token type, HOTP or TOTP, that a word names. "" means HOTP. Raise ValueError for other words."""
    if named := IDENTIFIER.fullmatch(text.lower()):
        return Factor(named[1])
    match text.lower():
        case "time":
            return Factor.TOTP
        case "" | "hmac" | "event":
            return Factor.HOTP
        case _:
            raise ValueError("its type is neither hotp nor totp")


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, as editors count them. str.splitlines would also split at other characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def split_rows(text: str) -> Iterator[Line]:
    """Yield each row as a pair: its position, such as `line 3`, and its cells. Skip empty rows and comments.

    If a row cannot be parsed, the second value is a DroppedRow with the reason. The delimiter is the one in a first
    line such as `sep=;`, or else the comma, the semicolon or the tab, whichever occurs most often in the text. Raise
    IntegrityFault if there are more than ROWS rows.
    """
    excel = EXCEL_SEPARATOR.match(text)
    delimiter = excel[1] if excel else max(",;\t", key=text.count)
    rows = split_lines("\n" + text[excel.end() :] if excel else text)
    if len(rows) > ROWS:
        raise IntegrityFault(
            f"this table has more than {ROWS} rows", "ask the vendor to split the tokens into several files"
        )
    for number_, line in enumerate(rows, 1):
        where = f"line {number_}"
        if not line.strip(f" \t{delimiter}") or line.lstrip().startswith("#"):
            continue
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))
        except csv.Error:
            yield where, DroppedRow(where, "a quotation mark is not closed" if '"' in line else "a cell is too long")
        else:
            yield where, [plain_cell(cell.strip()) for cell in cells[:CELLS]]


def seed_row(where: str, seed: str, make: Callable[[], Token]) -> SeedRow | DroppedRow:
    """Return a row with its token and seed, or a dropped row with the reason.

    `make` returns the token. It raises ValueError for a value that the standards do not define.
    """
    try:
        token = make()
    except ValueError as error:
        return DroppedRow(where, str(error))
    if ROUNDED.fullmatch(token.serial) or ROUNDED.fullmatch(seed):
        return DroppedRow(where, "a spreadsheet rounded a number in this row")
    if not seed:
        return DroppedRow(where, "the seed is missing")
    return SeedRow(where, token, Secret(seed))


# A function that asks for the secret that decrypts a file. Its argument is "passphrase" or "pre-shared key NAME in
# hex".
Unlock = Callable[[str], Secret[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The text of a file, its root element if it is XML, and the user's options.

    `unlock` asks for the secret that decrypts the file. `now` is in Unix seconds. `wanted` is the encoding that the
    user gave, or None.
    """

    text: str
    root: Element | None
    unlock: Unlock
    now: float
    wanted: Encoding | None

    @property
    def first_line(self) -> str:
        """The first line that is neither empty nor a comment, or an empty string if there is none."""
        lines = (line for line in self.text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        return next(lines, "")
