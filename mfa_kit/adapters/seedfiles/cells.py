"""Rows of tables and the meaning of their cells: numbers, hashes, types and seeds, in the words that vendors use."""

import csv
import re
from collections.abc import Callable, Iterator

from mfa_kit.adapters.seedfiles.encoding import SeedRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Factor, Token

DIGESTS = {"sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
# The identifiers of RFC 6030 and its drafts end in the type: `urn:ietf:params:xml:ns:keyprov:pskc:totp`.
IDENTIFIER = re.compile(r"(?:.*[:#/])?(?:oath-)?([ht]otp)")
# A spreadsheet rounds long numbers to this form. It always writes the sign, unlike a hex serial or seed with an E among
# its digits.
ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+", re.ASCII)
# More rows than any vendor has sold in one box.
ROWS = 500_000
CELLS = 64

Cells = list[str]
Line = tuple[str, Cells | DroppedRow]


def digest_named(name: str) -> str:
    """Return mfa-kit's name for a hash: `HMAC-SHA-256` and `SHA256` are the same. Unknown names stay unchanged."""
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return DIGESTS.get(bare.removeprefix("totp").removeprefix("hmac"), name)


def number(text: str, *, otherwise: int) -> int:
    """Parse a number of plain digits. Return -1, which is never allowed, for anything else."""
    if not text:
        return otherwise
    return int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else -1


def signed_number(text: str) -> int:
    """Parse an integer. Empty means 0. Raise ValueError for anything else."""
    if not re.fullmatch(r"(-?\d{1,9})?", text, re.ASCII):
        raise ValueError("its clock drift is not a number")
    return int(text or 0)


def factor_named(text: str) -> Factor:
    """Return the moving factor that a word names. Empty means HOTP. Raise ValueError for any other word."""
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
    """Return the lines as editors count them. str.splitlines recognizes more line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def split_rows(text: str) -> Iterator[Line]:
    """Yield each row that is not a comment, with its place.

    The delimiter is the most frequent of the three possible ones.
    """
    delimiter = max(",;\t", key=text.count)
    rows = split_lines(text)
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
            yield where, [cell.strip() for cell in cells[:CELLS]]


def seed_row(where: str, seed: str, make: Callable[[], Token]) -> SeedRow | DroppedRow:
    """Return a row, unless a cell has a value that the standards do not define."""
    try:
        token = make()
    except ValueError as error:
        return DroppedRow(where, str(error))
    if ROUNDED.fullmatch(token.serial) or ROUNDED.fullmatch(seed):
        return DroppedRow(where, "a spreadsheet rounded a number in this row")
    if not seed:
        return DroppedRow(where, "the seed is missing")
    return SeedRow(where, token, Secret(seed))
