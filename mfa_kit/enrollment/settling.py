"""Settle a run that a failure, a Ctrl-C or a kill interrupted. No other code undoes an enrollment.

What is done depends on whether IAM lists the device of the run, which other modules ask here too.
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from mfa_kit.core.errors import (
    AccessDenied,
    Conflict,
    DeviceFault,
    MfaKitError,
    NoSuchEntity,
    OutcomeUnknownError,
    UnlistedError,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.message import Command, Message, clauses, command, mfa_kit, suggest
from mfa_kit.core.models import (
    Device,
    DeviceSpec,
    DeviceType,
    JournalEntry,
    JournalState,
    RunKind,
    RunTag,
    intent_of,
    without_own_copy,
)
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts

# The seconds after which a Create or Enable request without a response counts as lost. Until then, it may take effect.
STILL_ON_ITS_WAY = 15 * 60
# Seconds between attempts after a request without a response. Every step of settling may be repeated.
UNCLEAR_PAUSES = (1, 2)
COMPLETE = "is staged, and its backup is complete, but the ledger does not show that its run finished"

# Seconds to wait before each new request for a list, 30 s in total, because IAM's lists lag behind writes.
PAUSES = (1, 2, 3, 4, 5, 7, 8)


def settle(entry: JournalEntry, backend: DeviceBackend, *, ports: EnrollmentPorts) -> JournalState:
    """Finish or undo what a run left half-made, record the entry's final state in the journal, and return that state.

    The state is CONFIRMED if the device's Enable took effect, REVOKED for a revocation, otherwise UNDONE. The caller
    must hold the run's lock. Raise Unsettled if it is not certain that this run made the device, if a request may still
    take effect, or if IAM refuses to delete the device. Raise Unlisted if the device is assigned, but IAM does not list
    it for its user.
    """
    once = _undo
    if entry.reached is JournalState.REVOKING:
        # This raises an error if the key is here but its credential cannot be removed. The device then stays in IAM
        # too.
        backend.check_reachable(entry)
        once = _go_on
    for pause in UNCLEAR_PAUSES:
        try:
            return once(entry, backend, ports=ports)
        except OutcomeUnknownError as error:
            ports.progress.note(f"{error}; checking again in {pause} s")
            ports.sleep(pause)
    return once(entry, backend, ports=ports)


def _undo(entry: JournalEntry, backend: DeviceBackend, *, ports: EnrollmentPorts) -> JournalState:
    """Delete the device and the copies of its secret, unless an Enable took effect. Return the final state.

    The device is deleted before any copy of its secret is removed, because an Enable without a response may take effect
    until then. If the Enable took effect, the delete request fails with DeleteConflict. The user's devices are listed
    first, so that no delete request is sent for a device that is already enabled.
    """
    spec = entry.spec
    if DeviceType.of(spec.serial) is not DeviceType.VIRTUAL:
        return _look(entry, backend, ports=ports)
    mine = _is_ours(entry, ports=ports)
    if mine is False and entry.reached is JournalState.CREATED:  # IAM's reads lag, so a new device may seem absent
        mine = entry.answered_here or is_listed(spec, ports=ports)
    if mine:
        if device := find_device(spec, ports=ports):
            return record_confirmed(entry, device, ports=ports)
        if is_complete(entry, ports=ports):
            raise Unsettled(f"{spec.serial} {COMPLETE}", how_to_continue(entry))
        try:
            _delete(spec, _resume_hint(entry), ports=ports)
        except Conflict:
            if device := wait_until_listed(spec, ports=ports):
                return record_confirmed(entry, device, ports=ports)
            raise UnlistedError(
                f"{spec.serial} is assigned, but IAM does not list it for {spec.user}",
                suggest("run this later to finish the enrollment", "enroll {}", spec.user),
            ) from None
    return remove_copies(entry, backend, JournalState.UNDONE, mine=mine, ports=ports)


def _look(entry: JournalEntry, backend: DeviceBackend, *, ports: EnrollmentPorts) -> JournalState:
    """Settle a run that sent an Enable for a token, and return the final state.

    IAM's list of the user's devices shows whether the Enable took effect.
    """
    spec = entry.spec
    if device := wait_until_listed(spec, ports=ports):
        return record_confirmed(entry, device, ports=ports)
    if _may_still_arrive(entry, ports=ports):
        raise Unsettled(
            f"the request to enable {spec.serial} for {spec.user} got no response and may still take effect",
            f"run the same command again in {STILL_ON_ITS_WAY // 60} minutes",
        )
    return remove_copies(entry, backend, JournalState.UNDONE, mine=False, ports=ports)


def _go_on(entry: JournalEntry, backend: DeviceBackend, *, ports: EnrollmentPorts) -> JournalState:
    """Continue a revocation: deactivate and delete the device, then remove the copies of its secret.

    A revocation is never undone. Deactivating or deleting counts as done if the device no longer exists.
    """
    spec = entry.spec
    if mine := _is_ours(entry, ports=ports):
        with suppress(NoSuchEntity):
            ports.device_writer.deactivate(spec.user, spec.serial)
        if DeviceType.of(spec.serial) is DeviceType.VIRTUAL:
            try:
                _delete(spec, ports=ports)
            except Conflict:
                raise Unsettled(
                    f"{spec.serial} was given to another user in the meantime",
                    Message("see who has it", command("aws iam list-virtual-mfa-devices --assignment-status Assigned")),
                ) from None
    return remove_copies(entry, backend, JournalState.REVOKED, mine=mine, ports=ports)


def is_complete(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool:
    """Return whether a device that was to be staged has its backup, although `entry` is not staged.

    If the ledger lost the end of a run, it has such a device as half-made. Its user may have the secret, so the device
    is not deleted unless this process has just created it. A key that is sent to the user is half-made until its
    credential is written too, and nothing is enabled, so it is made again.
    """
    may_be = entry.spec.staged and not entry.spec.posted and not entry.answered_here
    return may_be and ports.store.find(without_own_copy(entry)) is not None


def how_to_continue(entry: JournalEntry) -> Message:
    """Return the hint for a device for which `is_complete` is true."""
    return Message(
        "if its user may have the secret, enable it",
        mfa_kit("rollout activate --record DIR -i IDENTITY"),
        "to remove it",
        mfa_kit("rollout undo {}", entry.run),
    )


def _resume_hint(entry: JournalEntry) -> str:
    """Return the part of a hint that says how to continue with a half-made device; "" if the device has no backup."""
    if not entry.backup:
        return ""
    return suggest("or continue with it", "enroll {} --resume -i IDENTITY", entry.spec.user)


def _delete(spec: DeviceSpec, otherwise: str = "", *, ports: EnrollmentPorts) -> None:
    try:
        ports.device_writer.delete(spec.serial)
    except NoSuchEntity:
        pass
    except AccessDenied as denied:
        raise Unsettled(
            f"AWS does not let you delete {spec.serial}: {denied}",
            Message("ask an administrator to run", delete_command(spec.serial), otherwise),
        ) from None


def remove_copies(
    entry: JournalEntry,
    backend: DeviceBackend,
    reached: JournalState,
    *,
    mine: bool | None = True,
    ports: EnrollmentPorts,
) -> JournalState:
    """Remove a device's secret from its key, and remove its backup. Record the state `reached`, and return it.

    Call this only when no Enable request can use the secret any more. `mine` is the result of `_is_ours`: None if
    another run has since made a device of this name. That run's credential may be on the same key, so the credential on
    the key is then kept, unless the journal shows that the other run uses another key.
    """
    if mine is None and entry.spec.hardware and not _on_another_key(entry, ports=ports):
        ports.progress.note(
            f"another run has since created {entry.spec.serial}, so the credential of that name is kept on the key"
        )
    else:
        backend.remove(entry)
    ports.store.remove(entry)
    return ports.journal.record(entry.at(reached)).reached


def _on_another_key(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool:
    run, card = ports.iam_reader.run_of(entry.spec.serial), entry.spec.card
    other = ports.journal.find(entry.spec.serial, run=run) if isinstance(run, str) else None
    return card is not None and other is not None and other.spec.card not in {None, card}


def still_stands(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool:
    """Return whether IAM still lists an entry's device for its user. A later device of the same name does not count."""
    if not is_listed(entry.spec, ports=ports):
        return False
    virtual = DeviceType.of(entry.spec.serial) is DeviceType.VIRTUAL
    run = ports.iam_reader.run_of(entry.spec.serial) if virtual else entry.run
    return not isinstance(run, str) or run == entry.run


def record_confirmed(entry: JournalEntry, device: Device | None, *, ports: EnrollmentPorts) -> JournalState:
    """Record a device as confirmed, with its EnableDate, and return that state.

    `device` is the device as IAM lists it, or None if its EnableDate was not read. If the device replaces an older
    device, the older device is first recorded as "revoking". If this process is then killed, the next run removes the
    older device.
    """
    if old := replaced_entry(entry, ports=ports):
        ports.journal.record(old.at(JournalState.REVOKING))
    enabled = replace(entry, since=device.since if device else None)
    return ports.journal.record(enabled.at(JournalState.CONFIRMED)).reached


def record_all_confirmed(entries: Sequence[JournalEntry], *, ports: EnrollmentPorts) -> None:
    """Record devices as confirmed. Those that replace no older device are recorded together."""
    alone = [entry for entry in entries if replaced_entry(entry, ports=ports) is not None]
    for entry in alone:
        record_confirmed(entry, None, ports=ports)
    ports.journal.record_all([entry.at(JournalState.CONFIRMED) for entry in entries if entry not in alone])


def replaced_entry(entry: JournalEntry, *, ports: EnrollmentPorts) -> JournalEntry | None:
    """Return the entry of the older device that an entry's device replaces.

    Return None if the device replaces none, or if the run that made the older device is unknown.
    """
    spec = entry.spec
    if spec.replaces is None or spec.replaces_run is None:
        return None
    old = ports.journal.find(spec.replaces, run=spec.replaces_run)
    went = intent_of(spec.replaces, user=spec.user, account=spec.account, partition=spec.partition)
    was = old or JournalEntry(run=spec.replaces_run, spec=went)
    return replace(was, purpose=RunKind.REVOKE, since=spec.replaces_since)


def _is_ours(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool | None:
    """Return True if the device with the entry's serial is the entry's device, and None if another run made it.

    Return False if the device does not exist, or if it is not virtual and not the device to revoke. ARNs are reused, so
    the tags of a virtual device decide. If the tags name no run, see `_is_meant`, which may raise Unsettled. Also raise
    Unsettled if the device may still be created.
    """
    serial = entry.spec.serial
    virtual = DeviceType.of(serial) is DeviceType.VIRTUAL  # other kinds of devices have no tags
    match ports.iam_reader.run_of(serial) if virtual else RunTag.UNTAGGED:
        case entry.run:
            return True
        case RunTag.UNTAGGED if entry.answered_here:
            return True
        case RunTag.UNTAGGED:
            return _is_meant(entry, virtual=virtual, ports=ports)
        case RunTag.ABSENT if _may_still_arrive(entry, ports=ports):
            raise Unsettled(
                f"the request to create {serial} got no response and may still take effect",
                f"run the same command again in {STILL_ON_ITS_WAY // 60} minutes",
            )
        case RunTag.ABSENT:
            return False
        case _:  # it is another run's device, so IAM is not changed
            return None


def _is_meant(entry: JournalEntry, *, virtual: bool, ports: EnrollmentPorts) -> bool:
    """Return whether an untagged device is the device to revoke: whether it has the EnableDate that the entry records.

    Raise Unsettled if it has another EnableDate. For a virtual device, also raise Unsettled if there is no EnableDate
    to compare: no revocation is in progress, or the user does not have the device.
    """
    serial, user = entry.spec.serial, entry.spec.user
    has = find_device(entry.spec, ports=ports) if entry.reached is JournalState.REVOKING else None
    if has and has.since == entry.since:
        return True
    if has:
        raise Unsettled(
            f"{serial} was enabled again after its revocation began",
            suggest("to remove it", "revoke {} --mfa-device {}", user, has.serial.rpartition("/")[2]),
        )
    if virtual:
        delete = Message("if you know that it is unused, delete it", delete_command(serial), _resume_hint(entry))
        raise Unsettled(
            f"{serial} has no tag that shows whether run {entry.run} created it",
            how_to_continue(entry) if is_complete(entry, ports=ports) else delete,
        )
    return False


def _may_still_arrive(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool:
    """Return whether the entry's first request got no response, but may still take effect.

    A request may take effect up to 15 minutes after it was sent.
    """
    return entry.reached is JournalState.INTENT and ports.iam_reader.now() - entry.began < STILL_ON_ITS_WAY


class LostDevice:
    """A DeviceBackend for a lost device.

    Nothing can be stored on the device or removed from it, because it is not here.
    """

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        """Return the intent unchanged."""
        return spec

    def install(self, spec: DeviceSpec, created: Created) -> None:
        """Raise UsageFault, because nothing can be stored on a lost device."""
        raise UsageFault(f"{spec.name} is lost", "enroll another device")

    def codes(self, spec: DeviceSpec) -> Pair:
        """Raise UsageFault, because the codes of a lost device cannot be read."""
        raise UsageFault(f"{spec.name} is lost", "enroll another device")

    def check_reachable(self, entry: JournalEntry) -> None:
        """Do nothing, because the device cannot be reached."""

    def remove(self, entry: JournalEntry) -> None:
        """Do nothing, because the device cannot be reached."""


def backend_of(entry: JournalEntry, *, ports: EnrollmentPorts) -> DeviceBackend:
    """Return the DeviceBackend for an entry's device.

    For a lost device, return a LostDevice, so neither the hardware nor a library for the hardware is needed.
    """
    return LostDevice() if entry.purpose is RunKind.LOST else ports.backend(entry.spec)


def settle_each(
    account: str,
    user: str | None,
    *,
    ports: EnrollmentPorts,
    leave_assigned: bool = False,
    lost: str | None = None,
    without_key: Container[str] = (),
) -> Iterator[tuple[JournalEntry, JournalState | MfaKitError]]:
    """Settle the interrupted runs of a user, or of all users if `user` is None.

    Yield each entry with its final state, or with the error if it could not be settled. If `leave_assigned` is true, an
    interrupted revocation is skipped if the user still has the device. `lost` is the serial or label of a lost key: a
    run whose credential is on this key is settled without the key. So is the interrupted revocation of a device whose
    serial is in `without_key`. In a dry run, nothing is settled or yielded.
    """
    if ports.dry:
        return
    for entry in ports.journal.dead(account, user=user):
        if leave_assigned and entry.reached is JournalState.REVOKING and still_stands(entry, ports=ports):
            continue
        try:
            ended: JournalState | MfaKitError = _settled(entry, ports=ports, lost=lost, without_key=without_key)
            if ended is JournalState.CONFIRMED and (old := replaced_entry(entry, ports=ports)):
                settle(old.at(JournalState.REVOKING), backend_of(old, ports=ports), ports=ports)
        except MfaKitError as error:
            ended = error
        yield entry, ended


def _settled(
    entry: JournalEntry, *, ports: EnrollmentPorts, lost: str | None, without_key: Container[str]
) -> JournalState:
    if entry.reached is JournalState.REVOKING and entry.spec.serial in without_key:
        return settle(entry, LostDevice(), ports=ports)
    try:
        return settle(entry, backend_of(entry, ports=ports), ports=ports)
    except DeviceFault as absent:
        if lost is None or lost != entry.spec.hardware:
            raise
        ports.progress.note(f"{absent}; the key counts as lost")
        return settle(entry, LostDevice(), ports=ports)


def settle_dead_runs(
    account: str, user: str, *, ports: EnrollmentPorts, without_key: Container[str] = ()
) -> list[tuple[JournalEntry, JournalState | MfaKitError]]:
    """Settle a user's interrupted runs, and print each result. `without_key` is as in `settle_each`.

    Return each entry with its final state, or with the error if it could not be settled; [] if there are none.
    """
    settled: list[tuple[JournalEntry, JournalState | MfaKitError]] = []
    for entry, ended in settle_each(account, user, ports=ports, without_key=without_key):
        if isinstance(ended, MfaKitError):
            ports.progress.alert(clauses([f"run {entry.run} was neither finished nor undone: {ended}", ended.hint]))
        else:
            ports.progress.note(f"run {entry.run} was interrupted; final state of {entry.spec.serial}: {ended}")
        settled.append((entry, ended))
    return settled


def find_device(spec: DeviceSpec, *, ports: EnrollmentPorts) -> Device | None:
    """Return the device that `spec` describes, from IAM's list of the user's devices; None if it is not listed."""
    try:
        return next((device for device in ports.iam_reader.devices(spec.user) if device.serial == spec.serial), None)
    except NoSuchEntity:  # a deleted user has no device, because IAM deletes only users without devices
        return None


def is_listed(spec: DeviceSpec, *, ports: EnrollmentPorts) -> bool:
    """Return whether IAM lists the device that `spec` describes among the user's devices."""
    return find_device(spec, ports=ports) is not None


def wait_until_listed(spec: DeviceSpec, *, ports: EnrollmentPorts) -> Device | None:
    """Wait up to 30 s until IAM lists a device for its user, and return it; None if IAM does not list it.

    The wait is necessary because IAM's lists lag behind writes.
    """
    if device := find_device(spec, ports=ports):
        return device
    ports.progress.note(f"IAM does not list {spec.serial} yet; checking again for up to {sum(PAUSES)} s")
    for pause in PAUSES:
        ports.sleep(pause)
        if device := find_device(spec, ports=ports):
            return device
    return None


def delete_command(serial: str) -> Command:
    """Return the command of the AWS CLI that deletes a virtual device."""
    return command("aws iam delete-virtual-mfa-device --serial-number {}", serial)
