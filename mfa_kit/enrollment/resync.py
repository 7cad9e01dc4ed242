"""Tell IAM anew how far the clock of a device is off: ResyncMFADevice, with two codes in a row."""

from collections.abc import Callable

from mfa_kit.core.errors import InvalidCode, Unclear, UsageFault
from mfa_kit.core.models import Device, DeviceType
from mfa_kit.core.otp import Pair
from mfa_kit.enrollment.ports import Desk

CODES = (DeviceType.VIRTUAL, DeviceType.HARDWARE_TOTP)


def resync_device(user: str, device: Device, codes: Callable[[], Pair], *, desk: Desk) -> None:
    """Give IAM two codes. Raise UsageFault for a device that gives none, InvalidCode for codes that IAM refuses."""
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
        # A pair is spent once IAM took it, so the same one is never sent again.
        error.add_note("IAM may have taken the codes: sign in with the device to see, or do it again with two new ones")
        raise
