"""Keys and tokens that are sent to their users by post: which are prepared, where they are, and the letters about them.

The ledger and the records of runs have the states, because IAM has none for a device that is not assigned. Nothing is
enabled here: `rollout activate` does that, and asks `check_arrival` first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mfa_kit.core.device_records import DeviceState, RecordedState
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import JournalEntry, JournalState, RunKind
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.settling import LostDevice, is_listed, settle
from mfa_kit.rollout.execution import RowOutcome, RowResult, take_over_runs
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.roster import half_names
from mfa_kit.rollout.row_status import STANDS

States = Mapping[str, RecordedState]


def state_of(entry: JournalEntry, states: States) -> DeviceState | None:
    """Return the state of the key for a device, or None if the key is not prepared completely.

    `states` has the newest state of each device by its serial. A state that was recorded before the entry's run began
    is about an earlier device of the same name.
    """
    state = states.get(entry.spec.serial)
    return state.state if state and state.at >= entry.began else None


def check_arrival(entry: JournalEntry, states: States) -> None:
    """Raise Lockout if the device of a key that was sent must not be enabled, because nobody confirmed its arrival.

    A device is proven only after it was enabled, so an `activate` that was killed then is continued.
    """
    state = state_of(entry, states)
    if entry.spec.posted and state not in {DeviceState.ARRIVED, DeviceState.PROVEN}:
        raise Lockout(
            f"the key was sent by post, and its arrival is not confirmed (it is {state or 'not prepared'})",
            suggest("when the user has confirmed it", "rollout post PLAN --arrived {} --how CHANNEL", entry.spec.user),
        )


def users_of_lost(states: States) -> set[str]:
    """Return the users, in lower case, whose last recorded state is that a key was lost."""
    newest = {state.user.lower(): state for state in sorted(states.values(), key=lambda state: state.at)}
    return {user for user, state in newest.items() if state.state is DeviceState.LOST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A key or token that is sent to a user.

    `step` is its row in the plan. `entry` is the journal entry of its device, and `state` how far it got; both are None
    if it is not prepared. `registered` is the step of the security key that the user registers after the arrival: the
    other half of a pair, `step` itself, or None. `is_enabled` says whether IAM lists a key that `step` registers.
    """

    step: PlanStep
    entry: JournalEntry | None = None
    state: DeviceState | None = None
    registered: PlanStep | None = None
    is_enabled: bool = False

    @property
    def has_nothing_staged(self) -> bool:
        """Whether the user registers the whole key, so that the station has nothing to prepare."""
        return self.registered is self.step

    @property
    def is_staged(self) -> bool:
        """Whether the device exists, and is not assigned to its user yet."""
        return self.entry is not None and self.entry.reached is JournalState.STAGED

    @property
    def is_ready(self) -> bool:
        """Whether the parcel can be sent: the key is prepared, or has nothing to prepare."""
        if self.has_nothing_staged:
            return self.step.action is Action.SELF and not self.is_enabled and self.state is not DeviceState.ARRIVED
        return self.is_staged and self.state is DeviceState.PREPARED

    @property
    def key(self) -> str:
        """The serial or the label of the key or token, or ""."""
        return (self.entry.spec.hardware if self.entry else self.step.row.asset) or ""

    @property
    def folder(self) -> str:
        """The name of the folder for the parcel's letter: the user's name, and the device's if it is a further one."""
        row = self.step.row
        return f"{row.user}-{row.name}" if row.is_further else row.user


def parcels_of_plan(
    plan: Plan, entries: Mapping[str, JournalEntry], states: States, look: Callable[[str], Sequence[str]]
) -> list[Parcel]:
    """Return the keys and tokens of a plan that are sent by post.

    `entries` has the account's entries by serial. `look` returns the serials of a user's devices; it is called for
    users who register the whole key.
    """
    parcels: list[Parcel] = []
    for step in plan.steps:
        if not step.row.by_post or (step.action in {Action.SKIP, Action.BLOCKED} and not step.repair):
            continue
        if not step.row.registered_by_user:
            parcels.append(_parcel(step, entries.get(plan.intent_of(step.row).serial), states))
        elif parcels and _are_halves(parcels[-1].step, step):
            parcels[-1] = replace(parcels[-1], registered=step)
        else:
            newest = states.get(plan.intent_of(step.row).serial)
            state = newest.state if newest and newest.at >= plan.planned_at else None
            device = plan.find_device(step.row, look(step.user), before=step.devices)
            parcels.append(Parcel(step=step, state=state, registered=step, is_enabled=device is not None))
    return parcels


def _parcel(step: PlanStep, entry: JournalEntry | None, states: States) -> Parcel:
    if entry is None or entry.spec.user != step.user or not entry.spec.posted:
        return Parcel(step=step)
    return Parcel(step=step, entry=entry, state=state_of(entry, states))


def _are_halves(step: PlanStep, following: PlanStep) -> bool:
    both_pairs = step.row.pair and following.row.pair and step.user == following.user
    return both_pairs and half_names(step.row) == half_names(following.row)


REASONS: Mapping[DeviceState | None, str] = {
    None: suggest("not prepared completely; remove it, and prepare it again", "rollout undo PLAN"),
    DeviceState.PREPARED: "prepared; waits until the user confirms that it has arrived",
    DeviceState.ARRIVED: "arrived; waits for two codes of the user",
    DeviceState.LOST: suggest("lost, but its device is still there; to remove it", "rollout post PLAN --lost USER"),
}
PREPARE = suggest("to be prepared for the post", "rollout station PLAN --stage")
PREPARE_AGAIN = suggest("lost; to prepare another one", "rollout station PLAN --stage")


def describe_posted(results: Sequence[RowResult], plan: Plan, states: States) -> list[RowResult]:
    """Return the results of a plan's rows. The reasons of those about keys that are sent say where the key is."""
    steps = {step.key: step for step in plan.steps if step.row.by_post and not step.row.registered_by_user}
    return [
        _described(result, states.get(plan.intent_of(steps[result.key].row).serial)) if result.key in steps else result
        for result in results
    ]


def _described(result: RowResult, newest: RecordedState | None) -> RowResult:
    state = newest.state if newest else None
    match result.outcome:
        case RowOutcome.STAGED:
            return replace(result, reason=REASONS.get(state, ""))
        case RowOutcome.ENROLLED if newest and state is DeviceState.PROVEN:
            return replace(result, reason=f"proven by {newest.how}")
        case RowOutcome.WAITING:
            return replace(result, reason=PREPARE_AGAIN if state is DeviceState.LOST else PREPARE)
        case _:
            return result


# Records a state of a device: its serial, its user, the state, and how it was established.
AddState = Callable[[str, str, DeviceState, str], None]


def confirm_arrival(parcel: Parcel, plan: Plan, how: str, *, add_state: AddState) -> None:
    """Record that a user confirmed the arrival of their key, by the channel `how`.

    Raise UsageFault if the key was not prepared.
    """
    entry = parcel.entry
    if parcel.has_nothing_staged and not parcel.is_enabled:
        add_state(plan.intent_of(parcel.step.row).serial, parcel.step.user, DeviceState.ARRIVED, f"confirmed by {how}")
        return
    if entry is None or not parcel.is_staged or parcel.state not in {DeviceState.PREPARED, DeviceState.ARRIVED}:
        raise UsageFault(f"the key is {why_not(parcel)}, so it cannot have arrived", "check the spelling of the user")
    add_state(entry.spec.serial, entry.spec.user, DeviceState.ARRIVED, f"confirmed by {how}")


def why_not(parcel: Parcel) -> str:
    """Return the state of a parcel in words, for a message."""
    if parcel.is_enabled or (parcel.entry is not None and parcel.entry.reached in STANDS):
        return parcel.state.value if parcel.state is DeviceState.PROVEN else "enabled already"
    if parcel.has_nothing_staged:
        return parcel.state.value if parcel.state else "nothing to prepare"
    known = parcel.is_staged or parcel.state is DeviceState.LOST
    return parcel.state.value if parcel.state and known else "not prepared"


def lose_device(parcel: Parcel, plan: Plan, *, ports: EnrollmentPorts, add_state: AddState) -> None:
    """Remove the device of a key that was lost on its way, if it has one, and record that.

    The key need not be here. If this is interrupted, the next call, or any next run for the user, continues. Raise
    UsageFault if the device is enabled, or was never made.
    """
    entry = parcel.entry
    if parcel.has_nothing_staged and not parcel.is_enabled:
        add_state(plan.intent_of(parcel.step.row).serial, parcel.step.user, DeviceState.LOST, "reported as lost")
        return
    if entry is None or entry.is_half_made:
        raise UsageFault("no key is prepared for this user", suggest("see", "rollout post PLAN"))
    spec, is_gone = entry.spec, entry.reached is JournalState.REVOKED
    if not is_gone:  # before the device is looked up, because another process may be enabling it
        take_over_runs([entry], ports=ports)
    if is_listed(spec, ports=ports):
        raise UsageFault(
            f"{spec.serial} is enabled already",
            suggest("to remove it", "revoke {} --lost --mfa-device {}", spec.user, spec.name),
        )

    def record_loss() -> None:
        add_state(spec.serial, spec.user, DeviceState.LOST, "reported as lost")

    if is_gone:
        record_loss()
    else:
        remove_posted(entry, ports=ports, before=record_loss)


def remove_posted(entry: JournalEntry, *, ports: EnrollmentPorts, before: Callable[[], None] = lambda: None) -> None:
    """Remove the device of a key that was sent by post, and that is not enabled. The key need not be here.

    `before` is called once the journal has the removal, which any next run for the user then continues.
    """
    leaving = ports.journal.record(replace(entry, purpose=RunKind.LOST, reached=JournalState.REVOKING))
    before()
    settle(leaving, LostDevice(), ports=ports)
