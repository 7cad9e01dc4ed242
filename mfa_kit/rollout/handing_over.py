"""The hand-over: which user gets which encrypted file, and which users the rollout still waits for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.device_records import DeviceState, RecordedState
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.models import (
    VIRTUAL,
    BackupLocation,
    Copies,
    DeviceSpec,
    JournalEntry,
    JournalState,
    recorded_location,
    run_time,
)
from mfa_kit.core.text import encoded
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.proven_devices import UNRECORDED, ProvenDevices
from mfa_kit.rollout.row_status import STANDS


class HandoverState(StrEnum):
    """The state of a device that is handed over.

    ENROLLED: AWS asks for a code at the user's next sign-in. STAGED: `rollout activate` enables the device later.
    SELF: the user registers a device; there is no file.
    """

    ENROLLED = "enrolled"
    STAGED = "staged"
    SELF = "self"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A user who gets a letter, and a file unless they register their device themselves.

    `spec` is the user's device, and `entry` its journal entry. `copy` is the place of the file, and only the user can
    decrypt the file. Both are None for a user who registers the device. With `by_passphrase`, `copy` is the place of
    the administrators' backup instead, and the user gets a new file that a passphrase opens. `number` is that of this
    file and its letter, or "" before they are written. `email` may be "".
    """

    spec: DeviceSpec
    state: HandoverState
    entry: JournalEntry | None = None
    copy: BackupLocation | None = None
    by_passphrase: bool = False
    number: str = ""
    email: str = ""

    @property
    def user(self) -> str:
        """The user's name."""
        return self.spec.user

    @property
    def folder(self) -> str:
        """The name of the user's folder: the same as in the folder of backups, and valid on every system."""
        return encoded(self.user)

    @property
    def file(self) -> str:
        """The name of the user's file, or ""."""
        if self.by_passphrase:
            return f"{self.numbered}-{self.number}.png.age"
        return self.copy.name if self.copy else ""

    @property
    def numbered(self) -> str:
        """The name of a file that a passphrase opens, without its number."""
        return encoded(f"{self.spec.path}{self.spec.name}"[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A user who gets no letter, and why. `account` is "" unless the hand-over is for several accounts.

    `unproven` means that IAM has a device for the user that must not be handed over, because no record proves it.
    """

    user: str
    reason: str
    account: str = ""
    unproven: bool = False


def devices_of_plan(
    plan: Plan, proven: ProvenDevices, holders: Mapping[str, str | None]
) -> tuple[list[JournalEntry], list[LeftOut]]:
    """Return the journal entries of the devices of a plan, and the users of the plan who have no such device.

    `holders` has the user of each virtual device that IAM lists, by serial; None for an unassigned device. Users who
    enroll themselves are in neither list, unless mfa-kit made a device with a file for them; `find_own` returns them.
    """
    entries, left_out = [], []
    planned = {plan.intent_of(step.row).serial for step in plan.steps}
    later = [  # the name of a run has whole seconds
        entry
        for serial, entry in proven.entries.items()
        if serial not in planned and run_time(entry.run) + 1 > plan.planned_at
    ]
    for step in plan.steps:
        spec = plan.intent_of(step.row)
        entry, in_iam = proven.entries.get(spec.serial), holders.get(spec.serial, "") in {None, step.user}
        own = step.action is Action.SELF
        if entry is not None and entry.spec.user == step.user and (entry.spec.recipient or not own):
            entries.append(entry)
        elif own:
            continue
        elif in_iam and step.by_apply:
            why = proven.refused.get(spec.serial, UNRECORDED)
            left_out.append(
                LeftOut(user=step.user, reason=Message("IAM has a device for them, but ", why), unproven=True)
            )
        else:
            left_out.append(LeftOut(user=step.user, reason=_why_none(step.user, later, holders)))
    return entries, left_out


def _why_none(user: str, later: Iterable[JournalEntry], holders: Mapping[str, str | None]) -> str:
    """Return why a user lacks a device of a plan. Name the newest of the devices that later runs made for the user."""
    of_user = [entry for entry in later if holders.get(entry.spec.serial, "") == user == entry.spec.user]
    if not of_user:
        return "mfa-kit has no device of this plan for them: it made none, or the device was replaced or removed"
    newest = max(of_user, key=lambda entry: run_time(entry.run))
    reason = f"they lack a device of this plan, but have a later one of run {newest.run}; for its file"
    return suggest(reason, "rollout handover {} -o DIR", newest.run)


def find_own(
    plan: Plan, made: Sequence[JournalEntry], look: Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]
) -> tuple[list[Handover], list[LeftOut]]:
    """Return the users of a plan who enroll themselves and have no device yet, and those who get no letter, and why.

    `made` are the entries of `devices_of_plan`, whose users are left out. `look` returns the serials of each user's
    devices.
    """
    known = {entry.spec.user for entry in made}
    steps = [step for step in plan.steps if step.action is Action.SELF and step.user not in known]
    serials = look([*dict.fromkeys(step.user for step in steps if not step.row.by_post)])
    handovers, left_out = [], []
    for step in steps:
        if step.row.by_post:
            reason = suggest("their key is sent by post; for its letter", "rollout post PLAN --letters DIR")
            left_out.append(LeftOut(user=step.user, reason=reason))
        elif devices := plan.devices_of(step.row, serials.get(step.user, ()), before=step.devices):
            left_out.append(LeftOut(user=step.user, reason=f"they enrolled themselves: they have {devices[0]}"))
        else:
            spec, email = plan.intent_of(step.row), step.row.email or ""
            handovers.append(Handover(spec=spec, state=HandoverState.SELF, email=email))
    return handovers, left_out


NO_KEY = suggest(
    "there is no file that only they can decrypt, because their device was made without a public key of theirs; for a "
    "file with a passphrase",
    "rollout handover PLAN -o DIR --passphrase-files -i IDENTITY --passphrases DIR2",
)
NO_BACKUP = "their device was made without a public key of theirs, and there is no backup of the administrators"


def find_handovers(
    entries: Sequence[JournalEntry],
    *,
    holders: Mapping[str, str | None],
    emails: Mapping[str, str],
    copies_of: Callable[[JournalEntry], Copies],
    passphrases: bool = False,
) -> tuple[list[Handover], list[LeftOut]]:
    """Return the users who get a file, and those who get none, with the reason.

    `holders` has the user of each virtual device that IAM lists, by serial; None for an unassigned device. `emails` has
    the addresses by user name. `copies_of` returns the places of a device's backup. With `passphrases`, users without a
    file of their own get one that a passphrase opens, if there is a backup of the administrators.
    """
    handovers: list[Handover] = []
    left_out: list[LeftOut] = []
    for entry in entries:
        user, copies = entry.spec.user, copies_of(entry)
        copy = copies.user or (copies.admin if passphrases else None)
        if obstacle := _obstacle(entry, holders):
            left_out.append(LeftOut(user=user, reason=obstacle))
        elif foreign := [path for path in copies if path and not entry.owns(recorded_location(path))]:
            left_out.append(LeftOut(user=user, reason=f"{foreign[0]} is not a backup of their device", unproven=True))
        elif copy is None:
            left_out.append(LeftOut(user=user, reason=NO_BACKUP if passphrases else NO_KEY))
        else:
            handovers.append(
                Handover(
                    spec=entry.spec,
                    entry=entry,
                    state=HandoverState.STAGED if entry.reached is JournalState.STAGED else HandoverState.ENROLLED,
                    copy=recorded_location(copy),
                    by_passphrase=copies.user is None,
                    email=emails.get(user, ""),
                )
            )
    return handovers, left_out


def _obstacle(entry: JournalEntry, holders: Mapping[str, str | None]) -> str:
    """Return why a device cannot be handed over, or "" if it can."""
    serial = entry.spec.serial
    if entry.spec.method.name != VIRTUAL.name:
        return "their device is a key or a token, so there is no file to send"
    if serial not in holders:
        return f"IAM does not list {serial}"
    enrolled = entry.reached in STANDS and holders[serial] == entry.spec.user
    staged = entry.reached is JournalState.STAGED and holders[serial] is None
    if enrolled or staged:
        return ""
    return suggest(f"{serial} is neither staged nor enabled for them; see", "rollout status")


class Awaited(StrEnum):
    """What a user still has to do.

    ARRIVAL: confirm that their key has arrived. PROOF: send codes for their staged device. SELF: enroll themselves.
    """

    ARRIVAL = "arrival"
    PROOF = "proof"
    SELF = "self"


# What the user of a key by post still has to do, by the state of the key.
POSTED = {DeviceState.PREPARED: Awaited.ARRIVAL, DeviceState.ARRIVED: Awaited.PROOF}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """A user to remind, and what they still have to do. `email` may be "".

    For a user with a staged device, `since` is the Unix time at which the device's run began, and `device` is the
    device's serial. `backup` is then the user's own copy, or else the administrators' file. For a user who enrolls
    themselves, `since` is when the plan was made, and `device` and `backup` are None.
    """

    user: str
    awaited: Awaited
    since: float
    email: str = ""
    device: str | None = None
    backup: str | None = None


def find_reminders(plan: Plan, results: Iterable[RowResult], states: Mapping[str, RecordedState]) -> Iterator[Reminder]:
    """Yield the users to remind, in the plan's order. `results` has the status of every row of the plan.

    `states` has the newest state of each device by its serial.
    """
    steps = {step.key: step for step in plan.steps}
    for result in results:
        step = steps[result.key]
        email = step.row.email or ""
        if result.outcome is RowOutcome.WAITING and step.action is Action.SELF:
            yield Reminder(user=result.user, awaited=Awaited.SELF, since=plan.planned_at, email=email)
        elif result.run and (awaited := _awaited(step, result, states)):
            yield Reminder(
                user=result.user,
                awaited=awaited,
                since=run_time(result.run),
                email=email,
                device=result.device,
                backup=result.user_backup or result.admin_backup,
            )


def _awaited(step: PlanStep, result: RowResult, states: Mapping[str, RecordedState]) -> Awaited | None:
    """Return what the user of a staged device still has to do, or None if it is nothing, or no device is staged."""
    if result.outcome is not RowOutcome.STAGED:
        return None
    if not step.row.by_post:
        return Awaited.PROOF
    newest = states.get(result.device or "")
    return POSTED.get(newest.state) if newest else None
