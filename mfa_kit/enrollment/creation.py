"""Create a virtual device, even if a CreateVirtualMFADevice request gets no response."""

import re
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
)
from mfa_kit.core.models import (
    CARD_TAG,
    HARDWARE_TAG,
    KIND_TAG,
    RUN_TAG,
    STAGED_TAG,
    USER_TAG,
    Entry,
    Intent,
    Reached,
)
from mfa_kit.core.otp import Created
from mfa_kit.enrollment.devices import delete_command
from mfa_kit.enrollment.ports import Desk

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
    made = desk.journal.find(intent.serial, run=run) if isinstance(run, str) else None
    if made and made.is_half_made and desk.journal.lives(made.run):
        return AlreadyExists(
            f"an MFA device named {intent.name} already exists: another process is creating it",
            f"let it finish, then check: mfa-kit status {quote(made.intent.user)}",
        )
    if made and made.intent.user == intent.user and made.reached in MADE:
        backup = desk.vault.find(made)
        return AlreadyExists(
            f"an MFA device named {intent.name} already exists: run {made.run} made it for {made.intent.user}"
            + (f", and its backup is {backup}" if backup else ""),
            f"see the user's devices: mfa-kit status {quote(made.intent.user)}; "
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
