"""A plan: the difference between a roster and IAM at one moment. People review it, then `apply` carries it out.

An index has the plans of several accounts. `plan_files` reads and writes both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import VIRTUAL, Caller, Device, DeviceSpec, DeviceType

if TYPE_CHECKING:
    from mfa_kit.rollout.roster import RosterRow

WORKERS = 8
# The seconds that a call to AWS takes, to estimate the run time. Others have measured and published this figure.
CALL_SECONDS = 0.7
# The number of devices in one response of ListVirtualMFADevices, to estimate the number of calls.
PAGE = 1000


class Action(StrEnum):
    """What happens to a row's user. Its value is the word in plan files and counts.

    ENROLL: `apply` makes a device. STATION: a device is made in person, at the station. SELF: the users enroll
    themselves. STAGED: a device is staged already. SKIP: the user has a device. BLOCKED:
    something must be fixed first.
    """

    ENROLL = "enroll"
    STATION = "bench"
    SELF = "self"
    STAGED = "staged"
    SKIP = "skip"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One row of a plan, and the action for it.

    `repair` means that an interrupted run on this computer left a half-made device, which is finished or removed first.
    `devices` are the serials of the user's devices. If the user's public key in the roster differs from the key to
    which this computer last encrypted a backup for the user, `key_before` is the fingerprint of that earlier key.
    Otherwise `key_before` is "".
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
    def key(self) -> str:
        """What identifies the step in its plan: the user, or `USER/NAME` for a further device."""
        return self.row.key

    @property
    def replaces(self) -> str:
        """The serial of the user's old device, which is removed once the new one is proven, or ""."""
        return self.row.replaces or ""

    @property
    def by_apply(self) -> bool:
        """Whether `apply` makes the row's device, possibly after it finished or removed a half-made device."""
        return self.row.kind.unattended and self.open

    @property
    def open(self) -> bool:
        """Whether a device still has to be made, by `apply` or at a station."""
        return self.action in {Action.ENROLL, Action.STATION} or self.repair

    @property
    def makes_device(self) -> bool:
        """Whether the user gets a device with this step, from mfa-kit or otherwise."""
        return self.repair or self.action not in {Action.SKIP, Action.BLOCKED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan for one account: one step for each user of a roster, based on IAM's lists at `planned_at` (Unix seconds).

    `by` is the ARN of the caller who made the plan. `report_age` is the age in seconds of the credential report on
    which the plan is based, or None if the plan is based on no report.
    """

    account: str
    partition: str
    by: str
    planned_at: float
    steps: Sequence[PlanStep]
    report_age: float | None = None

    def intent_of(self, row: RosterRow, *, staged: bool = False) -> DeviceSpec:
        """Return the device to make for a row. If users enroll themselves, a virtual device is assumed."""
        return DeviceSpec(
            account=self.account,
            partition=self.partition,
            user=row.user,
            name=row.name or row.user,
            method=row.kind.method or VIRTUAL,
            path=row.path,
            known_serial=row.serial if row.kind.by_serial and not row.kind.is_virtual else None,
            recipient=row.recipient,
            tags=row.tags,
            replaces=row.replaces,
            staged=staged or row.by_post,
        )

    def find_device(self, row: RosterRow, serials: Iterable[str], *, before: Sequence[str] | None = None) -> str | None:
        """Return which of a user's devices is the one of a row, or None. `serials` are those of the user's devices.

        IAM appends an ID to the name of a security key, so its serial is not known before it is registered. Users who
        register a key themselves may choose another name. It is then a key that is not in `before`, the serials of the
        devices that the user had when the plan was made.
        """
        spec = self.intent_of(row)
        if spec.method.device_type is not DeviceType.FIDO2:
            return spec.serial if spec.serial in serials else None
        keys = [Device(serial, row.user) for serial in serials if DeviceType.of(serial) is DeviceType.FIDO2]
        named = [key.serial for key in keys if key.name == spec.name]
        if row.registered_by_user and before is not None:
            named += [key.serial for key in keys if key.serial not in before]
        return next(iter(named), None)

    def devices_of(
        self, row: RosterRow, serials: tuple[str, ...], *, before: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Return the devices with which a row is done: any device of the user, or for a further device, only this one.

        `serials` are those of the user's devices, and `before` as in `find_device`.
        """
        if not row.is_further:
            return serials
        own = self.find_device(row, serials, before=before)
        return (own,) if own else ()

    @property
    def steps_of_apply(self) -> list[PlanStep]:
        """The steps for which `apply` makes a device."""
        return [step for step in self.steps if step.by_apply]

    @property
    def without_copy(self) -> list[str]:
        """The users for whom `apply` makes a device, but who get no copy of their secret.

        They have no public key in the roster.
        """
        return [step.user for step in self.steps_of_apply if step.row.recipient is None]

    @property
    def shut_out(self) -> list[str]:
        """Those of `without_copy` who have no other device. AWS asks them for a code at the next sign-in."""
        return [step.user for step in self.steps_of_apply if step.row.recipient is None and not step.devices]

    @property
    def counts(self) -> dict[str, int]:
        """The number of steps for each action, by the action's value, such as `enroll`."""
        totals = Counter(step.action for step in self.steps)
        return {action.value: totals[action] for action in Action}

    @property
    def calls(self) -> int:
        """The estimated number of API calls of `apply` if none fails: two per user, and two lists of devices."""
        making = self.steps_of_apply
        return 2 * len(making) + 2 * (1 + len(self.steps) // PAGE) if making else 0

    @property
    def seconds(self) -> float:
        """The estimated run time of `apply` in seconds."""
        return self.calls * CALL_SECONDS / WORKERS


def devices_by_user(holders: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's virtual devices, by user name. Users without such a device are left out.

    `holders` has the user of each virtual device by serial; None for an unassigned device.
    """
    serials_by_user: dict[str, tuple[str, ...]] = {}
    for serial, user in holders.items():
        if user is not None:
            serials_by_user[user] = (*serials_by_user.get(user, ()), serial)
    return serials_by_user


# A function that returns the serials of the given users' devices, by user name. It may leave out users without devices.
DeviceLookup = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """The names of a user's devices before a plan, and after its end."""

    user: str
    before: tuple[str, ...]
    after: tuple[str, ...]


def device_changes(steps: Iterable[PlanStep]) -> list[DeviceChange]:
    """Return the devices of each user with rows that add or replace devices, in the order of the first such rows."""
    changes: dict[str, DeviceChange] = {}
    steps = [*steps]
    # If a half of a pair is blocked, `rollout finish` does not remove the old device.
    staying = {(step.user, step.replaces) for step in steps if step.action is Action.BLOCKED}
    for step in steps:
        if not step.row.is_further:
            continue
        before = tuple(Device(serial, step.user).name for serial in step.devices)
        change = changes.setdefault(step.user, DeviceChange(user=step.user, before=before, after=before))
        if step.makes_device:
            old = "" if (step.user, step.replaces) in staying else Device(step.replaces, step.user).name
            kept = tuple(name for name in change.after if name != old)
            changes[step.user] = replace(change, after=(*kept, step.row.name or step.user))
    return [*changes.values()]


def check_account(plan: Plan, caller: Caller) -> None:
    """Raise UsageFault if the plan was made for another account."""
    if plan.account != caller.account:
        raise UsageFault(
            f"the plan is for account {plan.account}, but these credentials are for {caller.account}",
            "choose another --profile, or make a new plan",
        )


def action_of(row: RosterRow) -> Action:
    """Return the action for a row whose user has no device, and whose device name is not taken."""
    if row.kind.method is None or row.registered_by_user:
        return Action.SELF
    return Action.ENROLL if row.kind.unattended else Action.STATION


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAccount:
    """An account with a plan: the file of the plan, relative to the folder of the index, and the file's SHA-256 in hex.

    `counts` has the plan's number of users for each action, such as `enroll`.
    """

    id: str
    name: str
    plan: str
    sha256: str
    counts: Mapping[str, int]

    @property
    def label(self) -> str:
        """The account for messages: `NAME (ID)`, or the ID if the account has no name."""
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplannedAccount:
    """A chosen account that has no plan, because mfa-kit could not read the account. `why` is a sentence."""

    id: str
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutIndex:
    """The index of the plans that one command made at `planned_at` (Unix seconds).

    `by` is the ARN of the caller, who assumed the roles in the accounts. `unplanned` are the accounts without a plan.
    """

    by: str
    planned_at: float
    accounts: Sequence[PlannedAccount]
    unplanned: Sequence[UnplannedAccount] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of users for each action, in all accounts together."""
        totals = sum((Counter(account.counts) for account in self.accounts), Counter[str]())
        return {action.value: totals[action.value] for action in Action}

    def find(self, number: str) -> PlannedAccount | None:
        """Return the account with an ID, or None if it is not in the index."""
        return next((account for account in self.accounts if account.id == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles:
    """The plans that a command reads from one or several files.

    `index` lists the accounts of all files. `plans` has the plan of each account, by account ID. `files` has the file
    from which each plan was read, by account ID: the plan or the index that was given on the command line. `label`
    names all files in messages.
    """

    index: RolloutIndex
    plans: Mapping[str, Plan]
    files: Mapping[str, Path]
    label: str


def index_of_plan(plan: Plan, *, name: str, sha256: str) -> RolloutIndex:
    """Return an index with one plan only. `name` and `sha256` are the name and the SHA-256 of its file."""
    account = PlannedAccount(id=plan.account, name="", plan=name, sha256=sha256, counts=plan.counts)
    return RolloutIndex(by=plan.by, planned_at=plan.planned_at, accounts=[account])
