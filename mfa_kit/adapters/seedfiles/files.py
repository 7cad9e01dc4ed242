"""Reads the tokens in a seed file. The format is recognized by the content, not the name. All sizes are limited.

Files without seeds are read here too: serials of tokens that AWS sells, one per line, and CSV with codes that people
read from tokens (`serial,code[,second code][,time]`, where the header is optional).
"""

import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from mfa_kit.adapters.seedfiles import tables, xml_files
from mfa_kit.adapters.seedfiles.encoding import Cells, Contents, Unlock, split_lines, split_rows
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import Message, command, suggest
from mfa_kit.core.models import folded, sold_by_aws
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import encoding_of
from mfa_kit.posix.open_files import NO_WAIT
from mfa_kit.tokens.seeds import (
    Decoding,
    DroppedRow,
    Encoding,
    Factor,
    SeedFile,
    Token,
    TypedCodes,
    WrittenReading,
    joined_reasons,
)

# Some displays show a code as two groups of digits.
CODE = re.compile(r"\d{6,9}|\d{3,5} \d{3,4}", re.ASCII)
PLAIN = re.compile(r"[A-Za-z ]+")
# RFC 4226 was published in 2005, so no code is older. A time may be up to AHEAD seconds in the future, because the
# clock of the computer that recorded the time may be fast.
FIRST = datetime(2005, 1, 1, tzinfo=UTC).timestamp()
AHEAD = 60


def read_written(text: str, *, now: float) -> list[WrittenReading | DroppedRow]:
    """Return the serial and the codes in each row, or a DroppedRow with the reason why the row cannot be used.

    If a row has no time, its codes count as displayed at `now` (Unix seconds). A time without a UTC offset is in UTC.
    """
    return list(_rows(text, now))


def _rows(text: str, now: float) -> Iterator[WrittenReading | DroppedRow]:
    for ordinal, (where, cells) in enumerate(split_rows(text)):
        if isinstance(cells, DroppedRow):
            yield cells
        elif ordinal or len(cells) < 2 or not PLAIN.fullmatch(cells[1]):  # noqa: PLR2004 - or else it is the header
            yield _written(where, cells, now)


def _written(where: str, cells: Cells, now: float) -> WrittenReading | DroppedRow:
    codes = tuple("".join(cell.split()) for cell in cells[1:3] if CODE.fullmatch(cell))
    times = [cell for cell in cells[1:] if cell and not CODE.fullmatch(cell)]
    if not cells[0] or not codes:
        return DroppedRow(where, "it needs a serial number and a code")
    try:
        time = _moment(times[0]) if times else now
    except ValueError:
        return DroppedRow(where, "the value after its serial number is neither a code nor a time")
    if not FIRST <= time <= now + AHEAD:
        return DroppedRow(where, "its time is before 2005" if time < FIRST else "its time is in the future")
    return WrittenReading(where, cells[0], TypedCodes(codes=codes, at=time))


def _moment(text: str) -> float:
    if re.fullmatch(r"\d{9,11}", text, re.ASCII):
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_serial_list(contents: Contents) -> bool:
    """Return whether the first line is the serial of a token that AWS sells."""
    return contents.root is None and sold_by_aws(contents.first_line)


def read_serial_list(contents: Contents) -> SeedFile:
    """Read serials, one per line. A serial that occurs twice, even with different spellings, counts as one token."""
    bare: dict[str, Token] = {}
    dropped = []
    for ordinal, line in enumerate(split_lines(contents.text), 1):
        serial = line.strip()
        if sold_by_aws(serial):
            bare.setdefault(folded(serial), Token(serial=serial, maker="sold by AWS"))
        elif serial and not serial.startswith("#"):
            dropped.append(DroppedRow(f"line {ordinal}", "it is not a serial number of a token that AWS sold"))
    return SeedFile(
        layout="serials of AWS's hardware TOTP tokens",
        readings=(Decoding(encoding=Encoding.HEX, keys=(), dropped=tuple(dropped)),) if dropped else (),
        bare=tuple(bare.values()),
    )


LARGEST = 64 * 2**20
# The lengths in octets of seeds for SHA-256 and SHA-512 (RFC 6238).
LONG = {32, 64}
# Files that may contain a seed file, such as archives: the first octets, what the file is, and what to do.
WRAPPED = (
    (b"PK\x03\x04", "a spreadsheet or a ZIP archive", "unpack it, or save the table as CSV"),
    (b"\x1f\x8b", "compressed with gzip", "decompress it: gunzip FILE"),
    (b"-----BEGIN PGP", "encrypted with PGP", Message("decrypt it", command("gpg --decrypt FILE"))),
    (b"age-encryption.org/", "encrypted with age", "decrypt it: age --decrypt -i IDENTITY FILE"),
    (b"-----BEGIN AGE", "encrypted with age", "decrypt it: age --decrypt -i IDENTITY FILE"),
)
# The beginning of an export of Google Authenticator.
MIGRATION = re.compile(r"\s*otpauth-migration:", re.IGNORECASE)

# Matches an entry of a SafeWord .dat file, whose format is LDIF. mfa-kit does not read such files, because they do not
# contain the state of a token's counter or clock.
SAFEWORD = re.compile(r"^(dn:\s*scc|scc(AuthenticatorId|TokenData)\b)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SeedFormat:
    """A seed file format: a function that recognizes it and a function that reads its tokens."""

    recognizes: Callable[[Contents], bool]
    read: Callable[[Contents], SeedFile]


def _refuse(description: str, hint: str) -> Callable[[Contents], SeedFile]:
    """Return a function that refuses a file: it raises UsageFault, which says what the file is."""

    def refuse(_: Contents) -> NoReturn:
        raise UsageFault(f"this file is {description}", hint)

    return refuse


# The first format that recognizes a file reads it. To add a format, write a module and add a row here.
FORMATS = (
    SeedFormat(
        lambda contents: SAFEWORD.search(contents.text) is not None,
        _refuse("a .dat file of SafeWord, which mfa-kit does not read", "ask the vendor for PSKC or CSV"),
    ),
    SeedFormat(
        lambda contents: MIGRATION.match(contents.text) is not None,
        _refuse(
            "an export of an authenticator app, which has no display tokens",
            suggest("make a backup of a device", "backup add USER --image FILE"),
        ),
    ),
    SeedFormat(xml_files.is_pskc, xml_files.read_pskc),
    SeedFormat(xml_files.is_safenet, xml_files.read_safenet),
    SeedFormat(tables.is_uri_list, tables.read_uri_list),
    SeedFormat(tables.is_json, tables.read_json_tokens),
    SeedFormat(is_serial_list, read_serial_list),
    SeedFormat(tables.is_text, tables.read_table),
)


def load_file(path: Path) -> bytes:
    """Return the content of a file. Raise UsageFault if it cannot be read, is not a regular file, or is too large."""
    try:
        handle = os.open(path, os.O_RDONLY | NO_WAIT)
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "give the vendor's seed file") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageFault(f"{path} is not a file", "give the vendor's seed file")
    with open(handle, "rb") as file:  # noqa: PTH123 - an open descriptor
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UsageFault(
            f"{path} is larger than {LARGEST >> 20} MiB", "ask the vendor to split the tokens into several files"
        )
    return content


def read_seed_file(content: bytes, unlock: Unlock, *, now: float, encoding: Encoding | None = None) -> SeedFile:
    """Return the tokens in a seed file, and each rejected row with the reason.

    `unlock` asks for the passphrase or key that decrypts the file, `now` is in Unix seconds, and `encoding` is the
    encoding that the user gave, or None. Raise IntegrityFault if the file is damaged, is not a seed file or has no
    usable token. Raise UsageFault if it cannot be decrypted, is one of WRAPPED, or is SafeWord's .dat file or an app's
    export.
    """
    for magic, description, hint in WRAPPED:
        if content.startswith(magic):
            raise UsageFault(f"this file is {description}", hint)
    text = decode_text(content)
    root = xml_files.parse_xml(content) if text.lstrip().startswith("<") else None
    contents = Contents(text=text, root=root, unlock=unlock, now=now, wanted=encoding)
    seed_file = _format_of(contents).read(contents)
    if not seed_file.bare and not any(reading.keys for reading in seed_file.readings):
        reasons = joined_reasons(seed_file.readings[0].dropped if seed_file.readings else ())
        raise IntegrityFault(
            f"no token of this file can be used{reasons and f'; {reasons}'}", "check that this is the right file"
        )
    return replace(seed_file, notes=(*seed_file.notes, *_notes(seed_file)))


def _format_of(contents: Contents) -> SeedFormat:
    for seed_format in FORMATS:
        if seed_format.recognizes(contents):
            return seed_format
    raise IntegrityFault("this XML file is neither PSKC nor SafeNet XML", "ask the vendor for PSKC (RFC 6030)")


def decode_text(content: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or else Latin-1.

    Raise IntegrityFault if the content is empty or contains NUL, which never occurs in text.
    """
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text or not text.strip():
        raise IntegrityFault(
            "this file is not text" if "\0" in text else "this file is empty", "give the vendor's seed file"
        )
    return text


def read_written_file(path: Path, *, now: float) -> list[WrittenReading | DroppedRow]:
    """Return the result of `read_written` for a file. Raise UsageFault or IntegrityFault if the file cannot be read."""
    return read_written(decode_text(load_file(path)), now=now)


def _notes(seed_file: SeedFile) -> list[str]:
    notes = []
    keys = seed_file.readings[0].keys if seed_file.readings else ()
    unsaid = sum(k.token.factor is Factor.TOTP and k.token.digest == "sha1" and k.token.octets in LONG for k in keys)
    if unsaid:
        notes.append(
            f"{unsaid} of its seeds have the length for SHA-256 or SHA-512, but the file says SHA-1 or names no hash"
        )
    mark = Secret(secrets.token_bytes(16))
    twins = Counter(otp.fingerprint(k.seed, mark) for k in keys)
    if shared := sum(count for count in twins.values() if count > 1):
        notes.append(f"{shared} of its tokens share a seed with another, so they show the same codes")
    return notes
