"""Reads Google Authenticator's export (`otpauth-migration://`), which may be split into several QR codes.

See docs/decisions/010.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Secret, Seed
from mfa_kit.qr_codes import key_uri

SCHEME = "otpauth-migration://"
DATA = f"{SCHEME}offline?data="
# A record of a protobuf message ("Encoding" in the guide of Protocol Buffers) is a varint with the field number and
# wire type, followed by a value. A varint has at most 10 octets. In each octet except the last, the highest bit is set
# (MORE).
VARINT_OCTETS, MORE = 10, 128
# Fields of MigrationPayload: repeated OtpParameters, the number of QR codes, and the index of this QR code.
PARAMETERS, BATCH_SIZE, BATCH_INDEX = 1, 3, 4
# Fields of OtpParameters.
SECRET, NAME, ISSUER, ALGORITHM, DIGITS, TYPE = range(1, 7)
# The values of ALGORITHM, DIGITS and TYPE that AWS supports: SHA-1, six digits, TOTP. The value 0 means that the app
# left out the algorithm or the digits. The period is always 30 seconds.
SHA1, SIX, TOTP = (0, 1), (0, 1), 2

Value = int | Secret[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedAccount:
    """One account of an export. `for_aws` says whether its codes are computed with AWS's parameters."""

    issuer: str
    name: str
    seed: Seed
    for_aws: bool

    @property
    def label(self) -> str:
        """The account's name as an app lists it: `issuer:name`."""
        return f"{self.issuer}:{self.name}" if self.issuer else self.name


def is_export(uri: KeyUri) -> bool:
    """Return whether a URI is an export rather than the key URI of a single account."""
    return uri.reveal().startswith(SCHEME)


def read_export(uri: KeyUri) -> tuple[list[ExportedAccount], str]:
    """Return the accounts in one QR code of an export, and which QR code of the export it is, such as "1 of 2".

    Raise IntegrityFault if the export is damaged.
    """
    try:
        # Some apps do not escape `+`. Base64 has no spaces, so a `+` never means a space, and `unquote` keeps it.
        payload = Secret(base64.b64decode(unquote(uri.reveal().removeprefix(DATA)), validate=True))
        records = list(_records(payload))
        numbers = {field: value for field, value in records if isinstance(value, int)}
        accounts = [_account(value) for field, value in records if field == PARAMETERS and isinstance(value, Secret)]
    except ValueError:
        raise IntegrityFault(
            "the QR code of this authenticator app export is damaged", "export the account again"
        ) from None
    return accounts, f"{numbers.get(BATCH_INDEX, 0) + 1} of {numbers.get(BATCH_SIZE, 1)}"


def uri_of(account: ExportedAccount) -> KeyUri:
    """Return the account's key URI in the form that AWS's own QR code contains, with AWS as the issuer."""
    return key_uri.otpauth(account.seed, label=account.name.rpartition(":")[2].strip())


def _account(parameters: Secret[bytes]) -> ExportedAccount:
    fields = dict(_records(parameters))  # if a field is repeated, the last value counts
    seed = fields.get(SECRET)
    if not isinstance(seed, Secret):
        raise ValueError("an account without a secret")  # noqa: TRY004 - the data is wrong, not a type
    return ExportedAccount(
        issuer=_text(fields.get(ISSUER)),
        name=_text(fields.get(NAME)),
        seed=Seed(seed.reveal()),
        for_aws=fields.get(ALGORITHM, 0) in SHA1 and fields.get(DIGITS, 0) in SIX and fields.get(TYPE) == TOTP,
    )


def _text(value: Value | None) -> str:
    return value.reveal().decode() if isinstance(value, Secret) else ""


def _records(message: Secret[bytes]) -> Iterator[tuple[int, Value]]:
    """Yield the number and the value of each field of a protobuf message. Raise ValueError for other data."""
    offset, end = 0, len(message.reveal())
    while offset < end:
        key, offset = _varint(message, offset)
        match key & 7:
            case 0:  # wire type VARINT
                value, offset = _varint(message, offset)
                yield key >> 3, value
            case 1:  # wire type I64
                offset += 8
            case 5:  # wire type I32
                offset += 4
            case 2:  # wire type LEN
                size, offset = _varint(message, offset)
                yield key >> 3, Secret(message.reveal()[offset : offset + size])
                offset += size
            case _:
                raise ValueError("unknown wire type")
    if offset > end:
        raise ValueError("cut short")


def _varint(message: Secret[bytes], offset: int) -> tuple[int, int]:
    """Return the varint that starts at `offset`, and the offset after it.

    Each octet contains seven bits of the value, beginning with the lowest bits.
    """
    value = 0
    for shift in range(0, 7 * VARINT_OCTETS, 7):
        if offset >= len(message.reveal()):
            break
        octet = message.reveal()[offset]
        value, offset = value | octet % MORE << shift, offset + 1
        if octet < MORE:
            return value, offset
    raise ValueError("a number is cut short or too long")
