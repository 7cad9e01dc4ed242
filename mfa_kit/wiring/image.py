"""A QR code that somebody else showed: read from an image, with what it holds checked."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mfa_kit.cli import options
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Created, KeyUri
from mfa_kit.wiring.desk import harden

STDIN = "-"


# Overwrites and removes the image that was read; returns how many other names that file has.
Shred = Callable[[], int]


def load(image: str) -> tuple[Created, Shred | None]:
    """Read the QR code of an image, and return what is in it and what shreds the file; `-` is stdin, and no file.

    Raise UsageFault when it cannot be read, and IntegrityFault for what is no QR code of a device.
    """
    from mfa_kit.adapters.files import picture
    from mfa_kit.qr_codes import key_uri, symbol

    harden()
    plain = None if image == STDIN else picture.load(Path(image))
    uri = symbol.read(plain.picture if plain else picture.read(sys.stdin.buffer))
    uri = _chosen(uri)
    return Created(key_uri.seed_of(uri), uri), partial(picture.shred, plain) if plain else None


def _chosen(uri: KeyUri) -> KeyUri:
    """Return the URI, and of the export of an authenticator app that of the account that a person chooses."""
    from mfa_kit.qr_codes import authenticator_export

    if not authenticator_export.is_migration(uri):
        return uri
    accounts, which = authenticator_export.accounts(uri)
    fit = [each for each in accounts if each.for_aws]
    if not fit:
        raise IntegrityFault(
            f"of the {len(accounts)} accounts in this export, picture {which}, none is of the kind that AWS uses",
            "export the AWS account alone, or give the picture that it is in",
        )
    if len(fit) == 1:
        return authenticator_export.uri_of(fit[0])
    person = options.common().interaction
    labels = [each.label for each in fit]
    instead = "an export of the one account alone"
    return authenticator_export.uri_of(fit[person.choose(f"picture {which}; which account", labels, instead=instead)])
