"""Settle a run that did not end: the only undo there is. A failure, a Ctrl-C and a kill all end here."""

from mfa_kit.errors import AccessDenied, Conflict, MfaKitError, NoSuchEntity, Unlisted, Unsettled
from mfa_kit.models import Entry, Intent, Mark, Reached
from mfa_kit.ports import Carrier, Desk

# A Create without an answer may act late; after this many seconds it is taken to be lost.
STILL_ON_ITS_WAY = 15 * 60
# Listings lag behind writes. Seconds between looks, 30 in all.
PAUSES = (1, 2, 3, 4, 5, 7, 8)


def delete_command(serial: str) -> str:
    return f"aws iam delete-virtual-mfa-device --serial-number {serial}"


def listed(intent: Intent, *, desk: Desk) -> bool:
    """Whether IAM lists the device on its user now."""
    try:
        return any(device.serial == intent.serial for device in desk.inventory.devices(intent.user))
    except NoSuchEntity:  # a user who is gone has no device: IAM deletes none who has
        return False


def listed_soon(intent: Intent, *, desk: Desk) -> bool:
    """Whether IAM lists the device on its user; looked at for up to 30 s, for listings lag."""
    if listed(intent, desk=desk):
        return True
    desk.progress.note(f"IAM does not list {intent.serial} yet; looking again for up to {sum(PAUSES)} s")
    for pause in PAUSES:
        desk.sleep(pause)
        if listed(intent, desk=desk):
            return True
    return False


def settle(entry: Entry, carrier: Carrier, *, desk: Desk) -> Reached:
    """End a half-made entry: CONFIRMED where its Enable won, otherwise UNDONE. The caller holds the run's lock.

    IAM is asked to delete before any copy of the seed goes, for an Enable that was lost on its way may still arrive;
    DeleteConflict says that it did. One listing stands between an ambiguous Enable and the Delete. Raise Unsettled
    when the device cannot be shown to be this run's or its fate cannot be known yet, Unlisted when it is assigned but
    not listed.
    """
    intent = entry.intent
    if _ours(entry, desk=desk):
        if listed(intent, desk=desk):
            return desk.journal.record(entry.at(Reached.CONFIRMED)).reached
        try:
            desk.registrar.delete(intent.serial)
        except NoSuchEntity:
            pass
        except AccessDenied as denied:
            raise Unsettled(
                f"AWS does not let you delete the half-made device {intent.serial}: {denied}",
                f"ask an administrator to run: {delete_command(intent.serial)}",
            ) from None
        except Conflict:
            if listed_soon(intent, desk=desk):
                return desk.journal.record(entry.at(Reached.CONFIRMED)).reached
            raise Unlisted(
                f"{intent.serial} is assigned, but IAM does not list it on {intent.user}",
                f"look again later: mfa-kit enroll {intent.user} settles it",
            ) from None
    carrier.remove(entry)
    desk.vault.remove(entry)
    return desk.journal.record(entry.at(Reached.UNDONE)).reached


def _ours(entry: Entry, *, desk: Desk) -> bool:
    """Whether the device of that name is this run's: ARNs are used again, so its tag is read first."""
    serial = entry.intent.serial
    match desk.inventory.run_of(serial):
        case entry.run:
            return True
        case Mark.UNTAGGED if entry.answered_here:
            return True
        case Mark.UNTAGGED:
            raise Unsettled(
                f"{serial} has no tag that shows whether run {entry.run} made it",
                f"when you know that nobody uses it: {delete_command(serial)}",
            )
        case Mark.ABSENT if may_still_arrive(entry, desk=desk):
            raise Unsettled(
                f"the request to create {serial} was not answered and may still arrive",
                f"run it again in {STILL_ON_ITS_WAY // 60} minutes",
            )
        case _:  # gone, or another run's device: IAM is not touched
            return False


def may_still_arrive(entry: Entry, *, desk: Desk) -> bool:
    """Tell whether nobody saw the Create answered and the run is younger than a quarter of an hour."""
    return entry.reached is Reached.INTENT and desk.inventory.now() - entry.began < STILL_ON_ITS_WAY


def settle_dead(account: str, user: str, *, desk: Desk) -> list[MfaKitError]:
    """Settle what dead runs left for a user; return what could not be settled, each told as a note."""
    unsettled: list[MfaKitError] = []
    for entry in desk.journal.dead(account, user=user):
        try:
            ended = settle(entry, desk.carrier(entry.intent), desk=desk)
        except MfaKitError as error:
            desk.progress.note(f"run {entry.run} is not settled: {error}; {error.hint}")
            unsettled.append(error)
        else:
            desk.progress.note(f"run {entry.run} was interrupted; {entry.intent.serial} is {ended} now")
    return unsettled
