"""A plan: the difference between a roster and IAM at one moment. People review it, then `apply` carries it out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import VIRTUAL, Caller, Intent
from mfa_kit.rollout.roster import RosterRow
from mfa_kit.rollout.roster_method import RosterMethod

WORKERS = 8
# The seconds that a call to AWS takes, to estimate the run time. Others have measured and published this figure.
CALL_SECONDS = 0.7
# The number of devices in one response of ListVirtualMFADevices, to estimate the number of calls.
PAGE = 1000


class Action(StrEnum):
    """What happens to a row's user. Its value is the word in plan files and counts.

    ENROLL: `apply` makes a device. STATION: a device is made in person, at the station. SELF: the users enroll
    themselves. STAGED: a device is staged already (created, but not assigned). SKIP: the user has a device. BLOCKED:
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
    def by_apply(self) -> bool:
        """Whether `apply` makes the row's device, possibly after it finished or removed a half-made device."""
        return self.row.kind.unattended and self.open

    @property
    def open(self) -> bool:
        """Whether a device still has to be made, by `apply` or at a station."""
        return self.action in {Action.ENROLL, Action.STATION} or self.repair


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
        """The users for whom `apply` makes a device, but who have no public key in the roster.

        They get no copy of their secret, and AWS asks them for a code at the next sign-in.
        """
        return [step.user for step in self.steps_of_apply if step.row.recipient is None]

    @property
    def counts(self) -> dict[str, int]:
        """The number of steps for each action, by the action's value, such as `enroll`."""
        found = Counter(step.action for step in self.steps)
        return {action.value: found[action] for action in Action}

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
    found: dict[str, tuple[str, ...]] = {}
    for serial, user in holders.items():
        if user is not None:
            found[user] = (*found.get(user, ()), serial)
    return found


# A function that returns the serials of the given users' devices, by user name. It may leave out users without devices.
DeviceLookup = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]


def check_account(plan: Plan, caller: Caller) -> None:
    """Raise UsageFault if the plan was made for another account."""
    if plan.account != caller.account:
        raise UsageFault(
            f"the plan is for account {plan.account}, but these credentials are for {caller.account}",
            "choose another --profile, or make a new plan",
        )


def action_of(kind: RosterMethod) -> Action:
    """Return the action for a row of this `kind` whose user has no device, and whose device name is not taken."""
    if kind.method is None:
        return Action.SELF
    return Action.ENROLL if kind.unattended else Action.STATION
