"""Enroll one user: settle, look, make, confirm."""

from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import Caller, Intent, Outcome, Skipped, check_user
from mfa_kit.core.unforeseen import Note
from mfa_kit.enrollment.devices import serials_of
from mfa_kit.enrollment.making import CREATING
from mfa_kit.enrollment.planning import Wish, plan_device
from mfa_kit.enrollment.ports import Carrier, Desk, Maker
from mfa_kit.enrollment.recovery import settle_dead_runs


def enroll(wish: Wish, carrier: Carrier, *, caller: Caller, desk: Desk, run: str, maker: Maker = CREATING) -> Outcome:
    """Enroll one user: settle, look, make and confirm, in this order. Raise MfaKitError; nothing half-made remains."""
    check_user(wish.user)
    settled = settle_dead_runs(caller.account, wish.user, desk=desk)
    unsettled = [ended for _, ended in settled if isinstance(ended, MfaKitError)]
    intent = look_to_enroll(wish, carrier, caller=caller, desk=desk)
    if isinstance(intent, Skipped):
        return intent
    try:
        return maker.make(intent, carrier, desk=desk, run=run)
    except MfaKitError as error:
        for earlier in unsettled:
            error.add_note(Note(f"left from an earlier run: {earlier}; {earlier.hint}"))
        raise


def look_to_enroll(wish: Wish, carrier: Carrier, *, caller: Caller, desk: Desk) -> Intent | Skipped:
    """Return the device to make for a user, or the reason to make none. Reads only. Raise MfaKitError.

    The device's name is not looked up, because CreateVirtualMFADevice changes nothing if the name is taken.
    """
    devices = desk.inventory.devices(wish.user)
    if devices and not wish.add:
        return Skipped(
            user=wish.user,
            reason="already has an MFA device; --add adds one more",
            serials=serials_of(devices),
        )
    return plan_device(wish, carrier, devices=devices, caller=caller, desk=desk)
