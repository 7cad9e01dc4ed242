"""A plan: the difference between a roster and IAM at one moment. People review it, then `apply` carries it out."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import STAGED_TAG, VIRTUAL, Caller, Device, Intent, Mark, Reached
from mfa_kit.enrollment.devices import delete_command
from mfa_kit.enrollment.ports import Desk
from mfa_kit.rollout.roster import RosterRow, key_fingerprint
from mfa_kit.rollout.roster_method import RosterMethod
from mfa_kit.rollout.selection import ListedUser

WORKERS = 8
# Seconds per call to AWS from a command line, as others have published. It is used to estimate the run time.
CALL_SECONDS = 0.7
PAGE = 1000


class Action(StrEnum):
    """The action for a row. Its value is the word for the action in plan files and counts."""

    ENROLL = "enroll"
    STATION = "bench"
    SELF = "self"
    STAGED = "staged"
    SKIP = "skip"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One row of a plan, and the action for it.

    `repair` means that an interrupted run on this computer left a half-made device, which is settled first. `devices`
    are the serials of the user's devices. `key_before` is the fingerprint of the public key to which this computer last
    encrypted a backup for the user. It is empty if that key is also in the roster.
    """

    row: RosterRow
    action: Action
    reason: str = ""
    devices: tuple[str, ...] = ()
    repair: bool = False
    key_before: str = ""

    @property
    def user(self) -> str:
        """The user's name, spelled as in IAM if the user exists."""
        return self.row.user

    @property
    def by_apply(self) -> bool:
        """Whether `apply` makes the row's device, possibly after settling a half-made device."""
        return self.row.kind.unattended and self.open

    @property
    def open(self) -> bool:
        """Whether a device still has to be made, by `apply` or at a station."""
        return self.action in {Action.ENROLL, Action.STATION} or self.repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps for one account, based on IAM's lists at `planned_at` (Unix seconds). `by` is the ARN of the caller.

    `report_age` is the age in seconds of the credential report, if the plan is based on one.
    """

    account: str
    partition: str
    by: str
    planned_at: float
    steps: Sequence[PlanStep]
    report_age: float | None = None

    def intent_of(self, row: RosterRow, *, staged: bool = False) -> Intent:
        """Return the device to make for a row. If users enroll themselves, a virtual device is assumed."""
        return Intent(
            account=self.account,
            partition=self.partition,
            user=row.user,
            name=row.name or row.user,
            method=row.kind.method or VIRTUAL,
            path=row.path,
            known_serial=row.serial if row.kind.by_serial else None,
            recipient=row.recipient,
            tags=row.tags,
            staged=staged,
        )

    @property
    def steps_of_apply(self) -> list[PlanStep]:
        """The steps for which `apply` makes a device."""
        return [step for step in self.steps if step.by_apply]

    @property
    def shut_out(self) -> list[str]:
        """Users without a public key: they get no copy of their secret, and IAM will ask for a code at next sign-in."""
        return [step.user for step in self.steps_of_apply if step.row.recipient is None]

    @property
    def counts(self) -> dict[str, int]:
        """The number of steps per action."""
        found = Counter(step.action for step in self.steps)
        return {action.value: found[action] for action in Action}

    @property
    def calls(self) -> int:
        """The number of API calls of `apply` if none fails: two per user, and the lists of devices before and after."""
        making = self.steps_of_apply
        return 2 * len(making) + 2 * (1 + len(self.steps) // PAGE) if making else 0

    @property
    def seconds(self) -> float:
        """The estimated run time of `apply` in seconds."""
        return self.calls * CALL_SECONDS / WORKERS


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountListing:
    """Lists from IAM: users by lower-case name, and the user of each virtual device by its serial."""

    users: Mapping[str, ListedUser]
    holders: Mapping[str, str | None]

    @classmethod
    def of(cls, users: Iterable[ListedUser], virtual: Iterable[Device]) -> "AccountListing":
        """Read both lists completely."""
        return cls(
            users={user.name.lower(): user for user in users},
            holders={device.serial: device.user for device in virtual},
        )


def devices_by_user(holders: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's virtual devices. Users without one are not in the result."""
    found: dict[str, tuple[str, ...]] = {}
    for serial, user in holders.items():
        if user is not None:
            found[user] = (*found.get(user, ()), serial)
    return found


# Returns the serials of these users' devices. Users without a device may be missing from the result.
DeviceLookup = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]


def check_account(plan: Plan, caller: Caller) -> None:
    """Raise UsageFault if the plan was made for another account."""
    if plan.account != caller.account:
        raise UsageFault(
            f"the plan is for account {plan.account}, but these credentials are for {caller.account}",
            "choose another --profile, or make a new plan",
        )


def make_plan(
    rows: Sequence[RosterRow],
    listing: AccountListing,
    *,
    look: DeviceLookup,
    caller: Caller,
    desk: Desk,
    report_age: float | None = None,
) -> Plan:
    """Compare a roster with IAM, and return the plan. Changes nothing.

    `look` looks up the devices of users who have no virtual device.
    """
    users, has = listing.users, devices_by_user(listing.holders)
    named = [replace(row, user=found.name) if (found := users.get(row.user.lower())) else row for row in rows]
    has |= look([row.user for row in named if row.user.lower() in users and row.user not in has])
    plan = Plan(
        account=caller.account,
        partition=caller.partition,
        by=caller.arn,
        planned_at=desk.inventory.now(),
        steps=(),
        report_age=report_age,
    )
    used = desk.journal.recipients(plan.account)
    steps = [_plan_step(row, plan, listing, has.get(row.user, ()), desk=desk) for row in named]
    return replace(plan, steps=[replace(step, key_before=_key_before(step.row, used.get(step.user))) for step in steps])


def _key_before(row: RosterRow, used: str | None) -> str:
    return key_fingerprint(used) if used and row.recipient and used != row.recipient else ""


def _plan_step(row: RosterRow, plan: Plan, listing: AccountListing, has: tuple[str, ...], *, desk: Desk) -> PlanStep:
    if (foreign := row.account not in {None, plan.account}) or row.user.lower() not in listing.users:
        what = f"the user is in account {row.account}, not in" if foreign else "there is no such user in account"
        return PlanStep(row=row, action=Action.BLOCKED, reason=f"{what} {plan.account}")
    if has:
        return PlanStep(row=row, action=Action.SKIP, reason=f"has {', '.join(has)}", devices=has)
    if row.kind.method is None:
        return PlanStep(row=row, action=Action.SELF, reason="enrolls themselves; waiting until IAM lists a device")
    serial = plan.intent_of(row).serial
    if serial not in listing.holders:
        return PlanStep(row=row, action=action_of(row.kind))
    if (holder := listing.holders[serial]) is not None:
        return PlanStep(row=row, action=Action.BLOCKED, reason=f"the name is taken: {holder} has {serial}")
    return _judge_unassigned(row, serial, desk=desk)


def action_of(kind: RosterMethod) -> Action:
    """Return the action for a row of this method whose user has no device and whose device name is free."""
    if kind.method is None:
        return Action.SELF
    return Action.ENROLL if kind.unattended else Action.STATION


def _judge_unassigned(row: RosterRow, serial: str, *, desk: Desk) -> PlanStep:
    """Return the step of a row whose device name is taken by an unassigned device, `serial`."""
    tagged = desk.inventory.run_of(serial)
    run = tagged if isinstance(tagged, str) else None
    entry = desk.journal.find(serial, run=run)
    if entry and entry.reached is Reached.STAGED:
        return PlanStep(row=row, action=Action.STAGED, reason=f"waits for `rollout activate`, run {entry.run}")
    if entry and entry.is_half_made and tagged is not Mark.UNTAGGED:
        verb = "apply" if row.kind.unattended else "station"
        what = f"interrupted run {entry.run} left {serial} half-made; `rollout {verb}` settles it first"
        return PlanStep(row=row, action=Action.BLOCKED, reason=what, repair=True)
    return PlanStep(row=row, action=Action.BLOCKED, reason=_describe_stranger(serial, run, desk=desk))


def _describe_stranger(serial: str, run: str | None, *, desk: Desk) -> str:
    """Return a sentence about an unassigned device that another computer or tool made.

    `run` is the run ID in the device's tag, or None.
    """
    if run and STAGED_TAG in desk.inventory.tags(serial):
        return f"another computer has staged {serial}; on that computer, use `rollout activate` or `rollout undo {run}`"
    if run:
        return f"another computer left {serial} half-made, or is creating it now: mfa-kit orphans list"
    what = f"the name is taken by {serial}, which is not assigned to a user"
    return f"{what}; choose another name, or delete it if it is unused: {delete_command(serial)}"
