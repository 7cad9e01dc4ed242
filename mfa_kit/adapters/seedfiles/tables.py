"""Reads lists of tokens as text: tables (CSV with a header, Yubico's logs, plain rows), JSON and key URIs.

Each line is parsed separately, so an unclosed quotation mark affects only its own line. To add a layout, write its
function and add a row to LAYOUTS. Yubico's personalization tool can write its rows in two layouts, and a file may
contain both. The rows without a header come from LinOTP and privacyIDEA.

The objects of JSON have the format in which Entra imports hardware OATH tokens. Microsoft Graph's format is
`{"@context": "#$delta", "value": [{"serialNumber": …, "secretKey": …, …}]}`. A list of such objects and a single
object are also accepted. The field names are those that CSV files have as column names.

A list of key URIs (`otpauth://`) has one per line. The account in the label is the token's serial. Seeds are in base32.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from mfa_kit.adapters.seedfiles import headed_table
from mfa_kit.adapters.seedfiles.encoding import (
    DIGESTS,
    Cells,
    Contents,
    Line,
    SeedRow,
    decode_rows,
    digest_named,
    factor_named,
    number,
    seed_row,
    split_lines,
    split_rows,
)
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.file_formats import JsonError, read_json
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor, SeedFile, Token, joined_reasons

STAMP = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)
# Event types of the traditional layout of Yubico's personalization tool.
EVENTS = re.compile(r"logging start|oath-hotp|yubico otp|static password|challenge-response|configuration ")
OTHER_EVENT = "is not an OATH one-time password"
# The number of columns in Yubico's own layout, up to and including the time.
UP_TO_TIME = 6


def is_traditional(first: Cells) -> bool:
    """Return whether the first row of a log has the traditional layout, which begins with an event."""
    return EVENTS.match(first[0].lower()) is not None


def is_yubico_layout(first: Cells) -> bool:
    """Return whether the first row of a log has Yubico's own layout, whose sixth cell is a time."""
    return len(first) >= UP_TO_TIME and STAMP.match(first[UP_TO_TIME - 1]) is not None


def read_log(table: Sequence[Line]) -> Iterator[SeedRow | DroppedRow | None]:
    """Yield the token and seed in each row, or a DroppedRow with the reason why the row cannot be used.

    For a row that only says that logging has started, yield None. The layout of each row is recognized separately. The
    tool appends to its log, so a file contains both layouts if the user changed the layout in the settings.
    """
    for line in table:
        where, cells = line
        if isinstance(cells, DroppedRow):
            yield cells
        elif is_traditional(cells):
            yield _traditional(where, cells)
        elif is_yubico_layout(cells):
            yield _yubico(where, cells)
        else:
            yield DroppedRow(where, "it fits neither of the two layouts of Yubico's log")


def _traditional(where: str, cells: Cells) -> SeedRow | DroppedRow | None:
    """Parse a row of the traditional layout: `event,time,slot,public id,private id,key,…,digits,counter,…`.

    It has no column for the serial, so the public ID and the slot are used instead.
    """
    event = cells[0].lower()
    if event == "logging start":
        return None
    if event != "oath-hotp":
        return DroppedRow(where, f"it {OTHER_EVENT}")
    cells = [*cells, *[""] * 13]
    return seed_row(
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


def _yubico(where: str, cells: Cells) -> SeedRow | DroppedRow:
    """Parse `serial,public id,moving factor,key,access code,time,`, Yubico's own layout.

    A row is for OATH if it has a moving factor.
    """
    cells = [*cells, *[""] * 6]
    if not re.fullmatch(r"\d{1,9}", cells[2], re.ASCII):
        return DroppedRow(where, f"it {OTHER_EVENT}")
    return seed_row(
        where,
        cells[3],
        lambda: Token(serial=cells[0], factor=Factor.HOTP, counter=number(cells[2], otherwise=0), maker="Yubico"),
    )


VERSION = re.compile(r"#\s*version:\s*(\d{1,9})", re.ASCII)
# In version 2 of privacyIDEA's export, each row begins with the user, resolver and realm.
WITH_USERS, USER_CELLS = 2, 3

# PingID's file is `serial,seed[,counter]`. The file does not say whether the tokens are HOTP or TOTP; PingID asks for
# that during the import.
PINGS = "its third value must be a type, not a number as in PingID's files: write serial,seed,hotp,6,COUNTER"
UNTYPED = "rows without a type, such as {}, are read as HOTP; for TOTP write serial,seed,totp,6,30"
TYPE = 2  # the index of the cell with the type
# Columns that the exports of password managers have. Bitwarden's begin with `login_`.
PASSWORDS = {"username", "password"}

Rows = Iterator[SeedRow | DroppedRow | None]


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A kind of table: how to recognize it by its first row, and how to read it.

    `read` returns the tokens, given all rows and the first row that could be parsed. `notes` returns notes for the
    user, given the same first row and all rows. `encoding` is set if the layout allows only one encoding.
    """

    name: str
    recognizes: Callable[[Cells], bool]
    read: Callable[[Sequence[Line], Cells], Rows]
    encoding: Encoding | None = None
    notes: Callable[[Cells, Sequence[Line]], Sequence[str]] = lambda *_: ()


def is_text(contents: Contents) -> bool:
    """Return whether a file is not XML. If no other format recognizes such a file, it is read as a table."""
    return contents.root is None


def read_table(contents: Contents) -> SeedFile:
    """Return the tokens of a table, read with the first layout that recognizes the table's first row.

    Raise IntegrityFault if no row has a seed, and UsageFault for the export of a password manager.
    """
    table = list(split_rows(contents.text))
    first = _first_row(table)
    if {cell.lower().removeprefix("login_") for cell in first} >= PASSWORDS:
        raise UsageFault(
            "this file is an export of a password manager, such as KeePassXC",
            "write its key URIs (otpauth://) into a file, one per line",
        )
    layout = next((layout for layout in LAYOUTS if layout.recognizes(first)), BARE)
    if layout is BARE and _version(contents.text) == WITH_USERS:
        table = [(where, cells if isinstance(cells, DroppedRow) else cells[USER_CELLS:]) for where, cells in table]
        first = first[USER_CELLS:]
    encoding = layout.encoding or contents.wanted
    return seed_file(layout.name, layout.read(table, first), encoding, tuple(layout.notes(first, table)))


def _first_row(table: Sequence[Line]) -> Cells:
    """Return the cells of the first row that can be read. If there is none, raise IntegrityFault with the reasons."""
    first = next((cells for _, cells in table if not isinstance(cells, DroppedRow)), None)
    if first is None:
        reasons = joined_reasons([row for _, row in table if isinstance(row, DroppedRow)])
        raise IntegrityFault(reasons or "this file has no rows", "check that this is the right file")
    return first


def _version(text: str) -> int:
    marked = VERSION.match(text)
    return int(marked[1]) if marked else 1


def seed_file(layout: str, rows: Rows, encoding: Encoding | None, notes: tuple[str, ...]) -> SeedFile:
    """Decode the seeds in the rows of a table or JSON file, and return them as a SeedFile.

    Raise IntegrityFault if no row has a seed, because the file then probably has another layout than `layout`.
    """
    parsed_rows = [row for row in rows if row is not None]
    if not any(isinstance(row, SeedRow) for row in parsed_rows):
        dropped = [row for row in parsed_rows if isinstance(row, DroppedRow)]
        raise IntegrityFault(
            f"no row of this file can be read as {layout}; {joined_reasons(dropped) or 'it has no rows'}",
            "check that this is the right file",
        )
    return SeedFile(layout=layout, readings=decode_rows(parsed_rows, encoding), notes=notes)


def _bare(line: Line) -> SeedRow | DroppedRow:
    """Parse `serial,seed[,type[,digits[,step or counter[,hash]]]]`. As in LinOTP, a missing type means HOTP."""
    where, cells = line
    if isinstance(cells, DroppedRow):
        return cells
    if len(cells) < 2:  # noqa: PLR2004 - serial and seed
        return DroppedRow(where, "the seed is missing")
    serial, seed, factor, digits, *more = [*cells, "", ""]
    if factor.isdecimal():
        return DroppedRow(where, PINGS)

    def make() -> Token:
        cell_by_is_digest = {digest_named(cell) in DIGESTS: cell for cell in more if cell}
        moving = cell_by_is_digest.get(False, "")
        kind = factor_named(factor)
        return Token(
            serial=serial,
            factor=kind,
            digest=digest_named(cell_by_is_digest.get(True, "sha1")),
            digits=number(digits, otherwise=6),
            period=number(moving, otherwise=30) if kind is Factor.TOTP else 30,
            counter=number(moving, otherwise=0) if kind is Factor.HOTP else 0,
        )

    return seed_row(where, seed, make)


def _untyped(_: Cells, table: Sequence[Line]) -> Sequence[str]:
    """Return a note about the first row with a seed but without a type, or nothing if there is none."""
    for where, cells in table:
        if not isinstance(cells, DroppedRow) and any(cells[TYPE - 1 : TYPE]) and not any(cells[TYPE : TYPE + 1]):
            return (UNTYPED.format(where),)
    return ()


BARE = TableLayout(
    "serial, seed, type, digits, step",
    lambda _: True,
    lambda table, _: map(_bare, table),
    notes=_untyped,
)
LAYOUTS = (
    TableLayout(
        "CSV with a header",
        headed_table.is_header,
        headed_table.read_headed,
        notes=headed_table.unknown_columns,
    ),
    TableLayout(
        "Yubico's log",
        lambda first: is_traditional(first) or is_yubico_layout(first),
        lambda table, _: read_log(table),
        Encoding.HEX,
    ),
)


# The maximum number of different field names in a file. No format has so many.
FIELDS = 64
# The maximum number of values, which are counted before parsing, because an empty list takes about 60 octets of memory
# and two characters of the file. 200,000 tokens with nine fields have fewer.
VALUES = 2_000_000


def is_json(contents: Contents) -> bool:
    """Return whether a file begins like a JSON object or list."""
    return contents.root is None and contents.text.lstrip().startswith(("{", "["))


def read_json_tokens(contents: Contents) -> SeedFile:
    """Return the tokens in the file. Raise IntegrityFault if it is not JSON, or has no seeds or too many fields."""
    if sum(map(contents.text.count, "[{,")) > VALUES:
        raise IntegrityFault("this JSON has too many values", "ask the vendor to split the tokens into several files")
    try:
        document = read_json(contents.text)
    except JsonError as error:
        raise IntegrityFault(f"this file is not JSON: {error}", "ask the vendor for the file again") from None
    objects = document.get("value", [document]) if isinstance(document, dict) else document
    tokens = objects if isinstance(objects, list) else []
    # Names that begin with @ are OData annotations.
    named = (name for token in tokens if isinstance(token, dict) for name in token if not name.startswith("@"))
    names = list(dict.fromkeys(named))
    if not headed_table.names_seeds(names) or len(names) > FIELDS:
        raise IntegrityFault("this JSON has no objects with a secretKey", "check that this is the right file")
    lines: Iterator[Line] = (_line(f"token {number}", token, names) for number, token in enumerate(tokens, 1))
    rows = headed_table.read_headed([("header", names), *lines], names)
    notes = tuple(headed_table.unknown_columns(names))
    return seed_file("JSON", rows, contents.wanted, notes)


def _line(where: str, token: object, names: list[str]) -> Line:
    if not isinstance(token, Mapping):
        return where, DroppedRow(where, "it is not a JSON object")
    values = [token.get(name) for name in names]
    if any(isinstance(value, float) for value in values):
        return where, DroppedRow(where, "one of its numbers has a fraction")
    # Objects, lists and null count as empty, because they are not valid in any field that mfa-kit reads.
    return where, [str(value).strip() if isinstance(value, str | int) else "" for value in values]


SCHEME = "otpauth://"


def is_uri_list(contents: Contents) -> bool:
    """Return whether the first line is a key URI."""
    return contents.root is None and contents.first_line.lower().lstrip().startswith(SCHEME)


def read_uri_list(contents: Contents) -> SeedFile:
    """Return the tokens in a list of key URIs. A line that is not a usable key URI is dropped with the reason."""
    rows = _uri_rows(split_lines(contents.text))
    return SeedFile(layout="list of key URIs", readings=decode_rows(rows, contents.wanted, fixed=Encoding.BASE32))


def _uri_rows(lines: Sequence[str]) -> Iterator[SeedRow | DroppedRow]:
    for ordinal, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield _uri_row(f"line {ordinal}", line.strip())
            except ValueError as error:
                yield DroppedRow(f"line {ordinal}", str(error) if type(error) is _OddUri else "it is not a key URI")


class _OddUri(ValueError):
    """Raised for a URI with a value that mfa-kit does not accept. The message does not quote the URI."""


def _uri_row(where: str, line: str) -> SeedRow:
    if not line.lower().startswith(SCHEME):
        raise _OddUri("it is not a key URI")
    uri = urlsplit(line)
    parameters = parse_qsl(uri.query, keep_blank_values=True, max_num_fields=16)
    fields = {name.lower(): value for name, value in parameters}
    if len(fields) != len(parameters):
        raise _OddUri("a parameter occurs twice")
    if fields.get("encoder", "").lower() == "steam":
        raise _OddUri("its codes are not plain digits")
    if uri.netloc.lower() not in {"totp", "hotp"}:
        raise _OddUri("its type is neither totp nor hotp")
    if not fields.get("secret"):
        raise _OddUri("it has no secret")
    issuer, _, account = unquote(uri.path.removeprefix("/"), errors="strict").rpartition(":")
    token = Token(
        serial=account.strip(),
        factor=Factor(uri.netloc.lower()),
        digest=digest_named(fields.get("algorithm") or "sha1"),
        digits=number(fields.get("digits", ""), otherwise=6),
        period=number(fields.get("period", ""), otherwise=30),
        counter=number(fields.get("counter", ""), otherwise=0),
        maker=fields.get("issuer") or issuer.strip(),
    )
    return SeedRow(where, token, Secret(fields["secret"]))
