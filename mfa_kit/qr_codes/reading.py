"""Reads pictures of QR codes, and returns the authenticator app accounts or the AWS device in them."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Created, KeyUri, Png, Secret, Seed
from mfa_kit.core.text import encoding_of
from mfa_kit.qr_codes import decoding, key_uri

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


# No key URI of a QR code is longer, in octets: version 40 contains 2,953 (ISO/IEC 18004). UTF-16 takes twice as much.
LONGEST_TEXT = 8 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAccounts:
    """The accounts in a QR code: their key URIs, and their labels in the same order.

    If the QR code is an export of an authenticator app, only its accounts with AWS's parameters (TOTP, SHA-1, six
    digits, 30 seconds) are included. `total` counts all accounts in the QR code. `picture` says which QR code of the
    export was read, such as "1 of 2".

    Any other QR code is taken as the key URI of one account. The label of this account is "", and the text of the QR
    code is not checked.
    """

    uris: tuple[KeyUri, ...]
    labels: tuple[str, ...]
    total: int = 1
    picture: str = "1 of 1"


def read_accounts(image: Png) -> FoundAccounts:
    """Read the QR code of a screenshot or photograph, or the text of one, and return the accounts in it.

    Raise IntegrityFault if the picture does not have exactly one QR code, if the text has further lines, or if it is a
    damaged export.
    """
    uri = _text_in(image) or decoding.read(image, limits=decoding.MADE_BY_PEOPLE)
    if not is_export(uri):
        return FoundAccounts(uris=(uri,), labels=("",))
    accounts, picture = read_export(uri)
    fit = [account for account in accounts if account.for_aws]
    return FoundAccounts(
        uris=tuple(uri_of(account) for account in fit),
        labels=tuple(account.label for account in fit),
        total=len(accounts),
        picture=picture,
    )


def _text_in(content: Png) -> KeyUri | None:
    """Return the key URI in a text file (UTF-8 or UTF-16), or None if the file is not a text that begins with one."""
    if len(content.reveal()) > LONGEST_TEXT:
        return None
    text = KeyUri(content.reveal().decode(encoding_of(content.reveal()), errors="replace").strip())
    if not text.reveal().lower().startswith("otpauth"):
        return None
    if len(text.reveal().splitlines()) > 1:
        raise IntegrityFault("the text has more than one line", "give a file that contains only one key URI")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDevice:
    """The device in a key URI: its secret and the URI (`created`), its label, and notes for the user."""

    created: Created
    label: str
    notes: tuple[str, ...]


def device_in(uri: KeyUri) -> FoundDevice:
    """Return the device of a key URI. Raise IntegrityFault if the URI is not for AWS."""
    device = key_uri.parse(uri)
    return FoundDevice(created=Created(device.seed, uri), label=device.label, notes=device.notes)


def read_device(image: Png, *, drawn: bool = False) -> FoundDevice:
    """Return the device in the QR code of a PNG that IAM or mfa-kit made (`decoding.MADE_BY_PROGRAMS`).

    `drawn` is as for `decoding.read`. Raise IntegrityFault if the picture does not have exactly one QR code, or if the
    QR code is not for AWS.
    """
    return device_in(decoding.read(image, drawn=drawn))
