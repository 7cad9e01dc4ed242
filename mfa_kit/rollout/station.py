"""The station: the queue in which an administrator enrolls the users of a plan in person, one user at a time.

The station keeps no record of its own: IAM, the journal and the keys show which rows are done and which user has which
key. The administrator can therefore return to a plan later, or continue it on another computer.
"""

from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.message import clauses
from mfa_kit.core.models import Caller, DeviceSpec, JournalEntry, Outcome
from mfa_kit.enrollment import enroll
from mfa_kit.enrollment.planning import EnrollRequest
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.enrollment.settling import backend_of, settle
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.key_slot import InsertedKey, KeySlot
from mfa_kit.rollout.plan import Plan, PlanStep
from mfa_kit.rollout.roster import RosterRow, half_names, join_pairs


class StationMethods(Protocol):
    """The functions that the station needs to enroll a user with the enrollment method in the user's roster row."""

    def call(self, row: RosterRow) -> str:
        """Return the prompt that names the row's user, and asks for the user's key, token or phone."""
        ...

    def slot(self, row: RosterRow) -> KeySlot | None:
        """Return the readers or USB ports for the keys of a row's enrollment method; None for a method without keys."""
        ...

    def equip(self, row: RosterRow, key: InsertedKey | None) -> tuple[DeviceBackend, EnrollmentProcedure]:
        """Return a DeviceBackend for a row's device, and the EnrollmentProcedure that makes the device. Change nothing.

        A DeviceBackend is the object that stores a device's secret and supplies its codes. `key` is the inserted key;
        None if the row's enrollment method uses no keys. Raise UsageFault if the user must not get this key or token,
        and DeviceFault if the key cannot be used.
        """
        ...

    def find_same_key(self, row: RosterRow, key: InsertedKey) -> InsertedKey | None:
        """Return the key for the FIDO half of a pair that is the same device as an inserted OATH key, or None.

        `row` is the FIDO half.
        """
        ...

    def has_card(self, row: RosterRow, key: InsertedKey) -> bool:
        """Return whether the inserted key of a FIDO half is a smart card too, so that it may have OATH."""
        ...


DONE = {RowOutcome.ENROLLED, RowOutcome.SKIPPED}


def station_steps(
    plan: Plan, methods: Collection[str], users: Container[str], *, by_post: bool = False
) -> list[PlanStep]:
    """Return the open steps of `users`, in the plan's order. A step is open if its device still has to be made.

    If `methods` is empty, return only the steps that `apply` does not carry out. Otherwise return only the steps whose
    enrollment method is named in `methods`. With `by_post`, return only the steps whose keys are sent to the users, and
    otherwise none of them.
    """
    return [
        step
        for step in plan.steps
        if step.open
        and step.user in users
        and step.row.by_post is by_post
        and (step.row.kind.name in methods if methods else not step.by_apply)
    ]


def _count_keys(steps: Sequence[PlanStep]) -> int:
    """Return how many keys the steps make, which is how people count: the halves of a pair are one."""
    return len(join_pairs(step.row for step in steps))


@dataclass(slots=True, kw_only=True)
class StationQueue:
    """The queue of a station: its steps in order, and their results by the keys of the steps.

    `at` is the index of the current step. After the last step, `at` is the number of steps.
    """

    steps: Sequence[PlanStep]
    results: dict[str, RowResult] = field(default_factory=dict)
    at: int = 0

    def call_next(self) -> PlanStep | None:
        """Go to the first step that is not done, beginning with the current step, and return it.

        Return None if the current step and all later steps are done.
        """
        while self.at < len(self.steps) and self.is_done(self.steps[self.at]):
            self.at += 1
        return self.steps[self.at] if self.at < len(self.steps) else None

    def is_done(self, step: PlanStep) -> bool:
        """Return whether the last result of a step says that its device is there. A failed step is not done.

        A key that is sent to its user is done once its device is staged.
        """
        result = self.results.get(step.key)
        return result is not None and result.outcome in ({*DONE, RowOutcome.STAGED} if step.row.by_post else DONE)

    @property
    def place(self) -> str:
        """The position of the current step's key, such as `2 of 3`."""
        return f"{_count_keys(self.steps[: self.at + 1])} of {self.total}"

    @property
    def total(self) -> int:
        """The number of keys."""
        return _count_keys(self.steps)

    @property
    def done(self) -> int:
        """The number of keys that are done."""
        return self.total - _count_keys(self.left)

    @property
    def left(self) -> list[PlanStep]:
        """The steps that are not done."""
        return [step for step in self.steps if not self.is_done(step)]

    def record(self, result: RowResult) -> None:
        """Store the result of a step. The result replaces an earlier result of the same step."""
        self.results[result.key] = result

    def skip(self) -> None:
        """Go to the next step, after both halves of a pair. The current step is not marked as done."""
        following = self.steps[self.at + 1 : self.at + 2]
        self.at += 2 if following and following[0] is self.other_half(self.steps[self.at]) else 1

    def other_half(self, step: PlanStep) -> PlanStep | None:
        """Return the other half of a pair, or None if the step is not one of two halves in the queue."""
        halves = [other for other in self.steps if other.row.pair and other.user == step.user and other is not step]
        return next((half for half in halves if step.row.pair and half_names(half.row) == half_names(step.row)), None)

    @property
    def can_go_back(self) -> bool:
        """Whether there is an earlier step that is not done."""
        return not all(self.is_done(step) for step in self.steps[: self.at])

    def go_back(self) -> bool:
        """Go back to the nearest earlier step that is not done. Return whether there is such a step."""
        before = [number for number in range(self.at) if not self.is_done(self.steps[number])]
        if before:
            self.at = before[-1]
        return bool(before)


@dataclass(slots=True, kw_only=True)
class StationRuns:
    """The runs of one execution of `rollout station`. A new run begins after an attempt that left a half-made device.

    `left` has the entries of half-made devices that could be neither finished nor removed. This process holds the locks
    of the runs that made them, so no other process can finish or remove these devices until this process ends. `new_id`
    returns a new run ID. `ids` are the run IDs so far.
    """

    new_id: Callable[[], str]
    ids: list[str] = field(default_factory=list)
    left: list[JournalEntry] = field(default_factory=list)

    def settle_left(self, spec: DeviceSpec, card: str | None, *, ports: EnrollmentPorts) -> bool:
        """Try to settle the attempts in `left` for the device of `spec` or on the key `card`.

        `card` is the identity of a key, or None without a key. Return whether at least one attempt was settled.
        """
        before = len(self.left)
        for entry in [*self.left]:
            if entry.spec.serial == spec.serial or entry.spec.card == card is not None:
                try:
                    settle(entry, backend_of(entry, ports=ports), ports=ports)
                except MfaKitError as error:
                    ports.progress.alert(
                        clauses([f"run {entry.run} was neither finished nor undone: {error}", error.hint])
                    )
                else:
                    self.left.remove(entry)
        return len(self.left) < before

    def run_of_next_try(self, spec: DeviceSpec, *, ports: EnrollmentPorts) -> str:
        """Return the run ID for the next attempt to make the device of `spec`: the last ID, or a new ID.

        A new run begins if the last run left a half-made device. It also begins if the last run has tried to make this
        device, because the journal keeps the first key of a run and device, and the next attempt may be on another key.
        """
        last = self.ids[-1] if self.ids else None
        if last is None or any(entry.run == last for entry in self.left) or ports.journal.find(spec.serial, run=last):
            self.ids.append(self.new_id())
        return self.ids[-1]

    def keep_left(self, spec: DeviceSpec, *, ports: EnrollmentPorts) -> None:
        """If the failed attempt for `spec` left a half-made device, add its journal entry to `left`."""
        entry = ports.journal.find(spec.serial, run=self.ids[-1]) if self.ids else None
        if entry and entry.is_half_made and entry not in self.left:
            self.left.append(entry)


def enroll_in_person(
    spec: DeviceSpec,
    backend: DeviceBackend,
    *,
    caller: Caller,
    ports: EnrollmentPorts,
    run: str,
    procedure: EnrollmentProcedure,
    further: bool = False,
) -> Outcome:
    """Make the device that `spec` describes. Return Enrolled, or Skipped if the user already has a device.

    `further` means that the device is made even if its user already has another one. Raise MfaKitError if the device
    could not be made. The half-made device is then already removed, or the journal has an entry for it.
    """
    request = EnrollRequest(
        add=further,
        user=spec.user,
        method=spec.method,
        name=spec.name,
        path=spec.path,
        recipient=spec.recipient,
        tags=spec.tags,
        staged=spec.staged,
        replaces=spec.replaces,
    )
    return enroll.enroll(request, backend, caller=caller, ports=ports, run=run, procedure=procedure)
