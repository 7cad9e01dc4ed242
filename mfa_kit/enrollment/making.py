"""Make a virtual device: create it, encrypt its backup, install its secret, enable it, and confirm it.

After an error, the half-made device is settled: it is deleted, or confirmed if IAM has already enabled it. Then the
error is raised.
"""

import threading
from dataclasses import dataclass, replace

from mfa_kit.core.errors import AwsFault, MfaKitError, Throttled, Unclear, Unlisted
from mfa_kit.core.models import Enrolled, Entry, Intent, Reached
from mfa_kit.core.otp import Created
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.unforeseen import Note
from mfa_kit.enrollment.creation import create_device
from mfa_kit.enrollment.devices import is_listed, wait_until_listed
from mfa_kit.enrollment.ports import Carrier, Desk, Maker
from mfa_kit.enrollment.recovery import record_confirmed, settle

# The last step that a dry run lists, for each Maker (a procedure that makes a device) that sends EnableMFADevice.
CONFIRM_STEP = "confirm that IAM lists it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """The device is created and backed up, but not assigned to a user yet."""

    intent: Intent
    run: str
    backup: str | None


def make_device(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
    """Make a device, confirm that IAM lists it, and return the result.

    Raise MfaKitError if the device could not be made. The half-made device is then already removed, or a note of the
    error says what is left of it.
    """
    return confirm_enabled(create_and_enable(intent, carrier, desk=desk, run=run), desk=desk)


def create_and_enable(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Entry:
    """Create a device, encrypt its backup, install its secret and enable it. Return its journal entry.

    Unlike `make_device`, do not check that IAM lists the device.
    """
    entry, created = _create_and_seal(intent, carrier, desk=desk, run=run)
    try:
        carrier.install(intent, created)
        desk.registrar.enable(intent, lambda: carrier.codes(intent))
    except BaseException as error:
        enabled = settle_failed_enable(entry, carrier, error, desk=desk)
        if enabled is None:
            raise
        return enabled
    return entry


def _creation_steps(intent: Intent, backup: str | None) -> list[str]:
    return [
        f"create the virtual MFA device {intent.serial}",
        *([f"encrypt its QR code in {backup}"] if backup else []),
        *([f"store its secret on the key {intent.hardware}, as {intent.label}"] if intent.card else []),
        f"enable it for {intent.user} with the codes of the previous and the current 30 seconds",
        CONFIRM_STEP,
    ]


CREATING = Maker(make_device, _creation_steps)


def stage_device(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Staged:
    """Create a device, encrypt its backup, and return the result. `enable_sealed` enables the device later.

    Until then, AWS does not ask the user for this device's codes.
    """
    entry, _ = _create_and_seal(intent, carrier, desk=desk, run=run)
    desk.journal.record(entry.at(Reached.STAGED))
    return Staged(intent=intent, run=run, backup=entry.backup)


def _create_and_seal(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> tuple[Entry, Created]:
    """Create a device, encrypt its backup, and return the journal entry and the secret.

    After an error, delete the device again (or confirm it if it is enabled), then raise the error.
    """
    entry = desk.journal.record(Entry(run=run, intent=intent, backup=desk.vault.place(intent, run)))
    try:
        try:
            created = create_device(entry, desk=desk)
        except Unclear:
            raise
        except (AwsFault, Throttled):  # IAM refused, so nothing was made
            entry = desk.journal.record(entry.at(Reached.UNDONE))
            raise
        entry = replace(entry, reached=Reached.CREATED, answered_here=True)
        desk.journal.record(entry)
        if entry.backup:
            desk.vault.seal(entry, created.uri)
            entry = desk.journal.record(replace(entry, sealed=True))
    except BaseException as error:
        if entry.reached is not Reached.UNDONE:
            _settle_after(entry, carrier, error, desk=desk)
        raise
    return entry, created


def confirm_enabled(entry: Entry, *, desk: Desk) -> Enrolled:
    """Wait until IAM lists an enabled device, record it as confirmed, and return the result.

    If IAM does not list it, or if the check fails, print a warning, do not record the device as confirmed, and return a
    result whose `listed` is False.
    """
    enrolled = Enrolled(intent=entry.intent, run=entry.run, backup=entry.backup)
    try:
        find = is_listed if entry.looked_for else wait_until_listed
        if find(entry.intent, desk=desk):
            record_confirmed(entry, desk=desk)
            return enrolled
        reason = "IAM does not list it yet"
    except MfaKitError as error:
        reason = str(error)
    except BaseException as error:
        error.add_note(Note(f"{entry.intent.serial} is enabled for {entry.intent.user}, but was not confirmed"))
        raise
    desk.progress.alert(f"warning: {entry.intent.serial} is enabled, but not confirmed: {reason}")
    return replace(enrolled, listed=False)


def settle_failed_enable(entry: Entry, carrier: Carrier, error: BaseException, *, desk: Desk) -> Entry | None:
    """Settle a device (delete it unless it is enabled) after an error while it was being enabled.

    Return its entry if the device is enabled nevertheless and the error is an MfaKitError. Otherwise, for example after
    a Ctrl-C, return None. The caller then has to raise the error again.
    """
    enabled = _settle_after(entry, carrier, error, desk=desk)
    serial, user = entry.intent.serial, entry.intent.user
    if enabled and not isinstance(error, MfaKitError):
        error.add_note(Note(f"{serial} is nevertheless enabled for {user}"))
        return None
    if enabled:
        desk.progress.note(f"{error}; {serial} is nevertheless enabled for {user}")
    return enabled


def _settle_after(entry: Entry, carrier: Carrier, error: BaseException, *, desk: Desk) -> Entry | None:
    """Settle a device (delete it unless it is enabled) after an error.

    Return its entry if the device is enabled nevertheless, otherwise None. If the device cannot be settled, add the
    reason to the error as a note.
    """
    try:
        # Without this message, a Ctrl-C has no visible effect while IAM is slow, and users press Ctrl-C again. Worker
        # threads do not print it, because only a second Ctrl-C interrupts them.
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            desk.progress.note(
                f"cancelling: removing {entry.intent.serial} from AWS first. Press Ctrl-C again to stop immediately"
            )
        with INTERRUPTS.settling():
            if settle(entry, carrier, desk=desk) is Reached.CONFIRMED:
                return entry
    except Unlisted:
        return replace(entry, looked_for=True)
    except BaseException as second:  # noqa: BLE001 - even a second Ctrl-C must not hide the first error
        hint = (second.hint if isinstance(second, MfaKitError) else "") or "run the same command again to continue"
        error.add_note(Note(f"{entry.intent.serial} is not settled yet: {_why(second)}; {hint}"))
        return None
    desk.progress.note(f"removed {entry.intent.serial}; {entry.intent.user} has no new device")
    return None


def _why(error: BaseException) -> str:
    match error:
        case MfaKitError():
            return str(error)
        case KeyboardInterrupt():
            return "the removal was interrupted too"
        case _:
            return type(error).__name__
