"""From a seed file to its tokens. The format is recognized by content, never by name, and everything is bounded."""

import codecs
import os
import secrets
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mfa_kit.adapters.seedfiles import pskc, safenet, tables, uris, xml
from mfa_kit.adapters.seedfiles.pskc import Unlock
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import (
    DroppedRow,
    Encoding,
    Factor,
    Reading,
    SeedFile,
    Token,
    folded,
    joined_reasons,
    sold_by_aws,
)

LARGEST = 64 * 2**20
# Seeds of these lengths are what RFC 6238 uses with SHA-256 and SHA-512.
LONG = {32, 64}
WRAPPED = (
    (b"PK\x03\x04", "a spreadsheet or a ZIP archive", "unpack it, or save the table as CSV"),
    (b"\x1f\x8b", "packed with gzip", "unpack it: gunzip FILE"),
    (b"-----BEGIN PGP", "encrypted with PGP", "decrypt it: gpg --decrypt FILE"),
    (b"age-encryption.org/", "encrypted with age", "decrypt it: age --decrypt -i IDENTITY FILE"),
    (b"-----BEGIN AGE", "encrypted with age", "decrypt it: age --decrypt -i IDENTITY FILE"),
)


def load(path: Path) -> bytes:
    """Return what is in a file. Raise UsageFault for what is none, or is larger than any seed file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "give the vendor's seed file") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageFault(f"{path} is not a file", "give the vendor's seed file")
    with open(handle, "rb") as file:  # noqa: PTH123 - an open descriptor
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UsageFault(f"{path} has more than {LARGEST >> 20} MiB", "ask the vendor for the tokens in several files")
    return content


def read(content: bytes, unlock: Unlock, *, now: float, wanted: Encoding | None = None) -> SeedFile:
    """Return the tokens of a seed file, and each row that was not taken with its reason.

    Raise IntegrityFault for what is damaged or no seed file at all, UsageFault when it does not open.
    """
    for magic, what, hint in WRAPPED:
        if content.startswith(magic):
            raise UsageFault(f"this file is {what}", hint)
    found = _read(content, unlock, now=now, wanted=wanted)
    if not found.bare and not any(reading.keys for reading in found.readings):
        said = joined_reasons(found.readings[0].dropped if found.readings else ())
        raise IntegrityFault(
            f"not one token of this file can be used{said and f'; {said}'}", "look whether it is the right file"
        )
    return replace(found, notes=(*found.notes, *_notes(found)))


def _read(content: bytes, unlock: Unlock, *, now: float, wanted: Encoding | None) -> SeedFile:
    text = decoded(content)
    if text.lstrip().startswith("<"):
        root = xml.parse(content)
        if pskc.is_container(root):
            return pskc.read(root, unlock, now=now)
        if xml.local(root) == "Tokens":
            return safenet.read(root)
        raise IntegrityFault("this XML is neither PSKC nor SafeNet's", "ask the vendor for PSKC (RFC 6030)")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines and lines[0].lower().lstrip().startswith(uris.SCHEME):
        return uris.read(text)
    if lines and sold_by_aws(lines[0]):
        return _serials(text)
    return tables.read(text, wanted)


def _serials(text: str) -> SeedFile:
    """Read serials, one a line; one that is there again is the same token, however it is spelled."""
    bare: dict[str, Token] = {}
    dropped = []
    for ordinal, line in enumerate(tables.lines(text), 1):
        serial = line.strip()
        if sold_by_aws(serial):
            bare.setdefault(folded(serial), Token(serial=serial, maker="sold by AWS"))
        elif serial and not serial.startswith("#"):
            dropped.append(DroppedRow(f"line {ordinal}", "it is no serial of a token that AWS sold"))
    return SeedFile(
        layout="serials of AWS's hardware TOTP tokens",
        readings=(Reading(encoding=Encoding.HEX, keys=(), dropped=tuple(dropped)),) if dropped else (),
        bare=tuple(bare.values()),
    )


def decoded(content: bytes) -> str:
    """Decode UTF-8, UTF-16 with a mark, or what Windows wrote before; a NUL is in no text."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    if "\0" in text or not text.strip():
        raise IntegrityFault("this is no text" if "\0" in text else "this file is empty", "give the vendor's seed file")
    return text


def _notes(found: SeedFile) -> list[str]:
    notes = []
    keys = found.readings[0].keys if found.readings else ()
    unsaid = sum(k.token.factor is Factor.TOTP and k.token.digest == "sha1" and k.token.octets in LONG for k in keys)
    if unsaid:
        notes.append(f"{unsaid} of its seeds are as long as for SHA-256 or SHA-512, and it says SHA-1 or nothing")
    mark = Secret(secrets.token_bytes(16))
    twins = Counter(otp.fingerprint(k.seed, mark) for k in keys)
    if shared := sum(count for count in twins.values() if count > 1):
        notes.append(f"{shared} of its tokens share a seed with another: whoever has one can be all of them")
    return notes
