"""Tables: CSV of Entra, Token2 and Deepnet, of LinOTP and privacyIDEA, bare `serial,seed`, and Yubico's logs.

Each line is read by itself, so a quotation mark that is not closed costs its line and not the rest of the file.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from mfa_kit.adapters.seedfiles.encoding import Row, from_base32, from_hex, key, readings
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, SeededToken, SeedFile, Token, joined_reasons

# What the headers of vendors and spreadsheets call our fields, letters and digits only.
NAMES = {
    "serial": {"serial", "serialnumber", "serialno", "tokenserial", "tokenserialnumber", "sn"},
    "seed": {"secretkey", "secret", "seed", "key", "hexkey", "base32", "base32secret", "seedhex", "secretkeybase32"},
    "period": {"timeinterval", "timeintervalinseconds", "interval", "timestep", "step", "period"},
    "maker": {"manufacturer", "maker", "vendor"},
    "model": {"model", "tokenmodel"},
    "factor": {"type", "tokentype", "otptype"},
    "digits": {"digits", "otplength", "otplen", "codelength", "length"},
    "digest": {"hash", "hashfunction", "hashalgorithm", "algorithm", "hashlib", "digest"},
    "counter": {"counter", "movingfactor"},
}
# Of these two columns do no harm.
HARMLESS = {"maker", "model"}
FIELDS = {name: field for field, names in NAMES.items() for name in names}
DIGESTS = {"sha1": "sha1", "sha256": "sha256", "sha512": "sha512"}
# A spreadsheet writes long numbers like this and forgets the rest. It never leaves the sign out; a serial or a seed in
# hex that has an E among its digits does.
ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+", re.ASCII)
# What stands in rows, and what no column is called.
VALUE = re.compile(r"\d+|[ht]otp|(hmac-?)?sha-?\d+", re.ASCII | re.IGNORECASE)
VERSION = re.compile(r"#\s*version:\s*(\d{1,9})", re.ASCII)
STAMP = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)
# Yubico's personalization tool, the event types of its traditional layout.
EVENTS = re.compile(r"logging start|oath-hotp|yubico otp|static password|challenge-response|configuration ")
OTHER_EVENT = "is no one-time password of OATH"
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


def read(text: str, wanted: Encoding | None) -> SeedFile:
    """Recognize the layout by its content. Raise IntegrityFault when it is none."""
    marked = VERSION.match(text)
    version = int(marked[1]) if marked else 1
    table = list(split(text))
    first = next((cells for _, cells in table if not isinstance(cells, DroppedRow)), None)
    if first is None:
        said = joined_reasons([row for _, row in table if isinstance(row, DroppedRow)])
        raise IntegrityFault(said or "there is no row in this file", "look whether it is the right file")
    if _is_header(first):
        named = _fields(first)
        if twice := next((field for field in NAMES.keys() - HARMLESS if named.count(field) > 1), ""):
            raise IntegrityFault(
                f"the header of this table names more than one column for {twice}", "leave one of them in the file"
            )
        return _table("CSV with a header", _headed(table, _header(first)), wanted)
    if EVENTS.match(first[0].lower()):
        return _table("Yubico's log, traditional layout", map(_traditional, table), Encoding.HEX)
    if len(first) >= 6 and STAMP.match(first[5]):  # noqa: PLR2004 - Yubico's own layout has its time there
        return _table("Yubico's log, Yubico layout", map(_yubico, table), Encoding.HEX)
    if version == 2:  # noqa: PLR2004 - privacyIDEA: user, resolver and realm come first
        table = [(where, cells if isinstance(cells, DroppedRow) else cells[3:]) for where, cells in table]
    return _table("serial, seed, type, digits, step", map(_bare, table), wanted)


def lines(text: str) -> list[str]:
    """Return the lines as editors count them; str.splitlines knows more ends than these."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def split(text: str) -> Iterator[Line]:
    """Yield each row that is no comment with its place; the delimiter is the commonest of the three that are used."""
    delimiter = max(",;\t", key=text.count)
    rows = lines(text)
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


def _table(layout: str, rows: Iterator[Row | DroppedRow | None], wanted: Encoding | None) -> SeedFile:
    """Turn rows into tokens; a layout of which not one row holds a seed was not that layout."""
    found = [row for row in rows if row is not None]
    taken = [row for row in found if isinstance(row, Row)]
    dropped = [row for row in found if isinstance(row, DroppedRow)]
    if not taken:
        raise IntegrityFault(
            f"no row of this file can be taken as {layout}; {joined_reasons(dropped) or 'there is none'}",
            "look whether it is the right file",
        )
    return SeedFile(layout=layout, readings=readings(taken, dropped, wanted))


def _row(where: str, seed: str, make: Callable[[], Token]) -> Row | DroppedRow:
    """Make a row, unless a cell says something that the standards do not know."""
    try:
        token = make()
    except ValueError as error:
        return DroppedRow(where, str(error))
    if ROUNDED.fullmatch(token.serial) or ROUNDED.fullmatch(seed):
        return DroppedRow(where, "a spreadsheet has rounded a number of this row")
    if not seed:
        return DroppedRow(where, "there is no seed")
    return Row(where, token, Secret(seed))


def _factor(text: str) -> Factor:
    match text.lower():
        case "totp" | "oath-totp" | "time":
            return Factor.TOTP
        case "" | "hotp" | "oath-hotp" | "hmac" | "event":
            return Factor.HOTP
        case _:
            raise ValueError("its type is neither hotp nor totp")


def _header(cells: Cells) -> dict[str, int]:
    """Return the column of each field that a header names."""
    return {field: column for column, field in enumerate(_fields(cells)) if field}


def _fields(cells: Cells) -> list[str]:
    """Return the field that each cell of a header names, empty where it names none."""
    return [FIELDS.get(re.sub(r"[^a-z0-9]", "", cell.lower()), "") for cell in cells]


def _is_header(cells: Cells) -> bool:
    """Tell a header from a row whose serial is called like a column: a header names one of seeds, and has no value."""
    return "seed" in _header(cells) and not any(VALUE.fullmatch(cell) or _is_seed(cell) for cell in cells)


def _is_seed(cell: str) -> bool:
    """Tell a seed from a word of a header: long words can be base32 too, but have no digit, and none is hex."""
    text = Secret(cell)
    seed = from_hex(text) or (from_base32(text) if any(map(str.isdecimal, cell)) else None)
    return seed is not None and isinstance(key("", Token(serial="T1"), seed), SeededToken)


def _headed(lines: Sequence[Line], columns: Mapping[str, int]) -> Iterator[Row | DroppedRow | None]:
    """Read rows under a header. Entra's table is of TOTP tokens and has their step; any other has a type."""
    if "serial" not in columns or not columns.keys() & {"factor", "period"}:
        lacks = "serial" if "serial" not in columns else "type or time interval"
        raise IntegrityFault(
            f"the header of this table names no {lacks}", f"add a column named {lacks.partition(' or ')[0]}"
        )
    past = False
    for where, cells in lines:
        if isinstance(cells, DroppedRow):
            yield cells
        elif past:
            yield _under(where, {field: cells[at] for field, at in columns.items() if at < len(cells)}, columns)
        past = past or not isinstance(cells, DroppedRow)


def _under(where: str, cells: Mapping[str, str], columns: Mapping[str, int]) -> Row | DroppedRow:
    def make() -> Token:
        factor = _factor(cells.get("factor", "")) if "factor" in columns else Factor.TOTP
        if factor is Factor.TOTP and "period" in columns and not cells.get("period"):
            raise ValueError("there is no time interval")
        return Token(
            serial=cells.get("serial", ""),
            factor=factor,
            digest=digest_named(cells.get("digest") or "sha1"),
            digits=number(cells.get("digits", ""), otherwise=6),
            period=number(cells.get("period", ""), otherwise=30),
            counter=number(cells.get("counter", ""), otherwise=0),
            maker=cells.get("maker", ""),
            model=cells.get("model", ""),
        )

    return _row(where, cells.get("seed", ""), make)


def _bare(line: Line) -> Row | DroppedRow:
    """Read `serial,seed[,type[,digits[,step or counter[,hash]]]]`; LinOTP's type is HOTP where none is given."""
    where, cells = line
    if isinstance(cells, DroppedRow):
        return cells
    if len(cells) < 2:  # noqa: PLR2004 - serial and seed
        return DroppedRow(where, "there is no seed")
    serial, seed, factor, digits, *more = [*cells, "", ""]

    def make() -> Token:
        rest = {digest_named(cell) in DIGESTS: cell for cell in more if cell}
        moving = rest.get(False, "")
        kind = _factor(factor)
        return Token(
            serial=serial,
            factor=kind,
            digest=digest_named(rest.get(True, "sha1")),
            digits=number(digits, otherwise=6),
            period=number(moving, otherwise=30) if kind is Factor.TOTP else 30,
            counter=number(moving, otherwise=0) if kind is Factor.HOTP else 0,
        )

    return _row(where, seed, make)


def _traditional(line: Line) -> Row | DroppedRow | None:
    """Read `event,time,slot,public id,private id,key,…,digits` of Yubico's personalization tool; it has no serials."""
    where, cells = line
    if isinstance(cells, DroppedRow):
        return cells
    event = cells[0].lower()
    if event == "logging start":
        return None
    if event != "oath-hotp":
        return DroppedRow(where, f"it {OTHER_EVENT}")
    cells = [*cells, *[""] * 13]
    return _row(
        where,
        cells[5],
        lambda: Token(
            serial=cells[3] and f"{cells[3]}:{cells[2]}",
            factor=Factor.HOTP,
            digits=number(cells[11], otherwise=6),
            counter=number(cells[12], otherwise=0),
            maker="Yubico",
        ),
    )


def _yubico(line: Line) -> Row | DroppedRow:
    """Read `serial,public id,moving factor,key,access code,time,`; the moving factor says that it is OATH."""
    where, cells = line
    if isinstance(cells, DroppedRow):
        return cells
    cells = [*cells, *[""] * 6]
    if not re.fullmatch(r"\d{1,9}", cells[2], re.ASCII):
        return DroppedRow(where, f"it {OTHER_EVENT}")
    return _row(
        where,
        cells[3],
        lambda: Token(serial=cells[0], factor=Factor.HOTP, counter=number(cells[2], otherwise=0), maker="Yubico"),
    )
