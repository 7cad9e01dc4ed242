"""Revoke and replace: remove a device, then the copies of its secret.

After the first write to IAM, a removal is continued and never undone.
"""

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from mfa_kit.core.errors import (
    AwsFault,
    DeviceFault,
    Lockout,
    MfaKitError,
    OutcomeUnknownError,
    StoreExpired,
    StoreThrottled,
    Throttled,
    Unreachable,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import Message, ShellText, command, mfa_kit, suggest
from mfa_kit.core.models import (
    CARD_TAG,
    HARDWARE_TAG,
    KIND_TAG,
    Caller,
    Device,
    DeviceSpec,
    DeviceType,
    Enrolled,
    JournalEntry,
    JournalState,
    Method,
    RunKind,
    RunTag,
    check_user,
    intent_of,
)
from mfa_kit.core.notes import Note
from mfa_kit.core.text import iso_time
from mfa_kit.enrollment.making import CREATING, make_reserved
from mfa_kit.enrollment.planning import EnrollRequest, check_room, choose_device, device_names, plan_device
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.enrollment.settling import backend_of, find_device, is_listed, settle, settle_dead_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The result of a revocation: the device was removed.

    `backup` is the path of the removed backup, or None if the device had none. If the device was reported lost,
    `end_sessions` are the commands with which an admin ends the user's sessions.
    """

    user: str
    serial: str
    backup: str | None = None
    end_sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The result of a replacement: the new device works.

    `revoked` is None if the old device still exists, or if a lost device had already been removed. If the old device is
    lost, `end_sessions` are the commands that end the user's sessions.
    """

    enrolled: Enrolled
    revoked: Revoked | None
    end_sessions: tuple[str, ...] = ()


def entry_of_device(device: Device, *, caller: Caller, ports: EnrollmentPorts, now: str) -> JournalEntry:
    """Return the entry of a device that a user has now: from this computer's journal, or built from IAM's data.

    An entry built from IAM's data has the run ID in the device's tags. If the tags contain none, because another tool
    made the device, or a run that could not set tags, the entry has `now`, a run ID of the current time. Raise
    UsageFault if the journal shows that the run in the tags made the device for another user.
    """
    user = device.user or ""
    procedure = ports.iam_reader.run_of(device.serial) if device.type is DeviceType.VIRTUAL else RunTag.UNTAGGED
    run = procedure if isinstance(procedure, str) else None
    ours = ports.journal.find(device.serial, run=run)
    if ours and ours.spec.user.casefold() == user.casefold():  # user names in IAM are case-insensitive
        return replace(ours, since=device.since)
    if ours and run:
        raise UsageFault(
            f"{user} has {device.serial}, which run {run} created for {ours.spec.user}",
            Message(
                "to remove it nevertheless",
                command(
                    "aws iam deactivate-mfa-device --user-name {} --serial-number {}",
                    user,
                    device.serial,
                ),
            ),
        )
    spec = intent_of(device.serial, user=user, account=caller.account, partition=caller.partition)
    if procedure is not RunTag.UNTAGGED:
        spec = _with_key(spec, ports.iam_reader.tags(device.serial), on_keys=ports.on_keys)
    entry = JournalEntry(
        run=run or now, spec=spec, purpose=RunKind.REVOKE, reached=JournalState.CONFIRMED, since=device.since
    )
    # The backup may come from a computer that shares the folder, or this computer may have lost its ledger.
    return replace(entry, backup=ports.store.find(entry))


def _look_again(entry: JournalEntry, *, ports: EnrollmentPorts) -> JournalEntry:
    """Look up the device again just before the removal, and return the device's updated entry.

    The device may have changed while a prompt waited for an answer. Raise Unsettled if the device was enabled again
    since it was looked up. If the user no longer has the device, return the entry unchanged. `settle` then checks
    whether the device was deleted or assigned to another user.
    """
    has = find_device(entry.spec, ports=ports)
    if has is None:
        return entry
    if entry.since not in {None, has.since}:
        raise Unsettled(
            f"{has.serial} was enabled again after mfa-kit looked it up",
            suggest("see the user's devices", "status {}", has.user or ""),
        )
    return replace(entry, since=has.since, answered_here=True)


def _with_key(spec: DeviceSpec, tags: dict[str, str], *, on_keys: Container[str]) -> DeviceSpec:
    """Return the intent with the OATH key that the device's tags name; unchanged if the tags name no key.

    The tags name a key if mfa-kit stored the device's credential on an OATH key.
    """
    if tags.get(KIND_TAG) not in on_keys:
        return spec
    spec = replace(spec, method=Method(tags[KIND_TAG]))
    return spec.on(hardware=tags.get(HARDWARE_TAG, "an OATH key"), card=tags.get(CARD_TAG))


def look_to_revoke(
    user: str,
    device_name: str | None,
    *,
    leave_without_mfa: bool,
    caller: Caller,
    ports: EnrollmentPorts,
    run: str,
    lost: bool = False,
) -> JournalEntry:
    """Settle the user's interrupted runs, and return the Entry of the device to remove, for `retire`.

    `device_name` is the serial, ARN or name of the device, or None for the user's only device. If settling has just
    finished an interrupted revocation of the device, the returned entry is REVOKED. If `lost` is true and IAM lists no
    device for the user, return the entry of an interrupted revocation, if there is one, because this revocation may
    still have to remove a credential from an OATH key.

    Raise UsageFault if `device_name` does not select exactly one device, and Lockout for a user's last device unless
    `leave_without_mfa` is true. If an interrupted revocation of the device cannot be finished, raise its error.
    """
    check_user(user)
    settled = settle_dead_runs(caller.account, user, ports=ports)
    devices = ports.iam_reader.devices(user)
    if lost and not devices and (entry := _waiting_for_key(user, device_name, caller=caller, ports=ports)):
        return entry
    if finished := _finished_now(settled, device_name, devices=devices):
        return finished
    device = choose_device(user, device_name, devices=devices)
    if len(devices) == 1 and not leave_without_mfa:
        raise Lockout(
            f"{device.serial} is the last MFA device of {user}; "
            f"without a device, anyone with the password of {user} could enroll a new one",
            suggest("add --leave-without-mfa, or replace it", "replace {} --with KIND", user),
        )
    return entry_of_device(device, caller=caller, ports=ports, now=run)


def _finished_now(
    settled: Sequence[tuple[JournalEntry, JournalState | MfaKitError]],
    device_name: str | None,
    *,
    devices: Sequence[Device],
) -> JournalEntry | None:
    """Return the entry of a device if settling has just finished the device's interrupted revocation, otherwise None.

    `device_name` is the serial, ARN or name of the device, or None for the user's only device. `settled` has the
    results of settling, and `devices` are the user's devices in IAM. Raise the error of settling if the revocation
    could not be finished.
    """
    if devices and (device_name is None or any(device_name in device_names(device) for device in devices)):
        return None
    for entry, ended in settled:
        if entry.reached is JournalState.REVOKING and device_name in {None, entry.spec.serial, entry.spec.name}:
            if isinstance(ended, MfaKitError):
                raise ended
            return entry.at(ended)
    return None


def _waiting_for_key(
    user: str, device_name: str | None, *, caller: Caller, ports: EnrollmentPorts
) -> JournalEntry | None:
    return next(
        (
            entry
            for entry in ports.journal.dead(caller.account, user=user)
            if entry.reached is JournalState.REVOKING and device_name in {None, entry.spec.serial, entry.spec.name}
        ),
        None,
    )


def retire(entry: JournalEntry, *, purpose: RunKind, ports: EnrollmentPorts, may_stay: bool = True) -> Revoked:
    """Deactivate and delete a device, remove its credential from its key, and remove its backup. Return the result.

    If the device is lost, the commands that end the user's sessions are printed, even if the removal fails. The device
    gets its previous journal entry again if all of this is true: IAM refused a request or could not be reached, the
    device is still enabled, and `may_stay` is true. After any other error, a later command continues the removal. Raise
    Unsettled if the removal cannot be finished now.
    """
    if entry.reached is JournalState.REVOKED:
        return _revoked(entry, purpose=purpose, ports=ports)
    before, leaving = entry, replace(_look_again(entry, ports=ports), purpose=purpose, reached=JournalState.REVOKING)
    backend = backend_of(leaving, ports=ports)
    # A key that cannot be used, or a wrong password, is an error before anything is recorded or removed.
    backend.check_reachable(leaving)
    ports.journal.record(leaving)
    try:
        settle(leaving, backend, ports=ports)
    except (OutcomeUnknownError, Unsettled):
        raise
    except (Unreachable, AwsFault, Throttled) as refused:
        # The backup is removed after the device, which IAM may still list.
        listed = not isinstance(refused, StoreThrottled | StoreExpired) and is_listed(entry.spec, ports=ports)
        if may_stay and listed:
            ports.journal.record(before)
        else:
            refused.add_note(Note(_continues_note(entry, listed=listed)))
        raise
    except DeviceFault as fault:  # the credential on the key is removed after the device in IAM
        fault.add_note(Note(_continues_note(entry, listed=False)))
        raise
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(Note(_continues_note(entry, listed=None)))
        raise
    finally:
        done = _revoked(entry, purpose=purpose, ports=ports)
    return done


def _revoked(entry: JournalEntry, *, purpose: RunKind, ports: EnrollmentPorts) -> Revoked:
    """Return the result of a revocation. If the device is lost, print the commands that end the user's sessions."""
    ending = _note_session_commands(entry.spec.user, ports=ports) if purpose is RunKind.LOST else ()
    return Revoked(user=entry.spec.user, serial=entry.spec.serial, backup=entry.backup, end_sessions=ending)


def _continues_note(entry: JournalEntry, *, listed: bool | None) -> str:
    """Return a note on an unfinished removal. `listed` says whether the user still has the device; None is unknown."""
    serial, user = entry.spec.serial, entry.spec.user
    state = {
        True: f"{user} still has {serial}",
        False: f"{user} no longer has {serial}, but its removal is not finished",
        None: f"the removal of {serial} is not finished",
    }[listed]
    return f"{state}; the next command for {user} continues it"


# When the old device of a replacement is removed.
WHEN_LOST, WHEN_REPLACED = "before the new device is created", "after the new device works"


def confirm_removal(entry: JournalEntry, *, when: str, person: Interaction | None) -> None:
    """Ask a person to type the name of the device to remove, unless `person` is None.

    `entry` is the journal's entry for the device. `when` says when the device will be removed. Raise Declined if the
    person types something else or cannot be asked.
    """
    if person is not None:
        person.confirm(f"{entry.spec.serial} will be removed from {entry.spec.user} {when}", typed=entry.spec.name)


def removal_steps(entry: JournalEntry, *, lost: bool, ports: EnrollmentPorts) -> list[str]:
    """Return the steps of removing a device, one phrase each, in order, for a dry run."""
    spec = entry.spec
    virtual = DeviceType.of(spec.serial) is DeviceType.VIRTUAL
    return [
        f"deactivate {spec.serial} for {spec.user}",
        *([f"delete {spec.serial}"] if virtual else []),
        *([f"remove its credential from {spec.hardware}"] if spec.method.name in ports.on_keys and not lost else []),
        *([f"remove its backup {entry.backup}"] if entry.backup else []),
    ]


def method_of_old_device(
    user: str, device_name: str | None, *, caller: Caller, ports: EnrollmentPorts, run: str
) -> Method | None:
    """Return the method of the device that a replacement of this name would remove, or None if there is no device.

    The user's interrupted runs are settled first. Raise UsageFault if `device_name`, which is as in `look_to_replace`,
    does not select exactly one device.
    """
    check_user(user)
    settle_dead_runs(caller.account, user, ports=ports)
    devices = ports.iam_reader.devices(user)
    if not devices and device_name is None:
        return None
    device = choose_device(user, device_name, devices=devices)
    return entry_of_device(device, caller=caller, ports=ports, now=run).spec.method


def no_device(user: str) -> UsageFault:
    """Return the error for a user who has no device to replace."""
    staged = suggest("or, if a device is staged for them, enable it", "rollout activate -i IDENTITY --only {}", user)
    return UsageFault(
        f"{user} has no MFA device", Message("enroll one", mfa_kit("enroll {} --with KIND", user), staged)
    )


def look_to_replace(
    request: EnrollRequest,
    backend: DeviceBackend,
    *,
    device_name: str | None,
    lost: bool,
    caller: Caller,
    ports: EnrollmentPorts,
    run: str,
) -> tuple[DeviceSpec, JournalEntry | None]:
    """Plan a replacement: return the intent of the new device, and the entry of the device to remove.

    The user's interrupted runs are settled first. If the user has a copy of the old device's backup, a warning says
    that it will be removed. The entry is None if a lost device no longer exists, for example when an interrupted
    command is run again. `device_name` is the serial, ARN or name of the device to remove, or None for the user's only
    device. Raise UsageFault if `device_name` does not select exactly one device, or if the new device cannot be made.
    """
    check_user(request.user)
    settle_dead_runs(caller.account, request.user, ports=ports)
    devices = ports.iam_reader.devices(request.user)
    if lost and not devices and device_name is None:
        ports.progress.alert(f"{request.user} has no MFA device, so none is removed")
        return plan_device(request, backend, devices=(), caller=caller, ports=ports), None
    if not devices and device_name is None:
        raise no_device(request.user)
    device = choose_device(request.user, device_name, devices=devices)
    old = entry_of_device(device, caller=caller, ports=ports, now=run)
    if old.spec.recipient:
        # The new device's copy might be opened with a key that was lost together with the old device.
        ports.progress.alert(
            Message(
                f"warning: the copy of the backup that only {request.user} can open is removed with {old.spec.name}, "
                "and the new device has no such copy; to hand over its secret",
                mfa_kit("backup show {} -i IDENTITY -o FILE", request.user),
            )
        )
    if lost:
        others = [other for other in devices if other != device]
        return plan_device(request, backend, devices=others, caller=caller, ports=ports, going=device.serial), old
    check_room(
        request.user,
        devices,
        message_end="so a device must be removed before a new device is created",
        or_else=f"; or add --lost if the device {old.spec.name} is lost",
    )
    spec = plan_device(request, backend, devices=devices, caller=caller, ports=ports)
    return replace(spec, replaces=old.spec.serial, replaces_run=old.run, replaces_since=old.since), old


def replace_device(
    spec: DeviceSpec,
    old: JournalEntry | None,
    backend: DeviceBackend,
    *,
    lost: bool,
    ports: EnrollmentPorts,
    run: str,
    procedure: EnrollmentProcedure = CREATING,
) -> Replaced:
    """Make a new device, remove the old device once IAM lists the new one, and return the result.

    `old` is the entry of the old device; None if a lost device no longer exists. If the old device is lost, it is
    removed before the new device is made.
    """
    if lost or old is None:
        gone = retire(old, purpose=RunKind.LOST, ports=ports) if old else None
        ending = gone.end_sessions if gone else _note_session_commands(spec.user, ports=ports)
        try:
            enrolled = make_reserved(procedure, spec, backend, ports=ports, run=run)
        except BaseException as error:
            if gone:
                error.add_note(
                    Note(
                        Message(
                            f"{gone.serial} was already removed; see the other devices",
                            mfa_kit("status {}", spec.user),
                            "then enroll a new one",
                            mfa_kit("enroll {} --add", spec.user),
                        )
                    )
                )
            raise
        return Replaced(enrolled=enrolled, revoked=gone, end_sessions=ending)
    enrolled = make_reserved(procedure, spec, backend, ports=ports, run=run)
    if not enrolled.listed:
        ports.progress.alert(f"warning: {old.spec.serial} is kept until IAM lists the new device")
        return Replaced(enrolled=enrolled, revoked=None)
    try:
        return Replaced(enrolled=enrolled, revoked=retire(old, purpose=RunKind.REVOKE, ports=ports, may_stay=False))
    except (MfaKitError, KeyboardInterrupt) as error:
        error.add_note(Note(f"{enrolled.spec.serial} works; only {old.spec.serial} still has to be revoked"))
        raise


def _note_session_commands(user: str, *, ports: EnrollmentPorts) -> tuple[str, ...]:
    """Print and return the commands that end the user's current sessions."""
    commands = session_commands(user, time=ports.iam_reader.now())
    ports.progress.alert("to end the user's sessions, run these commands in this order, the last for each session:")
    for line in commands:
        ports.progress.alert(Message("  ", line))
    return commands


def session_commands(user: str, *, time: float | None) -> tuple[str, ...]:
    """Return the AWS CLI commands that end those sessions of a user which began before `time` (Unix seconds).

    The first command adds a policy that denies the requests of these sessions, by their aws:TokenIssueTime (IAM user
    guide, "Disabling permissions for temporary security credentials"). If `time` is None, the policy denies all
    requests of the user, now and later. The other commands list and end sessions of `aws login`, because these
    sessions can still be refreshed (AWS Sign-In API, BatchRevokeSessions).
    """
    older = {} if time is None else {"Condition": {"DateLessThan": {"aws:TokenIssueTime": iso_time(time)}}}
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", **older}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    name = "DenyEverything" if time is None else "EndOlderSessions"
    # The ARN is in quotation marks, because the path of a user may have characters that a shell expands.
    get = command("aws iam get-user --user-name {} --query User.Arn --output text", user)
    arn = ShellText(f'"$({get})"')
    attach = "aws iam put-user-policy --user-name {} --policy-name {} --policy-document {}"
    return (
        command(attach, user, name, policy),
        command("aws signin list-sessions --principal-arn {}", arn),
        command(
            "aws signin batch-revoke-sessions --principal-arn {} --session-arns SESSION_ARN",
            arn,
        ),
    )
