"""Removes the old devices of the users who exchange one, once each user's new device is proven.

IAM does not say whether users have the devices that it lists for them. So an old device stays until somebody has
produced two codes of the new one, or the user has signed in with it. Only what nobody else could have written is a
proof: two codes that a computer of this plan's runs has recorded, for the device that IAM lists now, and the events of
CloudTrail that this process reads itself.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event, Lock

from mfa_kit.core.device_records import DeviceState, RecordedState
from mfa_kit.core.errors import (
    AccessDenied,
    Expired,
    Lockout,
    MfaKitError,
    OutcomeUnknownError,
    Throttled,
    only_our_errors,
)
from mfa_kit.core.message import suggest
from mfa_kit.core.models import (
    RUN_TAG,
    VIRTUAL,
    Caller,
    Device,
    DeviceType,
    DeviceUse,
    JournalEntry,
    JournalState,
    RunKind,
    UseEvent,
)
from mfa_kit.core.text import few, iso_time
from mfa_kit.enrollment.planning import device_names, devices_while_there, serials_of
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.revoke import entry_of_device, retire
from mfa_kit.enrollment.settling import settle_dead_runs
from mfa_kit.rollout.execution import (
    Execution,
    RowOutcome,
    RowResult,
    Workers,
    devices_left,
    run_row,
    take_over_runs,
)
from mfa_kit.rollout.plan import Action, Plan, PlanStep

# A time that mfa-kit recorded can be this many seconds before AWS's, because smaller differences cannot be measured.
RESOLUTION = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The exchange of a user's old device. `steps` make the new devices: two for a pair.

    `old` is the old device's serial, or what the roster calls it if IAM did not list it when the plan was made.
    """

    user: str
    old: str
    steps: tuple[PlanStep, ...]

    def find_old(self, devices: Iterable[Device]) -> Device | None:
        """Return the old device from a list of the user's devices, or None if it is not there.

        Without its serial, a device of this name is found, which may be another one.
        """
        return next((device for device in devices if self.old in device_names(device)), None)


def exchanges_of(plan: Plan) -> list[Exchange]:
    """Return the exchanges of a plan, in the order of its rows, without those that the plan blocks.

    Both halves of a pair are in one exchange, even if one of them is blocked.
    """
    by_old: defaultdict[tuple[str, str], list[PlanStep]] = defaultdict(list)
    for step in plan.steps:
        if step.replaces:
            by_old[step.user, step.replaces].append(step)
    return [
        Exchange(user=user, old=old, steps=tuple(steps))
        for (user, old), steps in by_old.items()
        if any(step.action is not Action.BLOCKED for step in steps)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """What proves that users have their new devices.

    `states` has the newest state of each device that a run of the plan recorded, and `uses` a use of each device that
    this process itself read from CloudTrail, both by serial. `unread` says why events could not be read, by Region.
    """

    states: Mapping[str, RecordedState]
    uses: Mapping[str, DeviceUse] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    def of(self, device: Device) -> str:
        """Return how a device of IAM's list is proven, or "".

        A proof from before the device was enabled is one of an earlier device of the same name. Two codes prove nothing
        about a security key, which has none.
        """
        state, use = self.states.get(device.serial), self.uses.get(device.serial)
        if device.since is None:
            return ""
        if state and self._is_proof(state, device, device.since):
            return state.how
        is_key = device.type is DeviceType.FIDO2
        if use and use.at >= device.since and (not is_key or use.event is UseEvent.CONSOLE_LOGIN):
            return f"{use.event} on {iso_time(use.at)[:10]}"
        return ""

    def _is_proof(self, state: RecordedState, device: Device, since: float) -> bool:
        return (
            state.state is DeviceState.PROVEN
            and device.type is not DeviceType.FIDO2
            and state.user.casefold() == (device.user or "").casefold()
            and since <= state.at + RESOLUTION
        )

    def why_missing(self, device: Device) -> str:
        """Return why a device is not proven, or ""."""
        if self.of(device):
            return ""
        since = f" since {iso_time(device.since)[:10]}" if device.since is not None else ""
        codes = "" if device.type is DeviceType.FIDO2 else "no two codes of it are recorded, and "
        unread = [
            f"; CloudTrail was not read completely in {few([*self.unread])}: {why}" for why in self.unread.values()
        ]
        return f"{device.name} is not proven: {codes}no use was seen{since}{''.join(unread[:1])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """Removes the old devices of the exchanges of one plan.

    `states` are those of `Proofs`. `find_uses` gets devices by serial, searches CloudTrail, and returns `uses` and
    `unread` of `Proofs`. `run` is the ID of a run for old devices that mfa-kit did not make. If `counted` is given,
    only the old devices of these exchanges are removed, by user and old device; what was proven later waits.
    """

    plan: Plan
    states: Mapping[str, RecordedState]
    find_uses: Callable[[dict[str, Device]], tuple[Mapping[str, DeviceUse], Mapping[str, str]]]
    caller: Caller
    ports: EnrollmentPorts
    execution: Execution
    run: str
    counted: Container[tuple[str, str]] | None = None
    _ended: dict[str, JournalState | MfaKitError] = field(default_factory=dict)
    _unread: dict[str, MfaKitError] = field(default_factory=dict)
    _runs: set[str] = field(default_factory=set)
    _taking: Lock = field(default_factory=Lock)

    def work_through(self, exchanges: Sequence[Exchange]) -> Generator[RowResult, None, None]:
        """Remove the old devices whose new devices are proven, and yield one result for each exchange.

        CloudTrail is read once, and only if a proof is missing. A user's exchanges are processed one after another. In
        a dry run, remove nothing.
        """
        has = self._look_up(exchanges)
        # A state with a later time would prove each device that gets the name until then.
        latest = self.ports.iam_reader.now() + RESOLUTION
        proofs = Proofs(states={serial: state for serial, state in self.states.items() if state.at <= latest})
        unproven = {
            device.serial: device
            for exchange in exchanges
            if exchange.find_old(has[exchange.user] or ())
            for device in self._new_devices(exchange, has[exchange.user] or ())
            if not proofs.of(device)
        }
        if unproven:
            uses, unread = self.find_uses(unproven)
            proofs = replace(proofs, uses=uses, unread=unread)
        locks = {exchange.user: Lock() for exchange in exchanges}

        def finish(exchange: Exchange) -> RowResult:
            with locks[exchange.user]:
                return self._result(exchange, proofs)

        yield from self.execution.process(exchanges, finish)

    def count(self, exchanges: Sequence[Exchange]) -> set[tuple[str, str]]:
        """Return the user and the old device of each exchange that can be finished now. Change nothing.

        What needs the end of an interrupted run is not counted.
        """
        dry = replace(self, ports=replace(self.ports, dry=True), counted=None, _ended={}, _unread={}, _runs=set())
        results = {result.key: result for result in dry.work_through(exchanges)}
        return {
            (exchange.user, exchange.old)
            for exchange in exchanges
            if (result := results.get(exchange.steps[0].row.key)) and result.outcome is RowOutcome.ENROLLED
        }

    def _look_up(self, exchanges: Sequence[Exchange]) -> dict[str, Sequence[Device] | None]:
        """Settle the interrupted runs of the users, and return their devices; None for a user who was deleted.

        An interrupted removal of an old device is finished without its OATH key, which the user has.
        """
        old = {exchange.old for exchange in exchanges}

        def settle_and_list(user: str) -> Sequence[Device] | None:
            for entry, ended in settle_dead_runs(self.plan.account, user, ports=self.ports, without_key=old):
                self._ended[entry.spec.serial] = ended
            return devices_while_there(user, iam_reader=self.ports.iam_reader)

        def look(user: str) -> tuple[str, Sequence[Device] | None]:
            try:
                with only_our_errors():
                    return user, settle_and_list(user)
            except (Throttled, Expired):
                raise
            except MfaKitError as error:  # it concerns one user only
                self._unread[user] = error
                return user, None

        users = dict.fromkeys(exchange.user for exchange in exchanges)
        return dict(Workers(act=look, number=self.execution.workers, stop=Event()).work_through(users))

    def _new_devices(self, exchange: Exchange, devices: Sequence[Device]) -> list[Device]:
        """Return those of a user's devices that the steps of an exchange have made."""
        serials = {self.plan.find_device(step.row, serials_of(devices), before=step.devices) for step in exchange.steps}
        return [device for device in devices if device.serial in serials]

    def _result(self, exchange: Exchange, proofs: Proofs) -> RowResult:
        """Return the result of an exchange. An error concerns one user, unless no further request can succeed."""
        row = exchange.steps[0].row
        spec = self.plan.intent_of(row)
        return run_row(spec, lambda: self._finish(exchange, proofs), run=None, fatal=(Throttled, Expired)).of_row(row)

    def _finish(self, exchange: Exchange, proofs: Proofs) -> RowResult:
        # The user is looked up again, because reading CloudTrail can take minutes.
        if error := self._unread.get(exchange.user):
            raise error
        user, devices = exchange.user, devices_left(exchange.user, own=exchange.old, ports=self.ports)
        if devices is None:
            return RowResult(user=user, outcome=RowOutcome.SKIPPED, reason="the user no longer exists")
        old = exchange.find_old(devices)
        if old is None:
            if isinstance(ended := self._ended.get(exchange.old), MfaKitError):
                raise ended
            outcome = RowOutcome.REVOKED if ended else RowOutcome.SKIPPED
            return RowResult(
                user=user, outcome=outcome, reason=f"{user} no longer has {exchange.old}", device=exchange.old
            )
        if old.serial != exchange.old:
            raise Lockout(
                f"the plan does not say which device is {exchange.old}, and {user} has {old.serial}",
                "write the serial of the old device into the column replaces, and plan again",
            )
        if why := self._why_left(exchange, devices, proofs):
            return RowResult(user=user, outcome=RowOutcome.WAITING, reason=why, device=old.serial)
        self._check_old(old)
        if self._take_over_runs(self._new_devices(exchange, devices)):
            return self._finish(exchange, proofs)  # another process may have removed a new device until now
        entry = self._without_key(entry_of_device(old, caller=self.caller, ports=self.ports, now=self.run))
        if self.ports.dry:
            return RowResult.of_entry(entry, RowOutcome.ENROLLED, f"{old.serial} would be removed")
        new = [device.name for device in self._new_devices(exchange, devices)]
        self._tag(entry)
        retire(entry, purpose=RunKind.REVOKE, ports=self.ports)
        stay = f"{' and '.join(new)} {'stays' if len(new) == 1 else 'stay'}"
        return RowResult.of_entry(entry, RowOutcome.REVOKED, f"{old.name} is removed, and {stay}")

    def _why_left(self, exchange: Exchange, devices: Sequence[Device], proofs: Proofs) -> str:
        """Return why an old device has to stay: a new one is missing or not proven, or it was not counted. Else ""."""
        for step in exchange.steps:
            serial = self.plan.find_device(step.row, serials_of(devices), before=step.devices)
            new = next((device for device in devices if device.serial == serial), None)
            if new is None:
                return f"{self.plan.intent_of(step.row).name} is not enabled yet"
            if why := proofs.why_missing(new):
                return why
        if self.counted is not None and (exchange.user, exchange.old) not in self.counted:
            return suggest("the proof is newer than the count; run again", "rollout finish PLAN")
        return ""

    def _tag(self, entry: JournalEntry) -> None:
        """Tag a virtual device that mfa-kit did not make.

        If this process is killed before it deletes the device, the tag shows the next run that it may delete it.
        """
        if entry.run == self.run and DeviceType.of(entry.spec.serial) is DeviceType.VIRTUAL:
            with suppress(AccessDenied, OutcomeUnknownError):
                self.ports.device_writer.tag(entry.spec.serial, {RUN_TAG: entry.run})

    def _without_key(self, entry: JournalEntry) -> JournalEntry:
        """Return the entry of an old device without its OATH key, because the user has the key.

        The credential on the key is useless without the device.
        """
        if entry.spec.method.name not in self.ports.on_keys:
            return entry
        return replace(entry, spec=replace(entry.spec, method=VIRTUAL, hardware=None, card=None))

    def _take_over_runs(self, new: Sequence[Device]) -> bool:
        """Lock the runs that made these devices, so that no other process undoes them. Return whether any was locked.

        In a dry run, lock nothing. Raise UsageFault if one of the runs is in progress.
        """
        with self._taking:
            made = (entry for device in new if (entry := self.ports.journal.find(device.serial)))
            entries = [*{entry.run: entry for entry in made if entry.run not in self._runs}.values()]
            if self.ports.dry or not entries:
                return False
            take_over_runs(entries, ports=self.ports)
            self._runs.update(entry.run for entry in entries)
            return True

    def _check_old(self, old: Device) -> None:
        """Raise Lockout if a device is not the one that was to be replaced, or another row made it."""
        if old.since is None or old.since > self.plan.planned_at + RESOLUTION:
            raise Lockout(
                f"{old.serial} was enabled after the plan was made, so it is another device",
                suggest("plan again, or remove it", "revoke {} --mfa-device NAME", old.user or ""),
            )
        rows = (step.row for step in self.plan.steps if step.user == old.user and step.row.is_further)
        if any(self.plan.find_device(row, (old.serial,)) for row in rows):
            raise Lockout(f"{old.serial} is the new device of a row of the plan", "correct the roster, and plan again")
