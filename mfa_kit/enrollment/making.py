"""Make a virtual device: create it, encrypt its backup, install its secret, enable it, and confirm it.

After an error, the half-made device is settled: it is deleted, or confirmed if IAM has already enabled it. Then the
error is raised.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from shlex import quote
from typing import NoReturn

from mfa_kit.core.errors import (
    AccessDenied,
    AlreadyExists,
    AwsFault,
    MfaKitError,
    NoSuchEntity,
    Throttled,
    Unclear,
    Unlisted,
    UsageFault,
)
from mfa_kit.core.internal_error import Note
from mfa_kit.core.models import (
    CARD_TAG,
    HARDWARE_TAG,
    KIND_TAG,
    RUN_TAG,
    STAGED_TAG,
    USER_TAG,
    DeviceType,
    Enrolled,
    Entry,
    Intent,
    Reached,
)
from mfa_kit.core.otp import Created
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.enrollment.devices import delete_command, is_listed, wait_until_listed
from mfa_kit.enrollment.ports import Carrier, Desk, Maker
from mfa_kit.enrollment.settling import record_confirmed, settle

# The maximum number of attempts to create one device. The Registrar's own retries after throttling are not counted.
CREATE_TRIES = 4
MADE = {Reached.STAGED, Reached.ENABLED, Reached.CONFIRMED}
# Matches the values that IAM allows for a tag (IAM API reference, Tag). A user name may contain a comma, a tag may not.
TAG_VALUE = re.compile(r"[\w\s.:/=+@-]{0,256}")


def create_device(entry: Entry, *, desk: Desk) -> Created:
    """Create a device and return its secret.

    If IAM denies the tags, create the device without tags. If the outcome of a request is unknown (Unclear), retry it.
    Two devices cannot have the same name, so the retry fails if the first request took effect. If the existing device
    has this run's tag, its secret was lost with the response, so the device is deleted and created again. Raise Unclear
    if a request may have taken effect. If this function raises Throttled or any AwsFault but Unclear, no device was
    created.
    """
    intent, tags = entry.intent, _tags(entry)
    lost: Unclear | None = None
    for attempt in range(CREATE_TRIES):
        try:
            return desk.registrar.create(intent, tags)
        except Unclear as error:
            lost = error
            if attempt + 1 == CREATE_TRIES:
                break
            desk.progress.note(f"{error}; trying again, which also shows whether {intent.serial} was created")
            desk.sleep(attempt + 1)
        except (AwsFault, Throttled) as refused:
            if isinstance(refused, AccessDenied) and tags:
                tags = {}  # tags need a separate permission, which minimal policies omit
            elif lost is None:
                _raise_refusal(refused, intent, desk=desk)
            elif not (isinstance(refused, AlreadyExists) and _free_name(entry, desk=desk)):
                raise lost from None
    raise lost or AwsFault(f"IAM did not create {intent.serial}", "try again")


def _tags(entry: Entry) -> dict[str, str]:
    """Return the tags for a device that a run makes. A tag whose value is empty or not allowed is omitted."""
    intent = entry.intent
    tags = (
        (RUN_TAG, entry.run),
        (USER_TAG, intent.user),
        (KIND_TAG, intent.method.name),
        (HARDWARE_TAG, intent.hardware),
        (CARD_TAG, intent.card),
        (STAGED_TAG, "yes" if intent.staged else None),
        *intent.tags,
    )
    return {key: value for key, value in tags if value and TAG_VALUE.fullmatch(value)}


def _raise_refusal(refused: AwsFault | Throttled, intent: Intent, *, desk: Desk) -> NoReturn:
    """Raise `refused`. If the device's name is taken, raise AlreadyExists with a hint about the existing device."""
    if isinstance(refused, AlreadyExists):
        raise _name_taken(intent, desk=desk) from None
    raise refused


def _name_taken(intent: Intent, *, desk: Desk) -> AlreadyExists:
    """Return the error for a device name that is taken, with what is known about the existing device.

    If a run in the ledger made that device for the user, or is making it now, the hint contains no command to delete
    that device.
    """
    run = desk.inventory.run_of(intent.serial)
    entry = desk.journal.find(intent.serial, run=run) if isinstance(run, str) else None
    if entry and entry.is_half_made and desk.journal.lives(entry.run):
        return AlreadyExists(
            f"an MFA device named {intent.name} already exists: another process is creating it",
            f"let it finish, then check: mfa-kit status {quote(entry.intent.user)}",
        )
    if entry and entry.intent.user == intent.user and entry.reached in MADE:
        backup = desk.vault.find(entry)
        return AlreadyExists(
            f"an MFA device named {intent.name} already exists: run {entry.run} made it for {entry.intent.user}"
            + (f", and its backup is {backup}" if backup else ""),
            f"see the user's devices: mfa-kit status {quote(entry.intent.user)}; "
            "to see unassigned devices: mfa-kit orphans list",
        )
    return AlreadyExists(
        f"an MFA device named {intent.name} already exists and is not assigned to {intent.user}",
        "choose another --name, or see whether the device is unassigned: mfa-kit orphans list; "
        f"to delete it if it is unused: {delete_command(intent.serial)}",
    )


def _free_name(entry: Entry, *, desk: Desk) -> bool:
    """Delete the device of an entry if the entry's run created it. Return whether the device's name is free now."""
    serial = entry.intent.serial
    try:
        if desk.inventory.run_of(serial) != entry.run:
            return False
        desk.registrar.delete(serial)
    except NoSuchEntity:  # another process or user deleted it
        return True
    except MfaKitError as error:
        desk.progress.alert(f"this run created {serial}, but cannot delete it: {error}")
        return False
    return True


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


# Replaces the account ID in the name of a token's lock. A token can be in only one account, so all accounts use the
# same lock for a token.
ANY_ACCOUNT = "0" * 12


def make_reserved(maker: Maker, intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
    """Make a device with `maker`, and return the result.

    If a display token stores the device's secret, reserve the token until `maker` has finished.

    Raise UsageFault if another process has reserved the token, and the errors of the maker.
    """
    serial = _token_of(intent)
    if serial is None:
        return maker.make(intent, carrier, desk=desk, run=run)
    with _reserved(serial, desk=desk):
        return maker.make(intent, carrier, desk=desk, run=run)


def _token_of(intent: Intent) -> str | None:
    """Return the serial of the display token that stores a device's secret, or None if no display token does."""
    if intent.card is not None or intent.method.device_type is DeviceType.FIDO2:
        return None
    return intent.known_serial or intent.hardware


@contextmanager
def _reserved(serial: str, *, desk: Desk) -> Iterator[None]:
    """Reserve a token until the context ends. Case and spaces in its serial do not matter."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    digest = hashlib.sha256("".join(serial.split()).lower().encode()).hexdigest()
    with desk.journal.claimed(f"{digest}-{ANY_ACCOUNT}") as ours:
        if not ours:
            raise UsageFault(
                f"another process is giving token {serial} to a user",
                "use another token, or wait until that process ends and run this again",
            )
        yield
