"""Decodes seeds, splits tables into rows, and parses numbers, hashes and types in the spellings that vendors use.

All rows of a file together determine whether the seeds are hex or base32; this is never guessed.
"""

import base64
import binascii
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.file_formats import EXCEL_SEPARATOR, ROUNDED, plain_cell
from mfa_kit.core.models import folded
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import OCTETS, Decoding, DroppedRow, Encoding, Factor, SeededToken, Token

INEXACT = "its seed is not exactly base32, and may be damaged; --seed-encoding base32 reads it as oathtool does"


@dataclass(frozen=True, slots=True)
class SeedRow:
    """A row of a seed file: its position `where`, its token, and its seed as written in the file, not decoded yet."""

    where: str
    token: Token
    text: Secret[str]


def decode_hex(text: Secret[str]) -> Seed | None:
    """Return the seed in a hex string, or None if the string is not hex.

    Blanks or hyphens may separate groups of equal length.
    """
    try:
        return Seed(binascii.unhexlify(_joined(text).reveal()))
    except ValueError:
        return None


def decode_base32(text: Secret[str]) -> Seed | None:
    """Return the seed in a base32 string (RFC 4648), or None if the string is not base32.

    The string may be in lower case, without padding, or in groups.
    """
    try:
        bare = Secret(_joined(text).reveal().rstrip("="))
        seed = Seed(base64.b32decode(bare.reveal() + "=" * (-len(bare.reveal()) % 8), casefold=True))
    except ValueError:
        return None
    # b32decode ignores the bits after the last octet. They are zero in a correct text; if not, a letter is wrong.
    return seed if _written(seed) == Secret(bare.reveal().upper()) else None


def decode_base32_leniently(text: Secret[str]) -> Seed | None:
    """Return the seed in a string that `decode_base32` or oathtool can decode, or None.

    oathtool ignores blanks and the trailing bits of each group of eight letters, and accepts several padded groups in a
    row.
    """
    if strict := decode_base32(text):
        return strict
    bare = Secret(text.reveal().replace(" ", ""))
    groups = (Secret(bare.reveal()[start : start + 8].ljust(8, "=")) for start in range(0, len(bare.reveal()), 8))
    try:
        return Seed(b"".join(base64.b32decode(group.reveal(), casefold=True) for group in groups))
    except ValueError:
        return None


def _joined(text: Secret[str]) -> Secret[str]:
    """Return a seed's text without separators.

    If there are separators, raise ValueError unless there are at least three groups, all of equal length except the
    last, which may be shorter. If two groups were allowed, a letter that was mistyped as a blank would result in a
    shorter seed.
    """
    groups = Secret(re.split("[ -]", text.reveal()))
    sizes = [len(group) for group in groups.reveal()]
    if len(sizes) == 1:
        return text
    if len(sizes) == 2 or len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:  # noqa: PLR2004 - the docstring explains it
        raise ValueError("the groups are not of equal length")
    return Secret("".join(groups.reveal()))


def _written(seed: Seed) -> Secret[str]:
    return Secret(base64.b32encode(seed.reveal()).decode().rstrip("="))


def seeded_token(where: str, token: Token, seed: Seed, other: Seed | None = None) -> SeededToken | DroppedRow:
    """Return a token with its seed, or a dropped row with the reason if the standards do not allow a value.

    `other` is the seed decoded with the other possible encoding (hex or base32), or None.
    """
    octets = len(seed.reveal())
    if wrong := token.wrong():
        return DroppedRow(where, wrong)
    if octets not in OCTETS:
        return DroppedRow(where, f"its seed has {octets} bytes; {OCTETS[0]} to {OCTETS[-1]} are supported")
    return SeededToken(token=replace(token, octets=octets), seed=seed, where=where, other=other)


def gather_reading(encoding: Encoding, rows: Iterable[SeededToken | DroppedRow]) -> Decoding:
    """Gather rows into a Decoding: the tokens of a seed file, and the rows that were dropped.

    If a serial occurs twice, the second row is dropped. If the two rows differ in the seed or in a parameter, both are
    dropped. Different spellings of a serial count as equal, because people and scanners spell serials differently.
    """
    keys: dict[str, SeededToken] = {}
    dropped: list[DroppedRow] = []
    torn: set[str] = set()
    for row in rows:
        if isinstance(row, DroppedRow):
            dropped.append(row)
            continue
        name = folded(row.token.serial)
        first = keys.setdefault(name, row)
        if first is row:
            continue
        same = first.seed == row.seed and replace(first.token, serial=row.token.serial) == row.token
        if not same:
            torn.add(name)
        reason = f"{row.token.serial} is a duplicate of {first.where}"
        dropped.append(
            DroppedRow(row.where, reason if same else f"{reason}, with a different seed or different parameters")
        )
    for name in torn:
        first = keys.pop(name)
        dropped.append(
            DroppedRow(first.where, f"{first.token.serial} occurs again, with a different seed or different parameters")
        )
    return Decoding(encoding=encoding, keys=tuple(keys.values()), dropped=tuple(dropped))


@dataclass(frozen=True, slots=True)
class _DecodedRow:
    """A row with its seed decoded from hex and from base32.

    `exact` is false if the seed is not base32, or if blanks or surplus bits had to be ignored to decode it.
    """

    row: SeedRow
    hex: Seed | None
    base32: Seed | None
    exact: bool

    @property
    def only(self) -> Encoding | None:
        """The only encoding that the seed can have; None if both or neither fit.

        If the seed is not hex, base32 fits only if it is `exact`.
        """
        if self.hex:
            return None if self.base32 else Encoding.HEX
        return Encoding.BASE32 if self.exact else None


def decode_rows(
    rows: Iterable[SeedRow | DroppedRow], user_encoding: Encoding | None, *, fixed: Encoding | None = None
) -> tuple[Decoding, ...]:
    """Decode the seeds in rows, and return a Decoding for each possible encoding.

    The encoding is that of the format (`fixed`), or else the user's, or else determined from the rows. If both hex and
    base32 are possible, return a Decoding for each. Base32 with surplus blanks or bits is accepted if the user gave
    base32, or if hex is possible too, because a code of a token then shows which encoding is right. Raise
    IntegrityFault if some rows can only be hex and others only base32.
    """
    decoded, dropped = list[_DecodedRow](), list[DroppedRow]()
    for row in rows:
        if isinstance(row, DroppedRow):
            dropped.append(row)
        else:
            exact = decode_base32(row.text) is not None
            decoded.append(_DecodedRow(row, decode_hex(row.text), decode_base32_leniently(row.text), exact))
    known_encoding = fixed or user_encoding
    fitting = (known_encoding,) if known_encoding else _fitting(decoded)
    exactly = fitting == (Encoding.BASE32,) and user_encoding is not Encoding.BASE32
    return tuple(
        gather_reading(encoding, [*dropped, *(_token(row, encoding, exactly=exactly) for row in decoded)])
        for encoding in fitting
    )


def _fitting(decoded: Sequence[_DecodedRow]) -> tuple[Encoding, ...]:
    """Return the possible encodings of a file's seeds: the encoding that a row requires, or else all that may fit.

    Raise IntegrityFault if some rows can only be hex and others only base32.
    """
    proofs = {row.only: row.row for row in reversed(decoded)}
    hexed, lettered = proofs.get(Encoding.HEX), proofs.get(Encoding.BASE32)
    if hexed and lettered:
        raise IntegrityFault(
            f"the seed at {hexed.where} can only be hex and the seed at {lettered.where} only base32",
            "ask the vendor which encoding is right, and set --seed-encoding; rows that do not fit are then skipped",
        )
    if hexed or lettered:
        return (Encoding.HEX if hexed else Encoding.BASE32,)
    return (Encoding.HEX, Encoding.BASE32) if _may_be_hex(decoded) else (Encoding.BASE32,)


def _may_be_hex(decoded: Sequence[_DecodedRow]) -> bool:
    return any(row.hex for row in decoded) or not any(row.base32 for row in decoded)


def _token(decoded: _DecodedRow, encoding: Encoding, *, exactly: bool) -> SeededToken | DroppedRow:
    """Return a row's token with its seed decoded, or a dropped row with the reason.

    With `exactly`, base32 with surplus blanks or bits is not accepted.
    """
    row = decoded.row
    seed, other = (decoded.hex, decoded.base32) if encoding is Encoding.HEX else (decoded.base32, decoded.hex)
    if seed is None:
        return DroppedRow(row.where, f"its seed is not {encoding}")
    if exactly and not decoded.exact:
        return DroppedRow(row.where, INEXACT)
    return seeded_token(row.where, row.token, seed, other)


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
