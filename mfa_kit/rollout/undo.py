"""Removes the devices that a run made."""

from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import NamedTuple

from mfa_kit.core.errors import Lockout, MfaKitError, NoSuchEntity
from mfa_kit.core.message import Message, clauses, mfa_kit, suggest
from mfa_kit.core.models import (
    RUN,
    RUN_TAG,
    STAGED_TAG,
    USER_TAG,
    DeviceSpec,
    JournalEntry,
    JournalState,
    RunKind,
    RunTag,
    run_time,
)
from mfa_kit.core.text import count_of, few
from mfa_kit.enrollment.planning import serials_of
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.revoke import retire
from mfa_kit.enrollment.settling import settle_dead_runs
from mfa_kit.rollout.execution import Execution, RowOutcome, RowResult, Workers, devices_left, take_over_runs
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.posting import remove_posted
from mfa_kit.rollout.proven_devices import ProvenDevices

KEEPS_LAST = Message("enroll another device first", mfa_kit("enroll USER --add"), "or add --leave-without-mfa")


def undo_devices(
    entries: Sequence[JournalEntry],
    *,
    leave_without_mfa: bool,
    ports: EnrollmentPorts,
    execution: Execution,
    unassigned_only: bool = False,
) -> Generator[RowResult, None, None]:
    """Remove exactly the devices of these entries, and yield one result per device.

    A user's devices are removed one after another, and the last one only if `leave_without_mfa` is true. A device that
    has replaced another one stays, because the other one cannot come back. With `unassigned_only`, a device that got
    its user in the meantime stays too. Raise UsageFault if a run that made one of the devices is still in progress.
    """
    take_over_runs(entries, ports=ports)
    locks = {entry.spec.user: Lock() for entry in entries}
    removed: set[str] = set()

    def undo(entry: JournalEntry) -> RowResult:
        user = entry.spec.user
        with locks[user]:
            _settle_old_device(entry.spec, ports=ports)
            # A deleted user has no device, but a staged device, which is not assigned, may still exist.
            devices = devices_left(user, ports=ports, own=entry.spec.serial) or ()
            return remove(entry, {*serials_of(devices)} - removed)

    def remove(entry: JournalEntry, serials: set[str]) -> RowResult:
        user, serial = entry.spec.user, entry.spec.serial
        _check_old_device(entry.spec, serials)
        if unassigned_only and serial in serials:
            raise Lockout(f"{serial} was enabled for {user} in the meantime", suggest("see", "rollout status PLAN"))
        if not leave_without_mfa and (new := _find_replacement(serial, serials, ports=ports)):
            raise Lockout(
                f"{new} is to replace {serial}, and may not work yet",
                suggest("to remove the old device once the new one is proven", "rollout finish PLAN"),
            )
        if serials == {serial} and not leave_without_mfa:
            error = Lockout(
                f"{serial} is the last MFA device of {user}",
                Message("enroll another device first", mfa_kit("enroll {} --add", user), "or add --leave-without-mfa"),
            )
            common = clauses(["it is the user's last MFA device", KEEPS_LAST])
            return replace(RowResult.of_error(entry.spec, error, run=entry.run), common=common)
        if entry.spec.posted and serial not in serials:
            remove_posted(entry, ports=ports)
        else:
            retire(entry, purpose=RunKind.REVOKE, ports=ports)
        removed.add(serial)
        return RowResult.of_entry(entry, RowOutcome.REVOKED)

    yield from execution.process_devices(entries, undo)


def _find_replacement(serial: str, serials: set[str], *, ports: EnrollmentPorts) -> str | None:
    """Return which of a user's devices a plan has made to replace the one with this serial, or None."""
    specs = [entry.spec for other in sorted(serials - {serial}) if (entry := ports.journal.find(other))]
    return next((spec.serial for spec in specs if (spec.replaces, spec.replaces_run) == (serial, None)), None)


def _settle_old_device(spec: DeviceSpec, *, ports: EnrollmentPorts) -> None:
    """Finish an interrupted removal of the device that a device replaces. Raise its error if it cannot be finished."""
    if not spec.replaces:
        return
    for entry, ended in settle_dead_runs(spec.account, spec.user, ports=ports, without_key={spec.replaces}):
        if entry.spec.serial == spec.replaces and isinstance(ended, MfaKitError):
            raise ended


def has_replaced(spec: DeviceSpec, serials: Container[str]) -> bool:
    """Return whether a device of a rollout has replaced another one, which is gone. `serials` are its user's devices.

    `mfa-kit replace` also records the run of the old device.
    """
    old = spec.replaces if spec.replaces_run is None else None
    return spec.serial in serials and old is not None and old not in serials


def _check_old_device(spec: DeviceSpec, serials: Container[str]) -> None:
    """Raise Lockout if a device has replaced another one. `serials` are those of the user's devices."""
    if has_replaced(spec, serials):
        raise Lockout(
            f"{spec.serial} has replaced {spec.replaces}, which {spec.user} no longer has, and which cannot come back",
            suggest("to remove it nevertheless", "revoke {} --mfa-device {}", spec.user, spec.serial),
        )


class TaggedDevice(NamedTuple):
    """A virtual device whose tags name a run of mfa-kit and its user. `staged` means that the run staged it."""

    serial: str
    run: str
    user: str
    staged: bool


def read_run_tags(serials: Iterable[str], *, ports: EnrollmentPorts, workers: int) -> list[TaggedDevice]:
    """Return those of some devices whose tags say that a run of mfa-kit made them.

    Each device takes one ListMFADeviceTags. Raise AccessDenied if it is denied.
    """

    def look(serial: str) -> TaggedDevice | None:
        with suppress(NoSuchEntity):
            tags = ports.iam_reader.tags(serial)
            if RUN.fullmatch(run := tags.get(RUN_TAG, "")):
                return TaggedDevice(serial, run, tags.get(USER_TAG, ""), tags.get(STAGED_TAG) == "yes")
        return None

    return [device for device in Workers(act=look, number=workers, stop=Event()).work_through(serials) if device]


def find_unknown(
    plan: Plan, proven: ProvenDevices, holders: Mapping[str, str | None], *, ports: EnrollmentPorts, workers: int
) -> list[str]:
    """Return the users for whom a run made a device of a plan that neither the ledger nor a record has.

    Such a device exists, and its tags name a run of mfa-kit. Commands that go by the runs of the plan pass it over.
    `holders` has the user of each virtual device that IAM lists, by serial; None for an unassigned device. Devices that
    the user had before the plan do not count, and those whose lines are refused are named elsewhere.
    """
    known = {*proven.entries, *proven.refused}
    users = {plan.intent_of(step.row).serial: step for step in plan.steps if step.makes_device}
    serials = [
        serial
        for serial, step in users.items()
        if holders.get(serial, "") in {None, step.user} and serial not in known and serial not in (step.devices or ())
    ]

    def look(serial: str) -> str | None:
        run = ports.iam_reader.run_of(serial)
        # The ledger has an entry of a removal that was interrupted, and this command continues it.
        is_unknown = not isinstance(run, RunTag) and ports.journal.find(serial, run=run) is None
        return users[serial].user if is_unknown else None

    return [user for user in Workers(act=look, number=workers, stop=Event()).work_through(serials) if user]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecorded:
    """The devices of a plan that nothing proves: those that may be removed, and the half-made ones that may not yet.

    `older_than` is the age in seconds that the run of a half-made device must have, and `now` AWS's time in Unix
    seconds.
    """

    entries: Sequence[JournalEntry]
    young: Sequence[JournalEntry]
    older_than: float
    now: float

    @property
    def why_left(self) -> Message | None:
        """Why `young` are left, and the command that removes them; None if there are none."""
        if not self.young:
            return None
        users = sorted(entry.spec.user for entry in self.young)
        age = max(1, int(self.now - max(run_time(entry.run) for entry in self.young)))
        return Message(
            f"{count_of(len(users), 'half-made device')} left ({few(users)}), because another computer may be at work "
            "on them; if no other computer works on this plan",
            mfa_kit("rollout undo PLAN --adopt-unrecorded --older-than {}", f"{age}s"),
        )


def find_unrecorded(
    plan: Plan, proven: ProvenDevices, *, ports: EnrollmentPorts, workers: int, older_than: float, shared: bool
) -> Unrecorded:
    """Return the devices of a plan that nothing proves, as journal entries.

    Such a device has no user, and its tags say that a run made it for the plan's user. If it is not staged, its run may
    still be at work on another computer: it may be removed if the ledger is `shared` and has no such run at work, or if
    the run began more than `older_than` seconds ago. The backups are found by name. Raise AccessDenied if tags cannot
    be read.
    """
    steps = {plan.intent_of(step.row).serial: step for step in plan.steps}
    now = ports.iam_reader.now()
    entries: list[JournalEntry] = []
    young: list[JournalEntry] = []
    for device in read_run_tags(proven.unassigned & steps.keys(), ports=ports, workers=workers):
        spec = plan.intent_of(steps[device.serial].row, staged=device.staged)
        if device.user != spec.user:
            continue
        reached = JournalState.STAGED if device.staged else JournalState.CREATED
        entry = JournalEntry(run=device.run, spec=spec, reached=reached)
        ended = not ports.journal.lives(device.run) and (shared or now - run_time(device.run) > older_than)
        (entries if device.staged or ended else young).append(replace(entry, backup=ports.store.find(entry)))
    return Unrecorded(entries=entries, young=young, older_than=older_than, now=now)
