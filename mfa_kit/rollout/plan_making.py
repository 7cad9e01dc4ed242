"""Makes a plan: compares the rows of a roster, or the selected users, with IAM. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from mfa_kit.core.device_records import NO_RECORDS, RunRecords
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress, Progress, counting
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.models import STAGED_TAG, Caller, Device, JournalEntry, JournalState, RunTag
from mfa_kit.core.text import ResultRow, few
from mfa_kit.enrollment.settling import delete_command
from mfa_kit.rollout.further_devices import (
    block_keys_without_sign_in,
    block_second_names,
    block_second_replacements,
    expand_rows,
    find_old_devices,
    why_not_replaced,
)
from mfa_kit.rollout.plan import Action, DeviceChange, DeviceLookup, Plan, PlanStep, action_of, devices_by_user
from mfa_kit.rollout.proven_devices import prove_devices
from mfa_kit.rollout.roster import (
    ListedUser,
    RosterAction,
    RosterRow,
    UserSelection,
    half_names,
    keep_users,
    key_fingerprint,
)
from mfa_kit.rollout.row_status import look_up_counted

if TYPE_CHECKING:
    from mfa_kit.account.reading import AccountSource
    from mfa_kit.account.snapshot import CredentialReport
    from mfa_kit.enrollment.ports import EnrollmentPorts


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountListing:
    """Lists from IAM: the users by lower-case name, and the user of each virtual device by the device's serial.

    `holders` has None for an unassigned device.
    """

    users: Mapping[str, ListedUser]
    holders: Mapping[str, str | None]

    @classmethod
    def of(cls, users: Iterable[ListedUser], virtual: Iterable[Device]) -> AccountListing:
        """Return the listing of these users and virtual devices. Read both iterables completely."""
        return cls(
            users={user.name.lower(): user for user in users},
            holders={device.serial: device.user for device in virtual},
        )


def make_plan(
    rows: Sequence[RosterRow],
    listing: AccountListing,
    *,
    look: DeviceLookup,
    caller: Caller,
    ports: EnrollmentPorts,
    report_age: float | None = None,
    record: RunRecords = NO_RECORDS,
) -> Plan:
    """Compare the rows of a roster with IAM, and return the plan. Changes nothing.

    `look` looks up the devices of users without a virtual device. `report_age` is the age in seconds of the credential
    report that `look` uses, or None if `look` uses no report. `record` is what the records of runs say.
    """
    users = listing.users
    named = expand_rows(replace(row, user=user.name) if (user := users.get(row.user.lower())) else row for row in rows)
    has = _list_devices(named, listing, look)
    plan = Plan(
        account=caller.account,
        partition=caller.partition,
        by=caller.arn,
        planned_at=ports.iam_reader.now(),
        steps=(),
        report_age=report_age,
    )
    used = ports.journal.recipients(plan.account)
    proven = prove_devices(plan.account, holders=listing.holders, record=record, ports=ports) if record.runs else None
    adopted = {serial: proven.entries[serial] for serial in proven.adopted} if proven else {}
    replacing = find_old_devices(plan, named, has)
    steps = [_plan_step(row, plan, listing, has.get(row.user, ()), adopted, ports=ports) for row in replacing]
    steps = block_keys_without_sign_in(block_second_names(block_second_replacements(steps), plan))
    return replace(plan, steps=[replace(step, key_before=_key_before(step.row, used.get(step.user))) for step in steps])


def _list_devices(rows: Sequence[RosterRow], listing: AccountListing, look: DeviceLookup) -> dict[str, tuple[str, ...]]:
    """Return the serials of the devices of the rows' users, by user name.

    IAM's list of virtual devices has no keys and tokens. These matter if a user has no virtual device, or gets a
    further device.
    """
    has = devices_by_user(listing.holders)
    unlisted = {row.user: None for row in rows if row.is_further or row.user not in has}
    return {**has, **look([user for user in unlisted if user.lower() in listing.users])}


def _key_before(row: RosterRow, used: str | None) -> str:
    return key_fingerprint(used) if used and row.recipient and used != row.recipient else ""


def _plan_step(
    row: RosterRow,
    plan: Plan,
    listing: AccountListing,
    has: tuple[str, ...],
    adopted: Mapping[str, JournalEntry],
    *,
    ports: EnrollmentPorts,
) -> PlanStep:
    if (foreign := row.account not in {None, plan.account}) or row.user.lower() not in listing.users:
        problem = f"the user is in account {row.account}, not in" if foreign else "there is no such user in account"
        return PlanStep(row=row, action=Action.BLOCKED, reason=f"{problem} {plan.account}")
    if devices := _devices_to_skip(row, plan, has):
        if holder := _other_method(row, devices, ports=ports):
            reason = f"the device name is taken: {row.user} has {holder}; write another device_name"
            return PlanStep(row=row, action=Action.BLOCKED, reason=reason, devices=has)
        if _may_be_old(row, devices, adopted, ports=ports):
            reason = f"{devices[0]} may be the old device; name the device to replace in the column replaces"
            return PlanStep(row=row, action=Action.BLOCKED, reason=reason, devices=has)
        return PlanStep(row=row, action=Action.SKIP, reason=f"has {', '.join(devices)}", devices=has)
    if why := why_not_replaced(row, has):
        return PlanStep(row=row, action=Action.BLOCKED, reason=why, devices=has)
    return replace(_step_of_new_device(row, plan, listing, adopted, ports=ports), devices=has)


def _may_be_old(
    row: RosterRow, devices: Sequence[str], adopted: Mapping[str, JournalEntry], *, ports: EnrollmentPorts
) -> bool:
    """Return whether `devices`, which have the name of a row's new device, may be the device that the row replaces.

    That is so if the row names no device to replace, unless an exchange has made the device: then it is the new one.
    """
    if row.action is not RosterAction.REPLACE or row.replaces:
        return False
    entries = [ports.journal.find(serial) or adopted.get(serial) for serial in devices]
    return not any(entry and entry.spec.replaces for entry in entries)


def _other_method(row: RosterRow, devices: Sequence[str], *, ports: EnrollmentPorts) -> str:
    """Return which of these devices the journal has with another method than a further row, such as a phone, or ""."""
    if not row.is_further or row.kind.method is None:
        return ""
    entries = [entry for serial in devices if (entry := ports.journal.find(serial))]
    return next((entry.spec.serial for entry in entries if entry.spec.method.name != row.kind.method.name), "")


def _step_of_new_device(
    row: RosterRow,
    plan: Plan,
    listing: AccountListing,
    adopted: Mapping[str, JournalEntry],
    *,
    ports: EnrollmentPorts,
) -> PlanStep:
    """Return the step of a row that needs a new device, which is blocked if the device name is taken."""
    if row.kind.method is None:
        return PlanStep(row=row, action=Action.SELF, reason="enrolls without mfa-kit; done when IAM lists a device")
    if row.registered_by_user:
        reason = "registers the key in the console once it has arrived; done when IAM lists it"
        return PlanStep(row=row, action=Action.SELF, reason=reason)
    serial = plan.intent_of(row).serial
    if serial not in listing.holders:
        return PlanStep(row=row, action=action_of(row))
    if (holder := listing.holders[serial]) is not None:
        return PlanStep(row=row, action=Action.BLOCKED, reason=f"the device name is taken: {holder} has {serial}")
    return _judge_unassigned(row, serial, adopted.get(serial), ports=ports)


def _devices_to_skip(row: RosterRow, plan: Plan, has: tuple[str, ...]) -> tuple[str, ...]:
    """Return those devices of a row's user because of which the row is skipped.

    The halves of a pair are not a reason to skip the pair.
    """
    others: tuple[str, ...] = ()
    if row.pair and row.action is RosterAction.ENROLL:
        others = tuple(serial for serial in has if Device(serial, row.user).name not in half_names(row))
    return others or plan.devices_of(row, has)


def _judge_unassigned(row: RosterRow, serial: str, adopted: JournalEntry | None, *, ports: EnrollmentPorts) -> PlanStep:
    """Return the step of a row whose device name is already taken by the unassigned device with this serial.

    `adopted` is the entry of the device if the ledger lacks it, and a record of a run has it; otherwise None.
    """
    tagged = ports.iam_reader.run_of(serial)
    run = tagged if isinstance(tagged, str) else None
    fitting = adopted if adopted and run in {None, adopted.run} else None
    entry = ports.journal.find(serial, run=run) or fitting
    if entry and entry.reached is JournalState.STAGED:
        return PlanStep(
            row=row, action=Action.STAGED, reason=f"staged by run {entry.run}; waits for `rollout activate`"
        )
    if entry and entry.is_half_made and tagged is not RunTag.UNTAGGED:
        verb = "apply" if row.kind.unattended else "station"
        reason = f"interrupted run {entry.run} left {serial} half-made; `rollout {verb}` finishes or removes it first"
        return PlanStep(row=row, action=Action.BLOCKED, reason=reason, repair=True)
    return PlanStep(row=row, action=Action.BLOCKED, reason=_describe_stranger(serial, run, ports=ports))


def _describe_stranger(serial: str, run: str | None, *, ports: EnrollmentPorts) -> str:
    """Return the reason why an unassigned device, made by another computer or another tool, blocks a row.

    `run` is the run ID in the device's tag, or None.
    """
    if run and STAGED_TAG in ports.iam_reader.tags(serial):
        return f"another computer has staged {serial}; on that computer, use `rollout activate` or `rollout undo {run}`"
    if run:
        return suggest(f"another computer left {serial} half-made, or is creating it now; see", "orphans list")
    reason = f"the device name is taken by {serial}, which is not assigned to a user"
    return Message(f"{reason}; choose another name, or delete this device if it is unused", delete_command(serial))


# The maximum age in seconds of a credential report. Until the last report is this old, IAM creates no new one.
REPORT_AGE = 4 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPorts:
    """The ports through which users are planned for, in one account.

    `list_users` lists the users of the account; its argument is `details`. `fit` is `fit_plan`.
    """

    ports: EnrollmentPorts
    account: AccountSource
    list_users: Callable[..., Iterable[ListedUser]]
    caller: Caller
    record: RunRecords
    fit: Callable[..., Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The users to plan for: the users in `rows` of a roster, or the selected users if `rows` is None.

    If `only` has names, other users are left out. With `trust_report`, the credential report says who has a device.
    `workers` users are looked up at a time. `several` is true if plans are made for several accounts. It is then no
    error if the selection matches no user of this account, or if `only` names users of other accounts.
    """

    rows: Sequence[RosterRow] | None
    selection: UserSelection
    only: Sequence[str]
    trust_report: bool
    workers: int
    several: bool = False

    @property
    def by_report(self) -> bool:
        """Whether the credential report is needed."""
        return self.selection.without_mfa or self.trust_report


def plan_users(request: PlanOptions, ports: PlanPorts, *, progress: LiveProgress) -> Plan:
    """Compare the users with IAM, and return the plan.

    Raise UsageFault if `only` names a user who is not in the roster or the selection, unless `several` is true.
    """
    with progress.showing("reading the credential report"):
        report = ports.account.report(max_age=REPORT_AGE) if request.by_report else None
    with counting(progress, "reading users", ports.list_users(details=request.selection.by_details)) as counted:
        users = list(counted)
    with counting(progress, "reading virtual devices", ports.account.virtual()) as devices:
        listing = AccountListing.of(users, devices)
    rows = _kept(
        request,
        _select_rows(users, request, report=report, progress=progress) if request.rows is None else request.rows,
    )
    if request.trust_report and any(row.action is not RosterAction.ENROLL for row in rows):
        raise UsageFault(
            "the credential report does not say which devices a user has, and rows add or replace devices",
            "omit --trust-report",
        )
    trusted = report if request.trust_report else None
    with progress.showing("comparing"):
        plan = make_plan(
            rows,
            listing,
            look=_lookup(ports, trusted, workers=request.workers, progress=progress),
            caller=ports.caller,
            ports=ports.ports,
            record=ports.record,
            report_age=ports.ports.iam_reader.now() - trusted.made if trusted else None,
        )
    with progress.showing("checking the room for new devices"):
        return ports.fit(plan, listing.holders, account=ports.account, progress=progress)


def _select_rows(
    people: Iterable[ListedUser], request: PlanOptions, *, report: CredentialReport | None, progress: Progress
) -> list[RosterRow]:
    """Return a row for each user of the account who matches the selection."""
    passwords = {name for name, credentials in report.users.items() if credentials.password} if report else set()
    rows = [RosterRow(user=person.name) for person in people if request.selection.matches(person, passwords)]
    if not rows and not request.several:
        progress.alert("no user in the account matches this selection")
    return rows


def _kept(request: PlanOptions, rows: Sequence[RosterRow]) -> Sequence[RosterRow]:
    """Return the rows. If `only` has names, return only the rows of these users.

    Raise UsageFault for a name without a row, unless `several` is true.
    """
    if request.several and request.only:
        names = {name.lower() for name in request.only}
        return [row for row in rows if row.user.lower() in names]
    return keep_users(rows, request.only) if request.only else rows


def _lookup(
    ports: PlanPorts, trusted: CredentialReport | None, *, workers: int, progress: LiveProgress
) -> DeviceLookup:
    """Return a function that looks up users' devices in the report `trusted`, or in IAM if `trusted` is None.

    The report has no serials of devices, so a phrase takes the place of a serial.
    """
    if trusted is None:
        return lambda users: look_up_counted(users, ports.ports, workers=workers, progress=progress)
    with_mfa = {name for name, credentials in trusted.users.items() if credentials.mfa}
    return lambda users: {user: ("a device according to the credential report",) for user in users if user in with_mfa}


# The maximum number of names in a table cell, and of users whose devices are listed.
SHOWN = 20


def plan_summary(new_plan: Plan, changes: Sequence[DeviceChange], *, full_lists: bool) -> ResultRow:
    """Return the fields of the summary that follow the counts. With `full_lists`, for JSON, lists are not shortened.

    `changes` has the devices of users with rows that add or replace devices.
    """
    keys = [step for step in new_plan.steps if step.row.recipient]
    return {
        "no_own_copy": _shorten(new_plan.without_copy, full=full_lists),
        "no_admin_backup": f"{len(keys)}, unless apply gets -r" if keys and not full_lists else None,
        "keys_changed": [step.user for step in keys if step.key_before] or None,
        "report_age_s": None if new_plan.report_age is None else round(new_plan.report_age),
        "api_calls": new_plan.calls,
        "estimated_s": round(new_plan.seconds),
        **({"users": [asdict(change) for change in changes]} if full_lists and changes else {}),
    }


def _shorten(names: Sequence[str], *, full: bool) -> Sequence[str] | None:
    if full:
        return names
    return f"{len(names)}: {few(names, SHOWN)}" if names else None
