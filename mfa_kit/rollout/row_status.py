"""Computes the current status of each row of a plan from the ledger and IAM."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Event

from mfa_kit.core.device_records import DeviceState, RecordedState, RunRecords
from mfa_kit.core.errors import AlreadyExists
from mfa_kit.core.interaction import LiveProgress, counting
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.models import Device, DeviceType, JournalEntry, JournalState
from mfa_kit.enrollment.planning import device_names, devices_while_there, serials_of
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.rollout.execution import RowOutcome, RowResult, Workers
from mfa_kit.rollout.plan import Action, DeviceLookup, Plan, PlanStep, devices_by_user
from mfa_kit.rollout.proven_devices import ProvenDevices, prove_devices, why_unproven
from mfa_kit.rollout.watching import Failure

STANDS = {JournalState.ENABLED, JournalState.CONFIRMED}
# The outcome and reason of a row for which `apply` makes no device. If the reason is empty, the plan's reason is used.
WITHOUT_WORK = {
    Action.SELF: (RowOutcome.WAITING, ""),
    Action.STATION: (RowOutcome.WAITING, suggest("to be enrolled in person", "rollout station")),
    Action.STAGED: (RowOutcome.NOT_STARTED, "the device is no longer staged; make a new plan"),
    Action.SKIP: (RowOutcome.SKIPPED, ""),
    Action.BLOCKED: (RowOutcome.BLOCKED, ""),
}


def look_up_devices(users: Iterable[str], *, ports: EnrollmentPorts, workers: int) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's devices in IAM, by user name; () if the user is deleted or has no device.

    At most `workers` requests are in progress at a time.
    """

    def look_up(user: str) -> tuple[str, tuple[str, ...]]:
        return user, serials_of(devices_while_there(user, iam_reader=ports.iam_reader) or ())

    return dict(Workers(act=look_up, number=workers, stop=Event()).work_through(users))


def look_up_counted(
    users: Sequence[str], ports: EnrollmentPorts, *, workers: int, progress: LiveProgress
) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's devices from IAM, by user name. Show how many users have been looked up.

    The value is () for a user who was deleted or has no device. Up to `workers` requests are in progress at a time.
    """
    with counting(progress, "looking up users", users, len(users)) as counted:
        return look_up_devices(counted, ports=ports, workers=workers)


def entries_by_serial(account: str, *, ports: EnrollmentPorts) -> dict[str, JournalEntry]:
    """Return the last enrollment entry of each device in an account, by serial. Undone enrollments are left out."""
    return {entry.spec.serial: entry for entry in ports.journal.made(account)}


def known_hardware(entries: Iterable[JournalEntry]) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's security keys and tokens, by user name.

    These devices are taken from the journal entries `entries`, because IAM's list of virtual devices contains neither
    security keys nor tokens. Users without such a device are left out.
    """
    return join_serials(
        *(
            {entry.spec.user: (entry.spec.serial,)}
            for entry in entries
            if DeviceType.of(entry.spec.serial) is not DeviceType.VIRTUAL and entry.reached in STANDS
        )
    )


def join_serials(*listings: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user in several mappings from users to serials, in their order."""
    joined: dict[str, tuple[str, ...]] = {}
    for listing in listings:
        for user, serials in listing.items():
            joined[user] = (*joined.get(user, ()), *serials)
    return joined


def result_without_work(
    step: PlanStep, plan: Plan, has: tuple[str, ...], ours: Mapping[str, JournalEntry], *, ports: EnrollmentPorts
) -> RowResult | None:
    """Return the result of a row for which `apply` makes no device; None if `apply` has to make one.

    `has` are the serials of the user's devices. `ours` are this computer's journal entries by serial.
    """
    devices = plan.devices_of(step.row, has, before=step.devices)
    if devices and step.action is not Action.SKIP:
        return result_of_devices(step, devices, ours, ports=ports)
    entry = ours.get(plan.intent_of(step.row).serial)
    if entry and entry.reached is JournalState.STAGED:
        return RowResult.of_entry(entry, RowOutcome.STAGED).of_row(step.row)
    if step.by_apply:
        return None
    outcome, reason = WITHOUT_WORK[step.action]
    device = step.devices[0] if step.devices and not step.row.is_further else None
    return RowResult(user=step.user, outcome=outcome, reason=reason or step.reason, device=device).of_row(step.row)


def result_of_devices(
    step: PlanStep, has: tuple[str, ...], ours: Mapping[str, JournalEntry], *, ports: EnrollmentPorts
) -> RowResult:
    """Return the result of a row that is done. `ours` are journal entries by serial.

    `has` are the serials of the devices with which it is done, as `Plan.devices_of`. The outcome is "enrolled" if the
    row's kind is `self`. It is also "enrolled" if this computer enrolled one of the devices, and the device's backup
    exists or was never made. Otherwise, the outcome is "skipped", for example because another run has enabled the
    device and not recorded that yet.
    """
    entries = [entry for serial in has if (entry := ours.get(serial)) and entry.spec.user == step.user]
    results = [
        _result_of_entry(entry, ports=ports) for entry in entries if entry.is_half_made or entry.reached in STANDS
    ]
    if results:
        return next((result for result in results if result.earlier), results[0]).of_row(step.row)
    if step.action is Action.SELF:
        return RowResult(user=step.user, outcome=RowOutcome.ENROLLED, reason="enrolled themselves", device=has[0])
    seeded = any(DeviceType.of(serial) is DeviceType.VIRTUAL for serial in has)
    reason = (
        f"has {', '.join(has)}{', of which neither the ledger nor a record of a run has a backup' if seeded else ''}"
    )
    return RowResult(user=step.user, outcome=RowOutcome.SKIPPED, reason=reason, device=has[0]).of_row(step.row)


def _result_of_entry(entry: JournalEntry, *, ports: EnrollmentPorts) -> RowResult:
    """Return the result of a row whose user has the entry's device.

    The user was enrolled by an earlier run if the device's backup exists, or was never made.
    """
    if entry.is_half_made:
        unfinished = f"run {entry.run} has not finished the user's device yet; for the result"
        return RowResult.of_entry(entry, RowOutcome.SKIPPED, suggest(unfinished, "rollout status"))
    if entry.backup is None or ports.store.find(entry):
        return RowResult.of_earlier(entry)
    missing = f"run {entry.run} enrolled them, but {entry.backup} is missing; for a device with a new backup"
    command = "replace {} --with virtual"
    return RowResult.of_entry(entry, RowOutcome.SKIPPED, suggest(missing, command, entry.spec.user))


def look_up_status(
    plan: Plan,
    *,
    holders: Mapping[str, str | None],
    look: DeviceLookup,
    failures: Mapping[str, Failure],
    record: RunRecords,
    ports: EnrollmentPorts,
    states: Mapping[str, RecordedState] | None = None,
) -> list[RowResult]:
    """Return the status of every row, in the plan's order.

    `holders` has the user of each virtual device by serial. `look` looks up the devices of users without a virtual
    device. `failures` has each user's last failure, by user name. `record` are the lines of the records of runs.
    `states` are the recorded states of devices by serial; without them, nothing is said about old devices.
    """
    has = devices_by_user(holders)
    # IAM's list of virtual devices has no keys and tokens.
    unlisted = {step.user for step in plan.steps if _has_unlisted(step)}
    open_steps = [step for step in plan.steps if step.action is not Action.BLOCKED]
    looked_up = look([*dict.fromkeys(s.user for s in open_steps if s.user not in has or s.user in unlisted)])
    has |= looked_up
    proven = prove_devices(plan.account, holders=holders, record=record, ports=ports)
    results: list[RowResult] = []
    for step in plan.steps:
        serials = has.get(step.user, ())
        result = _row_status(step, plan, serials, proven, failures.get(step.key), ports=ports).of_row(step.row)
        if states is not None and (step.user in looked_up or DeviceType.of(step.replaces) is DeviceType.VIRTUAL):
            new = plan.find_device(step.row, serials, before=step.devices)
            reason = clauses([result.reason, _old_device(step, new, serials, states)])
            result = replace(result, reason=reason, old_left=new is not None and _is_listed(step, serials))
        results.append(result)
    return results


def _has_unlisted(step: PlanStep) -> bool:
    """Return whether the new or the old device of a further row is a key or a token."""
    is_old_listed = not step.replaces or DeviceType.of(step.replaces) is DeviceType.VIRTUAL
    return step.row.is_further and not (step.row.kind.is_virtual and is_old_listed)


def _is_listed(step: PlanStep, has: Iterable[str]) -> bool:
    """Return whether the old device of a row, whose serial or name the plan has, is among a user's devices."""
    return any(step.replaces in device_names(Device(serial, step.user)) for serial in has)


def _old_device(step: PlanStep, new: str | None, has: tuple[str, ...], states: Mapping[str, RecordedState]) -> str:
    """Return what is known of the old device of a row whose new device is `new`, or "". `has` are the user's devices.

    Only `rollout finish` looks for sign-ins, which are the only proof of a security key.
    """
    if new is None or not step.replaces:
        return ""
    if not _is_listed(step, has):
        return f"{step.replaces} is removed"
    state = states.get(new)
    codes = state.how if state and state.state is DeviceState.PROVEN else ""
    proof = f"proven by {codes}" if codes and DeviceType.of(new) is not DeviceType.FIDO2 else "not proven yet"
    return suggest(f"{proof}; the old device {step.replaces} stays until it is removed", "rollout finish")


def _row_status(
    step: PlanStep,
    plan: Plan,
    has: tuple[str, ...],
    proven: ProvenDevices,
    failure: Failure | None,
    *,
    ports: EnrollmentPorts,
) -> RowResult:
    spec, ours = plan.intent_of(step.row), proven.entries
    if why := _why_failed(step, plan, has, proven):
        cause = AlreadyExists.__name__
        return RowResult(user=step.user, outcome=RowOutcome.FAILED, cause=cause, reason=why, device=spec.serial)
    making = _half_made(ours.get(spec.serial))
    # A run may have assigned the device to its user already, although the run is not finished.
    unfinished = making is not None and spec.serial in has
    result = None if unfinished else result_without_work(step, plan, has, ours, ports=ports)
    failed_before = failure is not None and step.open
    if result is not None and not (failed_before and result.outcome is RowOutcome.WAITING):
        return result
    return RowResult.of_failure(failure) if failure else _result_of_open(step, making)


def _why_failed(step: PlanStep, plan: Plan, has: tuple[str, ...], proven: ProvenDevices) -> str | None:
    """Return why a row without a device cannot get it: a device that nothing proves has its name. Otherwise None."""
    is_waiting = step.open and not plan.devices_of(step.row, has)
    return why_unproven(plan.intent_of(step.row), proven) if is_waiting else None


def _result_of_open(step: PlanStep, making: JournalEntry | None) -> RowResult:
    """Return the result of a row whose device is still to be made. `making` is the entry of its half-made device."""
    if making is None:
        return RowResult(user=step.user, outcome=RowOutcome.NOT_STARTED)
    reason = suggest("a run is creating the device, or was interrupted; to continue", "rollout apply")
    return RowResult.of_entry(making, RowOutcome.HALF_MADE, reason)


def _half_made(entry: JournalEntry | None) -> JournalEntry | None:
    return entry if entry and entry.is_half_made else None


def results_of_others(
    plan: Plan, *, entries: Sequence[JournalEntry], failures: Mapping[str, Failure]
) -> list[RowResult] | None:
    """Return the results of all users of a plan, or None if the ledger lacks the result of at least one user.

    `entries` has the last journal entry of each device in the account. `failures` has the failures that were
    recorded after this worker began, by user name.
    """
    by_serial = {entry.spec.serial: entry for entry in entries}
    results = []
    for step in plan.steps:
        result = _result_of(step, by_serial.get(plan.intent_of(step.row).serial), failures.get(step.key))
        if result is None:
            return None
        results.append(result.of_row(step.row))
    return results


def _result_of(step: PlanStep, entry: JournalEntry | None, failure: Failure | None) -> RowResult | None:
    if entry and entry.reached in STANDS:
        return RowResult.of_earlier(entry)
    if entry and entry.reached is JournalState.STAGED:
        return RowResult.of_entry(entry, RowOutcome.STAGED)
    if failure:
        return RowResult.of_failure(failure)
    if entry or step.action is not Action.SKIP:
        return None  # only IAM shows whether this user has a device
    device = step.devices[0] if step.devices else None
    return RowResult(user=step.user, outcome=RowOutcome.SKIPPED, reason=step.reason, device=device)
