"""Rows of tables and what their cells say: numbers, hashes, types and seeds, in whatever words vendors use."""

import csv
import re
from collections.abc import Callable, Iterator

from mfa_kit.adapters.seedfiles.encoding import SeedRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Factor, Token

DIGESTS = {"sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
# A spreadsheet writes long numbers like this and forgets the rest. It never leaves the sign out; a serial or a seed in
# hex that has an E among its digits does.
ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+", re.ASCII)
# More than any vendor has sold in one box.
ROWS = 500_000
CELLS = 64

Cells = list[str]
Line = tuple[str, Cells | DroppedRow]


def digest_named(name: str) -> str:
    """Return our name of a hash: `HMAC-SHA-256` and `SHA256` are one; unknown names stay as they are."""
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return DIGESTS.get(bare.removeprefix("totp").removeprefix("hmac"), name)


def number(text: str, *, otherwise: int) -> int:
    """Read a number of plain digits; -1, which nothing allows, for anything else."""
    if not text:
        return otherwise
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else -1


def factor_named(text: str) -> Factor:
    """Return the moving factor that a word means; nothing means HOTP. Raise ValueError for any other word."""
    match text.lower():
        case "totp" | "oath-totp" | "time":
            return Factor.TOTP
        case "" | "hotp" | "oath-hotp" | "hmac" | "event":
            return Factor.HOTP
        case _:
            raise ValueError("its type is neither hotp nor totp")


def split_lines(text: str) -> list[str]:
    """Return the lines as editors count them; str.splitlines knows more ends than these."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def split_rows(text: str) -> Iterator[Line]:
    """Yield each row that is no comment with its place; the delimiter is the commonest of the three that are used."""
    delimiter = max(",;\t", key=text.count)
    rows = split_lines(text)
    if len(rows) > ROWS:
        raise IntegrityFault(f"this table has more than {ROWS} rows", "ask the vendor for the tokens in several files")
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
    """Make a row, unless a cell says something that the standards do not know."""
    try:
        token = make()
    except ValueError as error:
        return DroppedRow(where, str(error))
    if ROUNDED.fullmatch(token.serial) or ROUNDED.fullmatch(seed):
        return DroppedRow(where, "a spreadsheet has rounded a number of this row")
    if not seed:
        return DroppedRow(where, "there is no seed")
    return SeedRow(where, token, Secret(seed))
