"""Resynchronize IAM with the clock of a device: ResyncMFADevice, with two consecutive codes."""

from collections.abc import Callable

from mfa_kit.core.errors import InvalidCode, OutcomeUnknownError, UsageFault
from mfa_kit.core.models import Device, DeviceType
from mfa_kit.core.otp import Pair
from mfa_kit.core.wrong_codes import REJECTED_IN_RESYNC
from mfa_kit.enrollment.ports import EnrollmentPorts

CODES = (DeviceType.VIRTUAL, DeviceType.HARDWARE_TOTP)


def resync_device(
    user: str, device: Device, codes: Callable[[], Pair], *, ports: EnrollmentPorts, hint: str = REJECTED_IN_RESYNC
) -> None:
    """Send IAM two consecutive codes of a device. `hint` is that of the error if IAM rejects them.

    Raise UsageFault for a device without codes, InvalidCode if IAM rejects the codes, and OutcomeUnknownError if IAM
    does not respond.
    """
    if device.type not in CODES:
        raise UsageFault(
            f"{device.serial} has type {device.type}, and devices of this type show no codes",
            "choose a virtual device or a display token with --mfa-device",
        )
    try:
        ports.device_writer.resync(user, device.serial, codes)
    except InvalidCode as refused:
        refused.hint = hint
        raise
    except OutcomeUnknownError as error:
        # IAM accepts a pair only once, so the same pair is never sent again.
        error.add_note(
            "IAM may have accepted the codes: sign in with the device to check, or run this again with two new codes"
        )
        raise
