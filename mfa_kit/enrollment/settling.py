"""Settle (finish or undo) a run that a failure, a Ctrl-C or a kill interrupted. No other code undoes an enrollment."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from shlex import quote

from mfa_kit.core.errors import (
    AccessDenied,
    Conflict,
    DeviceFault,
    MfaKitError,
    NoSuchEntity,
    Unclear,
    Unlisted,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.models import DeviceType, Entry, Intent, Mark, Purpose, Reached, intent_of
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment.devices import delete_command, find_device, is_listed, wait_until_listed
from mfa_kit.enrollment.ports import Carrier, Desk

# The seconds after which a Create or Enable request without a response counts as lost. Until then, it may take effect.
STILL_ON_ITS_WAY = 15 * 60
# Seconds between attempts after a request without a response. Every step of settling may be repeated.
UNCLEAR_PAUSES = (1, 2)


def settle(entry: Entry, carrier: Carrier, *, desk: Desk) -> Reached:
    """Finish or undo what a run left half-made, record the entry's final state in the journal, and return that state.

    The state is CONFIRMED if the device's Enable took effect, REVOKED for a revocation, otherwise UNDONE. The caller
    must hold the run's lock. Raise Unsettled if it is not certain that this run made the device, if a request may still
    take effect, or if IAM refuses to delete the device. Raise Unlisted if the device is assigned, but IAM does not list
    it for its user.
    """
    once = _undo
    if entry.reached is Reached.REVOKING:
        # This raises an error if the key is here but its credential cannot be removed. The device then stays in IAM
        # too.
        carrier.reach(entry)
        once = _go_on
    for pause in UNCLEAR_PAUSES:
        try:
            return once(entry, carrier, desk=desk)
        except Unclear as error:
            desk.progress.note(f"{error}; checking again in {pause} s")
            desk.sleep(pause)
    return once(entry, carrier, desk=desk)


def _undo(entry: Entry, carrier: Carrier, *, desk: Desk) -> Reached:
    """Delete the device and the copies of its secret, unless an Enable took effect. Return the final state.

    The device is deleted before any copy of its secret is removed, because an Enable without a response may take effect
    until then. If the Enable took effect, the delete request fails with DeleteConflict. The user's devices are listed
    first, so that no delete request is sent for a device that is already enabled.
    """
    intent = entry.intent
    if DeviceType.of(intent.serial) is not DeviceType.VIRTUAL:
        return _look(entry, carrier, desk=desk)
    mine = _is_ours(entry, desk=desk)
    if mine is False and entry.reached is Reached.CREATED:  # IAM's reads lag, so a new device may seem absent
        mine = entry.answered_here or is_listed(intent, desk=desk)
    if mine:
        if is_listed(intent, desk=desk):
            return record_confirmed(entry, desk=desk)
        try:
            _delete(intent, _resume_hint(entry), desk=desk)
        except Conflict:
            if wait_until_listed(intent, desk=desk):
                return record_confirmed(entry, desk=desk)
            raise Unlisted(
                f"{intent.serial} is assigned, but IAM does not list it for {intent.user}",
                f"run this later to finish the enrollment: mfa-kit enroll {quote(intent.user)}",
            ) from None
    return remove_copies(entry, carrier, Reached.UNDONE, mine=mine, desk=desk)


def _look(entry: Entry, carrier: Carrier, *, desk: Desk) -> Reached:
    """Settle a run that sent an Enable for a token, and return the final state.

    IAM's list of the user's devices shows whether the Enable took effect.
    """
    intent = entry.intent
    if wait_until_listed(intent, desk=desk):
        return record_confirmed(entry, desk=desk)
    if _may_still_arrive(entry, desk=desk):
        raise Unsettled(
            f"the request to enable {intent.serial} for {intent.user} got no response and may still take effect",
            f"run the same command again in {STILL_ON_ITS_WAY // 60} minutes",
        )
    return remove_copies(entry, carrier, Reached.UNDONE, mine=False, desk=desk)


def _go_on(entry: Entry, carrier: Carrier, *, desk: Desk) -> Reached:
    """Continue a revocation: deactivate and delete the device, then remove the copies of its secret.

    A revocation is never undone. Deactivating or deleting counts as done if the device no longer exists.
    """
    intent = entry.intent
    if mine := _is_ours(entry, desk=desk):
        with suppress(NoSuchEntity):
            desk.registrar.deactivate(intent.user, intent.serial)
        if DeviceType.of(intent.serial) is DeviceType.VIRTUAL:
            try:
                _delete(intent, desk=desk)
            except Conflict:
                raise Unsettled(
                    f"{intent.serial} was given to another user in the meantime",
                    "see who has it: aws iam list-virtual-mfa-devices --assignment-status Assigned",
                ) from None
    return remove_copies(entry, carrier, Reached.REVOKED, mine=mine, desk=desk)


def _resume_hint(entry: Entry) -> str:
    """Return the part of a hint that says how to continue with a half-made device; "" if the device has no backup."""
    return (
        f", or continue with it: mfa-kit enroll {quote(entry.intent.user)} --resume -i IDENTITY" if entry.backup else ""
    )


def _delete(intent: Intent, otherwise: str = "", *, desk: Desk) -> None:
    try:
        desk.registrar.delete(intent.serial)
    except NoSuchEntity:
        pass
    except AccessDenied as denied:
        raise Unsettled(
            f"AWS does not let you delete {intent.serial}: {denied}",
            f"ask an administrator to run: {delete_command(intent.serial)}{otherwise}",
        ) from None


def remove_copies(entry: Entry, carrier: Carrier, reached: Reached, *, mine: bool | None = True, desk: Desk) -> Reached:
    """Remove a device's secret from its key, and remove its backup. Record the state `reached`, and return it.

    Call this only when no Enable request can use the secret any more. `mine` is the result of `_is_ours`: None if
    another run has since made a device of this name. That run's credential may be on the same key, so the credential on
    the key is then kept, unless the journal shows that the other run uses another key.
    """
    if mine is None and entry.intent.hardware and not _on_another_key(entry, desk=desk):
        desk.progress.note(
            f"another run has since created {entry.intent.serial}, so the credential of that name is kept on the key"
        )
    else:
        carrier.remove(entry)
    desk.vault.remove(entry)
    return desk.journal.record(entry.at(reached)).reached


def _on_another_key(entry: Entry, *, desk: Desk) -> bool:
    run, card = desk.inventory.run_of(entry.intent.serial), entry.intent.card
    other = desk.journal.find(entry.intent.serial, run=run) if isinstance(run, str) else None
    return card is not None and other is not None and other.intent.card not in {None, card}


def still_stands(entry: Entry, *, desk: Desk) -> bool:
    """Return whether IAM still lists an entry's device for its user. A later device of the same name does not count."""
    if not is_listed(entry.intent, desk=desk):
        return False
    virtual = DeviceType.of(entry.intent.serial) is DeviceType.VIRTUAL
    run = desk.inventory.run_of(entry.intent.serial) if virtual else entry.run
    return not isinstance(run, str) or run == entry.run


def record_confirmed(entry: Entry, *, desk: Desk) -> Reached:
    """Record a device as confirmed, and return that state.

    If the device replaces an older device, the older device is first recorded as "revoking". If this process is then
    killed, the next run removes the older device.
    """
    if old := replaced_entry(entry, desk=desk):
        desk.journal.record(old.at(Reached.REVOKING))
    return desk.journal.record(entry.at(Reached.CONFIRMED)).reached


def record_all_confirmed(entries: Sequence[Entry], *, desk: Desk) -> None:
    """Record devices as confirmed. Those that replace no older device are recorded together."""
    alone = [entry for entry in entries if replaced_entry(entry, desk=desk) is not None]
    for entry in alone:
        record_confirmed(entry, desk=desk)
    desk.journal.record_all([entry.at(Reached.CONFIRMED) for entry in entries if entry not in alone])


def replaced_entry(entry: Entry, *, desk: Desk) -> Entry | None:
    """Return the entry of the older device that an entry's device replaces.

    Return None if the device replaces none, or if the run that made the older device is unknown.
    """
    intent = entry.intent
    if intent.replaces is None or intent.replaces_run is None:
        return None
    old = desk.journal.find(intent.replaces, run=intent.replaces_run)
    went = intent_of(intent.replaces, user=intent.user, account=intent.account, partition=intent.partition)
    was = old or Entry(run=intent.replaces_run, intent=went)
    return replace(was, purpose=Purpose.REVOKE, since=intent.replaces_since)


def _is_ours(entry: Entry, *, desk: Desk) -> bool | None:
    """Return True if the device with the entry's serial is the entry's device, and None if another run made it.

    Return False if the device does not exist, or if it is not virtual and not the device to revoke. ARNs are reused, so
    the tags of a virtual device decide. If the tags name no run, see `_is_meant`, which may raise Unsettled. Also raise
    Unsettled if the device may still be created.
    """
    serial = entry.intent.serial
    virtual = DeviceType.of(serial) is DeviceType.VIRTUAL  # other kinds of devices have no tags
    match desk.inventory.run_of(serial) if virtual else Mark.UNTAGGED:
        case entry.run:
            return True
        case Mark.UNTAGGED if entry.answered_here:
            return True
        case Mark.UNTAGGED:
            return _is_meant(entry, virtual=virtual, desk=desk)
        case Mark.ABSENT if _may_still_arrive(entry, desk=desk):
            raise Unsettled(
                f"the request to create {serial} got no response and may still take effect",
                f"run the same command again in {STILL_ON_ITS_WAY // 60} minutes",
            )
        case Mark.ABSENT:
            return False
        case _:  # it is another run's device, so IAM is not changed
            return None


def _is_meant(entry: Entry, *, virtual: bool, desk: Desk) -> bool:
    """Return whether an untagged device is the device to revoke: whether it has the EnableDate that the entry records.

    Raise Unsettled if it has another EnableDate. For a virtual device, also raise Unsettled if there is no EnableDate
    to compare: no revocation is in progress, or the user does not have the device.
    """
    serial, user = entry.intent.serial, entry.intent.user
    has = find_device(entry.intent, desk=desk) if entry.reached is Reached.REVOKING else None
    if has and has.since == entry.since:
        return True
    if has:
        raise Unsettled(
            f"{serial} was enabled again after its revocation began",
            f"to remove it: mfa-kit revoke {quote(user)} --mfa-device {quote(has.serial.rpartition('/')[2])}",
        )
    if virtual:
        raise Unsettled(
            f"{serial} has no tag that shows whether run {entry.run} created it",
            f"if you know that it is unused, delete it: {delete_command(serial)}{_resume_hint(entry)}",
        )
    return False


def _may_still_arrive(entry: Entry, *, desk: Desk) -> bool:
    """Return whether the entry's first request got no response, but may still take effect.

    A request may take effect up to 15 minutes after it was sent.
    """
    return entry.reached is Reached.INTENT and desk.inventory.now() - entry.began < STILL_ON_ITS_WAY


class LostDevice:
    """A Carrier (the object that stores a device's secret and supplies its codes) for a lost device.

    Nothing can be stored on the device or removed from it, because it is not here.
    """

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        """Return the intent unchanged."""
        return intent

    def install(self, intent: Intent, created: Created) -> None:
        """Raise UsageFault, because nothing can be stored on a lost device."""
        raise UsageFault(f"{intent.name} is lost", "enroll another device")

    def codes(self, intent: Intent) -> Pair:
        """Raise UsageFault, because the codes of a lost device cannot be read."""
        raise UsageFault(f"{intent.name} is lost", "enroll another device")

    def reach(self, entry: Entry) -> None:
        """Do nothing, because the device cannot be reached."""

    def remove(self, entry: Entry) -> None:
        """Do nothing, because the device cannot be reached."""


def carrier_of(entry: Entry, *, desk: Desk) -> Carrier:
    """Return the Carrier (the object that stores a device's secret and supplies its codes) for an entry's device.

    For a lost device, return a LostDevice, so neither the hardware nor a library for the hardware is needed.
    """
    return LostDevice() if entry.purpose is Purpose.LOST else desk.carrier(entry.intent)


def settle_each(
    account: str, user: str | None, *, desk: Desk, leave_assigned: bool = False, lost: str | None = None
) -> Iterator[tuple[Entry, Reached | MfaKitError]]:
    """Settle (finish or undo) the interrupted runs of a user, or of all users if `user` is None.

    Yield each entry with its final state, or with the error if it could not be settled. If `leave_assigned` is true, an
    interrupted revocation is skipped if the user still has the device. `lost` is the serial or label of a lost key: a
    run whose credential is on this key is settled without the key. In a dry run, nothing is settled or yielded.
    """
    if desk.dry:
        return
    for entry in desk.journal.dead(account, user=user):
        if leave_assigned and entry.reached is Reached.REVOKING and still_stands(entry, desk=desk):
            continue
        try:
            ended: Reached | MfaKitError = _settled(entry, desk=desk, lost=lost)
            if ended is Reached.CONFIRMED and (old := replaced_entry(entry, desk=desk)):
                settle(old.at(Reached.REVOKING), carrier_of(old, desk=desk), desk=desk)
        except MfaKitError as error:
            ended = error
        yield entry, ended


def _settled(entry: Entry, *, desk: Desk, lost: str | None) -> Reached:
    try:
        return settle(entry, carrier_of(entry, desk=desk), desk=desk)
    except DeviceFault as absent:
        if lost is None or lost != entry.intent.hardware:
            raise
        desk.progress.note(f"{absent}; the key counts as lost")
        return settle(entry, LostDevice(), desk=desk)


def settle_dead_runs(account: str, user: str, *, desk: Desk) -> list[tuple[Entry, Reached | MfaKitError]]:
    """Settle (finish or undo) a user's interrupted runs, and print each result.

    Return each entry with its final state, or with the error if it could not be settled; [] if there are none.
    """
    settled: list[tuple[Entry, Reached | MfaKitError]] = []
    for entry, ended in settle_each(account, user, desk=desk):
        if isinstance(ended, MfaKitError):
            desk.progress.alert(f"run {entry.run} was neither finished nor undone: {ended}; {ended.hint}")
        else:
            desk.progress.note(f"run {entry.run} was interrupted; final state of {entry.intent.serial}: {ended}")
        settled.append((entry, ended))
    return settled
