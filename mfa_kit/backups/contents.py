"""Values: what is in a backup, and of which device it is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Backup, Call, Intent, Method
from mfa_kit.core.otp import Created

# The account itself, as the user of a backup. `check_user` lets no user have this name.
ACCOUNT = re.compile(r"\d{12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A backup that was opened.

    `created` is what IAM returned when the device was created. `label` is that of its QR code, `ISSUER:DEVICE@ACCOUNT`.
    `named` is what the path of the file says; it is None if the path is not that of a backup. `notes` are remarks on
    the QR code for the user.
    """

    file: Path
    created: Created
    label: str
    named: Backup | None
    notes: tuple[str, ...] = ()


def device_and_account(label: str) -> tuple[str, str]:
    """Return the device and the account, or its alias, that the label of a QR code names; each may be empty."""
    device, _, account = label.rpartition(":")[2].rpartition("@")
    return device, account


def is_account(text: str) -> bool:
    """Return whether a text is an account's number, and not its alias."""
    return ACCOUNT.fullmatch(text) is not None


def intent_in(opened: Opened, *, path_of: Callable[[str, str], str]) -> Intent:
    """Return the device that a backup is of, as the intent of a key that holds or is to hold its seed too.

    The path of the file names account and user. For a file that was moved, the label does. `path_of` returns the IAM
    path of a device by its run and name. Raise IntegrityFault where neither names a device: authenticator apps let
    people write labels as they like.
    """
    device, account = device_and_account(opened.label)
    named = opened.named
    try:
        return Intent(
            account=named.account if named else account,
            partition="aws",
            user=named.user if named else device,
            name=named.device if named else device,
            method=Method("oath"),
            path=path_of(named.run, named.device) if named else "/",
        )
    except UsageFault:
        raise IntegrityFault(
            f"neither its path nor its label, {opened.label!r}, tells of which device {opened.file} is",
            "give it the name and the folders that it had: ACCOUNT/USER/DEVICE-RUN.png.age",
        ) from None


def backup_call(operation: str, file: Path, *, user: str | None, succeeded: bool) -> Call:
    """Return the line of the log for an operation on the file of a backup."""
    return Call(
        operation=operation,
        user=user,
        serial=None,
        request_id=None,
        answer="OK" if succeeded else "Failed",
        file=str(file.absolute()),
    )
