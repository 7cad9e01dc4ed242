"""Resynchronize IAM with the clock of a device: ResyncMFADevice, with two consecutive codes."""

from collections.abc import Callable

from mfa_kit.core.errors import InvalidCode, Unclear, UsageFault
from mfa_kit.core.models import Device, DeviceType
from mfa_kit.core.otp import Pair
from mfa_kit.enrollment.ports import Desk

CODES = (DeviceType.VIRTUAL, DeviceType.HARDWARE_TOTP)


def resync_device(user: str, device: Device, codes: Callable[[], Pair], *, desk: Desk) -> None:
    """Send IAM two codes. Raise UsageFault for a device without codes, InvalidCode if IAM refuses them."""
    if device.type not in CODES:
        raise UsageFault(
            f"{device.serial} is of the kind {device.type}, which has no clock",
            "name a virtual device or a display token: --mfa-device",
        )
    try:
        desk.registrar.resync(user, device.serial, codes)
    except InvalidCode as refused:
        refused.hint = "IAM takes no code twice: wait a minute, and see that both are of this device and in a row"
        raise
    except Unclear as error:
        # IAM accepts a pair only once, so the same pair is never sent again.
        error.add_note("IAM may have taken the codes: sign in with the device to see, or do it again with two new ones")
        raise
