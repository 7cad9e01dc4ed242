"""The contents of a backup, and the device that the backup belongs to."""

from collections.abc import Callable
from dataclasses import dataclass

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import ACCOUNT_ID, Backup, BackupLocation, Call, DeviceSpec, Method
from mfa_kit.core.otp import Created, Png


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A decrypted backup.

    `picture` has the QR code, and `created` the secret and the URI in it. `label` is the label of the QR code,
    `ISSUER:DEVICE@ACCOUNT`. `named` has the account, user and device in the path of the file, or is None if the file
    does not have the path of a backup. `sha256` is that of the encrypted file, in hex digits. `unchecked` says what of
    the path was not compared with the label, or is None.
    `notes` are remarks on the QR code for the user.
    """

    file: BackupLocation
    picture: Png
    created: Created
    label: str
    named: Backup | None
    sha256: str
    unchecked: str | None
    notes: tuple[str, ...] = ()


def device_and_account(label: str) -> tuple[str, str]:
    """Return the device and the account (or its alias) in the label of a QR code; either may be empty.

    On an OATH key, the label has the device's IAM path before its name. The path is left out.
    """
    device, _, account = label.rpartition(":")[2].rpartition("@")
    return device.rpartition("/")[2], account


def is_account(text: str) -> bool:
    """Return whether a text is an account ID rather than an alias."""
    return ACCOUNT_ID.fullmatch(text) is not None


def intent_in(opened: Opened, *, path_of: Callable[[str, str], str]) -> DeviceSpec:
    """Return a DeviceSpec that names the device of a backup.

    The account and the user come from the path of the backup, or from the label if the file was moved. `path_of`
    returns the IAM path of a device, given its run ID and name. Raise IntegrityFault if neither the path of the backup
    nor the label names a device. A label in an app's export may name no device, because users can change it in the app.
    """
    device, account = device_and_account(opened.label)
    named = opened.named
    try:
        return DeviceSpec(
            account=named.account if named else account,
            partition="aws",
            user=named.user if named else device,
            name=named.device if named else device,
            method=Method("oath"),
            path=path_of(named.run, named.device) if named else "/",
        )
    except UsageFault:
        raise IntegrityFault(
            f"neither the path of {opened.file} nor the label {opened.label!r} in its QR code names a device",
            "give the file its original name and folders: ACCOUNT/USER/DEVICE-RUN.png.age",
        ) from None


def backup_call(operation: str, file: BackupLocation, *, user: str | None, succeeded: bool) -> Call:
    """Return the log entry for an operation on a backup file."""
    return Call(
        operation=operation,
        user=user,
        serial=None,
        request_id=None,
        answer="OK" if succeeded else "Failed",
        file=str(file.absolute()),
    )
