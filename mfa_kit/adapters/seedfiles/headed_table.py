"""Reads tables with a header: CSV from Entra, Token2, Deepnet and any other vendor that names the columns."""

import re
from collections.abc import Iterator, Mapping, Sequence

from mfa_kit.adapters.seedfiles.encoding import (
    IDENTIFIER,
    Cells,
    Line,
    SeedRow,
    decode_base32,
    decode_hex,
    digest_named,
    factor_named,
    number,
    seed_row,
    seeded_token,
    signed_number,
)
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import one_line
from mfa_kit.tokens.seeds import DroppedRow, Factor, SeededToken, Token

# The names that vendors, spreadsheets and python-pskc use for the columns, reduced to letters and digits.
NAMES = {
    "serial": {"serial", "serialnumber", "serialno", "tokenserial", "tokenserialnumber", "sn"},
    "id": {"id"},
    "seed": {"secretkey", "secret", "seed", "key", "hexkey", "base32", "base32secret", "seedhex", "secretkeybase32"},
    "period": {
        *("timeinterval", "timeintervalinseconds", "interval", "timestep", "timestepinseconds", "step", "period"),
        *("otpperiod", "totpperiod", "timeperiod", "refreshinterval"),
    },
    "maker": {"manufacturer", "maker", "vendor"},
    "model": {"model", "tokenmodel"},
    "factor": {"type", "tokentype", "otptype", "mode", "otpmode"},
    "digits": {
        *("digits", "otpdigits", "codedigits", "otplength", "otplen", "codelength", "length", "responselength"),
        *("numberofdigits", "numdigits"),
    },
    "digest": {
        *("hash", "hashfunction", "hashalgorithm", "hashtype", "hashlib", "digest", "crypto", "algorithmsuite"),
    },
    # This column names the hash algorithm or, as in PSKC, the token type: HOTP or TOTP.
    "algorithm": {"algorithm", "algo"},
    "counter": {"counter", "movingfactor", "initialcounter", "startcounter"},
    "drift": {"timedrift"},
    "encoding": {"responseencoding"},
    "check": {"responsecheck"},
    # Entra's column for the user. It is not used.
    "user": {"upn"},
}
# Fields for which a table may have more than one column without harm.
HARMLESS = {"maker", "model", "id", "user"}
FIELDS = {name: field for field, names in NAMES.items() for name in names}
# A column with an unknown name that matches this pattern may affect how codes are computed. The pattern excludes two
# columns of PSKC that do not affect codes.
TELLING = re.compile(
    r"(?!challenge|cryptomodule)(alg\Z|(otp)?time\Z|t0\Z|.*(digit|length|len\Z|period|interval|step|seconds|refresh|hash"
    r"|algo|crypt|hmac|sha\d|digest|type|mode(?!l)|factor|hotp|totp|counter|drift|encod|format))"
)
# If a file lacks its header, a seed may be taken for a column name. So messages do not quote a name with a digit and at
# least WITH_DIGITS letters and digits, a name without a digit and at least LETTERS letters, or a name of more than
# LONGEST_NAME characters.
WITH_DIGITS, LETTERS = 10, 24
LONGEST_NAME = 40
# Values of the column that says whether a code includes a check digit. These values mean that it does not.
UNCHECKED = {"", "false", "0", "no"}
# Values that occur in rows and are never the name of a column.
VALUE = re.compile(r"\d+|[ht]otp|(hmac-?)?sha-?\d+", re.ASCII | re.IGNORECASE)


def is_header(cells: Cells) -> bool:
    """Return whether a row is a header: it names a column that is understood, and contains no seeds or other values.

    The second condition is needed because a serial can look like the name of a column. A header without a column of
    seeds is one too: if the rows below it were read as rows without a header, another number could be taken for a seed.
    """
    return bool(_columns(cells)) and not any(VALUE.fullmatch(cell) or _is_seed(cell) for cell in cells)


def read_headed(table: Sequence[Line], header: Cells) -> Iterator[SeedRow | DroppedRow | None]:
    """Yield each row below a header: its token with its seed, or a DroppedRow with the reason why it cannot be used.

    Raise IntegrityFault if the header lacks a required column or has two columns for the same field, or if an unknown
    column may affect the codes.
    """
    named = _fields(header)
    if "seed" not in named:
        raise IntegrityFault(
            "the header of this table has no column for seed", "give the column of the seeds the name secret"
        )
    if telling := [name for name in _unknown(header) if TELLING.match(_reduced(header[name]))]:
        raise IntegrityFault(
            f"this table has columns that could change how codes are computed: {_quoted(header, telling)}",
            "rename them to type, digits, time interval, hash or counter, or delete them if they mean something else",
        )
    if twice := next((field for field in NAMES.keys() - HARMLESS if named.count(field) > 1), ""):
        raise IntegrityFault(
            f"the header of this table has more than one column for {twice}", "keep only one of them in the file"
        )
    return _headed(table, _columns(header))


def names_seeds(cells: Cells) -> bool:
    """Return whether one of the cells names a column of seeds."""
    return "seed" in _columns(cells)


def unknown_columns(header: Cells, _: Sequence[Line] = ()) -> list[str]:
    """Return a list with one note about the columns with unknown names, or an empty list if there are none."""
    unknown = [index for index in _unknown(header) if header[index]]
    return [f"columns that are not understood: {_quoted(header, unknown)}"] if unknown else []


def _unknown(header: Cells) -> list[int]:
    return [index for index, field in enumerate(_fields(header)) if not field]


def _quoted(header: Cells, columns: Sequence[int]) -> str:
    """Return the names of columns, separated by commas.

    A name that could be a seed is replaced by the number of its column.
    """
    return ", ".join(one_line(header[index]) if _is_name(header[index]) else f"column {index + 1}" for index in columns)


def _is_name(cell: str) -> bool:
    letters = _reduced(cell)
    most = WITH_DIGITS if re.search(r"\d", cell) else LETTERS
    return len(letters) < most and len(cell) <= LONGEST_NAME


def _reduced(cell: str) -> str:
    return re.sub(r"[^a-z0-9]", "", cell.lower())


def _columns(cells: Cells) -> dict[str, int]:
    """Return the index of each field's column, by field, for the fields that the header names."""
    return {field: column for column, field in enumerate(_fields(cells)) if field}


def _fields(cells: Cells) -> list[str]:
    """Return the field that each cell of a header names, or an empty string for an unknown name."""
    return [FIELDS.get(_reduced(cell), "") for cell in cells]


def _is_seed(cell: str) -> bool:
    """Return whether a cell is a seed rather than a word. A word may be valid base32, but contains no digit."""
    text = Secret(cell)
    seed = decode_hex(text) or (decode_base32(text) if any(map(str.isdecimal, cell)) else None)
    return seed is not None and isinstance(seeded_token("", Token(serial="T1"), seed), SeededToken)


def _headed(lines: Sequence[Line], columns: Mapping[str, int]) -> Iterator[SeedRow | DroppedRow | None]:
    """Yield each row below a header: its token with its seed, or a DroppedRow with the reason why it cannot be used.

    `lines` begins with the header, or with lines above it that cannot be parsed. `columns` has the index of each
    field's column. Raise IntegrityFault if the header has no column for the serial, or none that shows the type: the
    type itself, the algorithm, or the time interval, which only TOTP has.
    """
    numbered = columns.keys() & {"serial", "id"}
    if not numbered or not columns.keys() & {"factor", "period", "algorithm"}:
        lacks = "type or time interval" if numbered else "serial"
        raise IntegrityFault(
            f"the header of this table has no column for {lacks}", f"add a column named {lacks.partition(' or ')[0]}"
        )
    past = False
    for where, cells in lines:
        if isinstance(cells, DroppedRow):
            yield cells
        elif past:
            cell_by_field = {field: cells[index] for field, index in columns.items() if index < len(cells)}
            yield _under(where, cell_by_field, columns)
        past = past or not isinstance(cells, DroppedRow)


def _under(where: str, cells: Mapping[str, str], columns: Mapping[str, int]) -> SeedRow | DroppedRow:
    def make() -> Token:
        factor, digest = _algorithm(cells, columns)
        if cells.get("encoding", "").lower() not in {"", "decimal"} or cells.get("check", "").lower() not in UNCHECKED:
            raise ValueError("its codes are not plain digits")
        return Token(
            serial=cells.get("serial") or cells.get("id", ""),
            factor=factor,
            digest=digest,
            digits=number(cells.get("digits", ""), otherwise=6),
            period=number(cells.get("period", ""), otherwise=30),
            counter=number(cells.get("counter", ""), otherwise=0),
            drift=signed_number(cells.get("drift", "")),
            maker=cells.get("maker", ""),
            model=cells.get("model", ""),
        )

    return seed_row(where, cells.get("seed", ""), make)


def _algorithm(cells: Mapping[str, str], columns: Mapping[str, int]) -> tuple[Factor, str]:
    """Return the type and the hash of a row. Raise ValueError if its cells contradict each other."""
    named = cells.get("algorithm", "")
    is_type = IDENTIFIER.fullmatch(named.lower()) is not None
    types = {factor_named(name) for name in (cells.get("factor", ""), named if is_type else "") if name}
    digests = {digest_named(name) for name in (cells.get("digest", ""), "" if is_type else named) if name}
    if len(types) > 1 or len(digests) > 1:
        raise ValueError("two of its cells contradict each other")
    if not types and not cells.get("period"):
        timed = columns.keys() & {"period", "factor"} == {"period"}
        raise ValueError("the time interval is missing" if timed else "the type is missing")
    return next(iter(types), Factor.TOTP), next(iter(digests), "sha1")
