"""Reads and draws QR codes. The libraries for that are loaded when the first code is read or drawn."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mfa_kit.backups.adding import DevicePicture, choose_account
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import KeyUri, Png, Seed, Symbol
from mfa_kit.wiring.settings import harden

STDIN = "-"

# A function that overwrites and removes the file of the image that was read. It returns the number of other hard links
# to the file.
Shred = Callable[[], int]


def uri_of(seed: Seed, backup: Backup) -> KeyUri:
    """Return the key URI of a backup's device, labeled like those of AWS."""
    from mfa_kit.qr_codes import key_uri

    return key_uri.otpauth(seed, label=f"{backup.device}@{backup.account}")


def read_picture(image: str, person: Interaction) -> tuple[DevicePicture, Shred | None]:
    """Read the QR code in an image. Return the device in the code, and a function that overwrites and removes the file.

    If `image` is `-`, it is read from stdin, and the function is None. If the image shows several devices, the user
    chooses one. Raise UsageFault if the image cannot be read, and IntegrityFault if it has no QR code of a device.
    """
    from mfa_kit.adapters.files import picture as image_files
    from mfa_kit.qr_codes import reading

    harden()
    plain = None if image == STDIN else image_files.load_image(Path(image))
    accounts = reading.read_accounts(plain.picture if plain else image_files.read_image(sys.stdin.buffer))
    chosen = choose_account(accounts.labels, of=accounts.total, which=accounts.picture, person=person)
    device = reading.device_in(accounts.uris[chosen])
    picture = DevicePicture(created=device.created, label=device.label, notes=device.notes)
    return picture, partial(image_files.shred_image, plain) if plain else None


def draw(seed: Seed, device: str, account: str) -> Symbol:
    """Return the QR code of a device's secret as text for a terminal, drawn in half-block characters."""
    from mfa_kit.qr_codes.symbol import device_symbol

    return device_symbol(seed, device, account)


def draw_picture(uri: KeyUri) -> Png:
    """Return the QR code of a key URI as a PNG."""
    from mfa_kit.qr_codes import symbol

    return symbol.png(uri)
