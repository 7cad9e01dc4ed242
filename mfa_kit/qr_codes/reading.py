"""Reads pictures of QR codes, and returns the authenticator app accounts or the AWS device in them."""

from dataclasses import dataclass

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Created, KeyUri, Png
from mfa_kit.core.text import encoding_of
from mfa_kit.qr_codes import authenticator_export, decoding, key_uri

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
    if not authenticator_export.is_export(uri):
        return FoundAccounts(uris=(uri,), labels=("",))
    accounts, picture = authenticator_export.read_export(uri)
    fit = [account for account in accounts if account.for_aws]
    return FoundAccounts(
        uris=tuple(authenticator_export.uri_of(account) for account in fit),
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
