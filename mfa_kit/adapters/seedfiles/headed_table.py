"""Tables with a header: CSV of Entra, Token2 and Deepnet, and of any other vendor that names the columns."""

import re
from collections.abc import Iterator, Mapping, Sequence

from mfa_kit.adapters.seedfiles.cells import Cells, Line, digest_named, factor_named, number, seed_row
from mfa_kit.adapters.seedfiles.encoding import SeedRow, decode_base32, decode_hex, seeded_token
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Factor, SeededToken, Token

# Names that vendors and spreadsheets use for the fields, reduced to letters and digits.
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
# A column for each of these may appear more than once without harm.
HARMLESS = {"maker", "model"}
FIELDS = {name: field for field, names in NAMES.items() for name in names}
# Values that appear in rows and are never the name of a column.
VALUE = re.compile(r"\d+|[ht]otp|(hmac-?)?sha-?\d+", re.ASCII | re.IGNORECASE)


def is_header(cells: Cells) -> bool:
    """Tell a header from a row whose serial looks like a column's name.

    A header names a column of seeds and has no values.
    """
    return "seed" in _columns(cells) and not any(VALUE.fullmatch(cell) or _is_seed(cell) for cell in cells)


def read_headed(table: Sequence[Line], header: Cells) -> Iterator[SeedRow | DroppedRow | None]:
    """Yield the rows under a header. Raise IntegrityFault when the header lacks a column, or has one twice."""
    named = _fields(header)
    if twice := next((field for field in NAMES.keys() - HARMLESS if named.count(field) > 1), ""):
        raise IntegrityFault(
            f"the header of this table has more than one column for {twice}", "keep only one of them in the file"
        )
    return _headed(table, _columns(header))


def _columns(cells: Cells) -> dict[str, int]:
    """Return the column of each field that a header names."""
    return {field: column for column, field in enumerate(_fields(cells)) if field}


def _fields(cells: Cells) -> list[str]:
    """Return the field that each cell of a header names; empty when it names none."""
    return [FIELDS.get(re.sub(r"[^a-z0-9]", "", cell.lower()), "") for cell in cells]


def _is_seed(cell: str) -> bool:
    """Tell a seed from a word of a header. A long word may be valid base32, but has no digit, and no word is hex."""
    text = Secret(cell)
    seed = decode_hex(text) or (decode_base32(text) if any(map(str.isdecimal, cell)) else None)
    return seed is not None and isinstance(seeded_token("", Token(serial="T1"), seed), SeededToken)


def _headed(lines: Sequence[Line], columns: Mapping[str, int]) -> Iterator[SeedRow | DroppedRow | None]:
    """Read the rows under a header. Entra's table has TOTP tokens and their step; every other table has a type."""
    if "serial" not in columns or not columns.keys() & {"factor", "period"}:
        lacks = "serial" if "serial" not in columns else "type or time interval"
        raise IntegrityFault(
            f"the header of this table has no column for {lacks}", f"add a column named {lacks.partition(' or ')[0]}"
        )
    past = False
    for where, cells in lines:
        if isinstance(cells, DroppedRow):
            yield cells
        elif past:
            yield _under(where, {field: cells[at] for field, at in columns.items() if at < len(cells)}, columns)
        past = past or not isinstance(cells, DroppedRow)


def _under(where: str, cells: Mapping[str, str], columns: Mapping[str, int]) -> SeedRow | DroppedRow:
    def make() -> Token:
        factor = factor_named(cells.get("factor", "")) if "factor" in columns else Factor.TOTP
        if factor is Factor.TOTP and "period" in columns and not cells.get("period"):
            raise ValueError("the time interval is missing")
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

    return seed_row(where, cells.get("seed", ""), make)
