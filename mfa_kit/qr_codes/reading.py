"""Reads pictures of QR codes: the accounts in one, and the device that IAM created."""

from dataclasses import dataclass

from mfa_kit.core.otp import Created, KeyUri, Png
from mfa_kit.qr_codes import authenticator_export, decoding, key_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAccounts:
    """The accounts in a QR code that AWS could use, by label.

    For the export of an authenticator app, `total` counts all its accounts, and `picture` is the number of the picture,
    such as "1 of 2". Any other QR code contains one account.
    """

    uris: tuple[KeyUri, ...]
    labels: tuple[str, ...]
    total: int = 1
    picture: str = "1 of 1"


def read_accounts(image: Png) -> FoundAccounts:
    """Read the only QR code of a picture that a person made. Raise IntegrityFault for no QR code and for several."""
    uri = decoding.read(image, limits=decoding.MADE_BY_PEOPLE)
    if not authenticator_export.is_export(uri):
        return FoundAccounts(uris=(uri,), labels=("",))
    accounts, picture = authenticator_export.read_export(uri)
    fit = [each for each in accounts if each.for_aws]
    return FoundAccounts(
        uris=tuple(authenticator_export.uri_of(each) for each in fit),
        labels=tuple(each.label for each in fit),
        total=len(accounts),
        picture=picture,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDevice:
    """The device of a key URI: what IAM returned when it was created, its label, and notes for the user."""

    created: Created
    label: str
    notes: tuple[str, ...]


def device_in(uri: KeyUri) -> FoundDevice:
    """Return the device of a key URI. Raise IntegrityFault for a URI that is not for AWS."""
    found = key_uri.parse(uri)
    return FoundDevice(created=Created(found.seed, uri), label=found.label, notes=found.notes)


def read_device(image: Png) -> FoundDevice:
    """Return the device of the QR code in a picture. Raise IntegrityFault as `device_in` does."""
    return device_in(decoding.read(image))
