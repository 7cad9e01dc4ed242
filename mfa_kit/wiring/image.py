"""A QR code that somebody else showed: read from an image, with what it holds checked."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mfa_kit.backups.adding import Picture, choose_account
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Created, KeyUri, Symbol
from mfa_kit.wiring.this_computer import harden

STDIN = "-"

# Overwrites and removes the image that was read; returns how many other names that file has.
Shred = Callable[[], int]


def load(image: str, person: Interaction) -> tuple[Picture, Shred | None]:
    """Read the QR code of an image, and return what is in it and what shreds the file; `-` is stdin, and no file.

    Raise UsageFault when it cannot be read, and IntegrityFault for an image without the QR code of a device.
    """
    from mfa_kit.adapters.files import picture
    from mfa_kit.qr_codes import key_uri, symbol

    harden()
    plain = None if image == STDIN else picture.load(Path(image))
    uri = symbol.read(plain.picture if plain else picture.read(sys.stdin.buffer))
    uri = _of_one_account(uri, person)
    found = Picture(created=Created(key_uri.seed_of(uri), uri), label=key_uri.label_of(uri))
    return found, partial(picture.shred, plain) if plain else None


def _of_one_account(uri: KeyUri, person: Interaction) -> KeyUri:
    """Return the URI; of an authenticator app's export that of the account that a person chooses."""
    from mfa_kit.qr_codes import authenticator_export

    if not authenticator_export.is_migration(uri):
        return uri
    accounts, which = authenticator_export.accounts(uri)
    fit = [each for each in accounts if each.for_aws]
    chosen = choose_account([each.label for each in fit], of=len(accounts), which=which, person=person)
    return authenticator_export.uri_of(fit[chosen])


def draw(uri: KeyUri) -> Symbol:
    """Return the QR code of a key URI in half blocks, for a terminal."""
    from mfa_kit.qr_codes import symbol

    return symbol.blocks(uri)
