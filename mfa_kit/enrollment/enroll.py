"""Enroll one user: finish or undo interrupted runs, look up the user's devices, make a device, and confirm it."""

from collections.abc import Sequence
from contextlib import suppress

from mfa_kit.core.errors import AlreadyExists, MfaKitError
from mfa_kit.core.internal_error import Note
from mfa_kit.core.models import Caller, Device, Intent, Outcome, Skipped, check_user
from mfa_kit.enrollment.devices import recorded_entry, serials_of
from mfa_kit.enrollment.making import CREATING, make_reserved
from mfa_kit.enrollment.planning import Wish, plan_device
from mfa_kit.enrollment.ports import Carrier, Desk, Maker
from mfa_kit.enrollment.settling import settle_dead_runs


def enroll(wish: Wish, carrier: Carrier, *, caller: Caller, desk: Desk, run: str, maker: Maker = CREATING) -> Outcome:
    """Settle (finish or undo) the user's interrupted runs, and make a device unless the user already has one.

    Return Enrolled, or Skipped if the user already has a device and `wish.add` is false. Raise MfaKitError if the
    device could not be made. The half-made device is then already removed, or a note of the error says what is left of
    it.
    """
    check_user(wish.user)
    settled = settle_dead_runs(caller.account, wish.user, desk=desk)
    unsettled = [ended for _, ended in settled if isinstance(ended, MfaKitError)]
    intent = look_to_enroll(wish, carrier, caller=caller, desk=desk)
    if isinstance(intent, Skipped):
        return intent
    try:
        return make_reserved(maker, intent, carrier, desk=desk, run=run)
    except MfaKitError as error:
        if isinstance(error, AlreadyExists) and (has := _skipped_meanwhile(wish, caller=caller, desk=desk)):
            return has
        for earlier in unsettled:
            error.add_note(Note(f"an earlier run could not be settled: {earlier}; {earlier.hint}"))
        raise


def look_to_enroll(wish: Wish, carrier: Carrier, *, caller: Caller, desk: Desk) -> Intent | Skipped:
    """Return the device to make for a user, or Skipped if the user already has one. Changes nothing.

    Raise MfaKitError if the device cannot be made. Does not check whether the name of the new device is taken: if
    it is, CreateVirtualMFADevice fails and changes nothing.
    """
    devices = desk.inventory.devices(wish.user)
    return _skipped(wish, devices, caller=caller, desk=desk) or plan_device(
        wish, carrier, devices=devices, caller=caller, desk=desk
    )


def _skipped(wish: Wish, devices: Sequence[Device], *, caller: Caller, desk: Desk) -> Skipped | None:
    """Return Skipped if a user with these devices gets no new device, otherwise None."""
    if wish.add or not devices:
        return None
    entries = [recorded_entry(device, wish.user, caller=caller, desk=desk) for device in devices]
    return Skipped(
        user=wish.user,
        reason="already has an MFA device; --add adds one more",
        serials=serials_of(devices),
        backups=tuple(place for entry in entries if entry and (place := desk.vault.find(entry))),
    )


def _skipped_meanwhile(wish: Wish, *, caller: Caller, desk: Desk) -> Skipped | None:
    """Return Skipped if another process has just enrolled the user. Return None otherwise, or if this is unknown."""
    with suppress(MfaKitError):
        return _skipped(wish, desk.inventory.devices(wish.user), caller=caller, desk=desk)
    return None
