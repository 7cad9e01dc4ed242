"""Many users: `apply` makes a plan true, a row at a time and resumably; activate, undo, and how it stands.

One user's failure is a row. What ends a run are the faults of the desk: its disk, and an IAM that accepts nothing.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.errors import (
    AlreadyExists,
    AwsFault,
    Expired,
    IntegrityFault,
    Lockout,
    MfaKitError,
    NoSuchEntity,
    Throttled,
    UsageFault,
)
from mfa_kit.core.models import Caller, Device, DeviceType, Entry, Intent, Reached, Verb
from mfa_kit.core.otp import Created
from mfa_kit.enrollment import enroll
from mfa_kit.enrollment.ports import Carrier, Desk
from mfa_kit.enrollment.recovery import PAUSES, confirmed, listed, settle_each
from mfa_kit.enrollment.revoke import retire
from mfa_kit.rollout.plan import WORKERS, Action, Look, Plan, Step, held
from mfa_kit.rollout.roster import Failure
from mfa_kit.rollout.workers import Workers

# What a run cannot go on after. Half-made devices are then settled by the next one.
FATAL = (IntegrityFault, Throttled, Expired)
STANDS = {Reached.ENABLED, Reached.CONFIRMED}


class End(StrEnum):
    """How it stands with a row."""

    ENROLLED = "enrolled"
    STAGED = "staged"
    SKIPPED = "skipped"
    WAITING = "waiting"
    BLOCKED = "blocked"
    FAILED = "failed"
    REFUSED = "refused"
    REVOKED = "revoked"
    HALF_MADE = "half-made"
    NOT_STARTED = "not started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One user's outcome; `cause` is a word to count by, `reason` the sentence."""

    user: str
    outcome: End
    cause: str = ""
    reason: str = ""
    device: str | None = None
    backup: str | None = None
    run: str | None = None

    @classmethod
    def failed(cls, intent: Intent, error: MfaKitError, *, run: str | None = None) -> "Result":
        notes: list[str] = getattr(error, "__notes__", [])
        reason = "; ".join(filter(None, [str(error), error.hint, *notes]))
        outcome = End.REFUSED if isinstance(error, Lockout) else End.FAILED
        return cls(user=intent.user, outcome=outcome, cause=type(error).__name__, reason=reason, run=run)

    @classmethod
    def stands(cls, entry: Entry, outcome: End = End.ENROLLED, reason: str = "") -> "Result":
        return cls(
            user=entry.intent.user,
            outcome=outcome,
            reason=reason,
            device=entry.intent.serial,
            backup=entry.backup,
            run=entry.run,
        )


# What is told of a row for which `apply` makes nothing; without a sentence, the plan's.
REST = {
    Action.SELF: (End.WAITING, ""),
    Action.STATION: (End.WAITING, "made at a desk: mfa-kit rollout station"),
    Action.STAGED: (End.NOT_STARTED, "is staged no more: plan anew"),
    Action.SKIP: (End.SKIPPED, ""),
    Action.BLOCKED: (End.BLOCKED, ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a rollout goes about it; `virtual` lists every virtual device by pages."""

    virtual: Callable[[], Iterable[Device]]
    carrier: Callable[[], Carrier]
    stop: threading.Event
    workers: int = WORKERS
    max_failures: int | None = None

    def held(self) -> dict[str, str | None]:
        return {device.serial: device.user for device in self.virtual()}


def of_account(plan: Plan, caller: Caller) -> None:
    """Refuse another account's plan."""
    if plan.account != caller.account:
        raise UsageFault(
            f"the plan is of account {plan.account}, and these credentials are of {caller.account}",
            "choose another --profile, or plan anew",
        )


def check(plan: Plan, *, caller: Caller, staged: bool, accept_lockout: bool, sealed: bool) -> None:
    """Refuse what `apply` must not begin. `sealed`: there are recipients besides the users' own. Touches nothing."""
    of_account(plan, caller)
    if staged and not sealed:
        raise UsageFault(
            "who is staged is enabled later from the sealed seed, and nobody but the user could open it",
            "say who else can: -r age1… or -R FILE",
        )
    if plan.shut_out and not sealed:
        raise UsageFault(
            f"seeds would be nowhere, for nobody could open them: {plan.shut_out[0]}'s ({len(plan.shut_out)} in all)",
            "give them a recipient in the roster, or say who can open all backups: -r age1… or -R FILE",
        )
    if plan.shut_out and not (staged or accept_lockout):
        shown = ", ".join(plan.shut_out[:5]) + (", …" if len(plan.shut_out) > 5 else "")  # noqa: PLR2004 - as many as fit a line
        raise Lockout(
            "users who could not open their own copy would be asked for a code when they next sign in: "
            f"{shown} ({len(plan.shut_out)} in all)",
            "give them a recipient in the roster, or --stage now and activate later, or --accept-lockout",
        )


def apply(plan: Plan, *, desk: Desk, run: str, way: Way, staged: bool = False) -> Generator[Result, None, None]:
    """Make a plan true: settle what dead runs left, then enroll who has nothing yet. Yield an outcome a user.

    Run again it goes on where it stood. Who is enrolled is confirmed by pages, at the end, and what IAM does not list
    then is told.
    """
    unsettled = _settled(plan, desk=desk)
    ours = {entry.intent.serial: entry for entry in desk.journal.made(plan.account)}
    holders = way.held()
    has = _keys(ours.values()) | held(holders)
    todo: list[Step] = []
    enabled = _left_enabled(ours.values(), desk=desk)
    for step in plan.steps:
        result = _already(step, plan, has.get(step.user, ()), ours, desk=desk)
        if result is None:
            todo.append(step)
        else:
            yield result
    failed: list[str] = []

    def one(step: Step) -> Result:
        result = _made(plan.intent(step.row, staged=staged), enabled, desk=desk, run=run, way=way)
        if result.outcome is End.FAILED:
            failed.append(result.user)
        if way.max_failures is not None and len(failed) > way.max_failures and not way.stop.is_set():
            way.stop.set()
            desk.progress.note(f"{len(failed)} users failed, more than --max-failures {way.max_failures}: stopping")
        return result

    try:
        yield from Workers(act=one, number=way.workers, stop=way.stop).work_through(todo)
    finally:
        for note in _settled(plan, desk=desk) if unsettled else ():
            desk.progress.note(note)
        confirm(enabled, desk=desk, way=way)


def _settled(plan: Plan, *, desk: Desk) -> list[str]:
    """Settle what dead runs left; return what could not be settled.

    A Create that was not answered may still arrive. When its user has a device of that name from us, it cannot any
    more: so it is looked at again at the end.
    """
    return [
        f"run {entry.run} is not settled: {ended}; {ended.hint}"
        for entry, ended in settle_each(plan.account, None, desk=desk, leave_assigned=True)
        if isinstance(ended, MfaKitError)
    ]


def _left_enabled(entries: Iterable[Entry], *, desk: Desk) -> list[Entry]:
    """Return what dead runs enabled and did not confirm; whose process lives confirms itself."""
    found = [entry for entry in entries if entry.reached is Reached.ENABLED]
    living = {run for run in {entry.run for entry in found} if desk.journal.lives(run)}
    return [entry for entry in found if entry.run not in living]


def _keys(entries: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """Return the security keys and tokens that this desk gave away: no listing of the whole account has them."""
    return {
        entry.intent.user: (entry.intent.serial,)
        for entry in entries
        if DeviceType.of(entry.intent.serial) is not DeviceType.VIRTUAL and entry.reached in STANDS
    }


def _already(step: Step, plan: Plan, has: tuple[str, ...], ours: Mapping[str, Entry], *, desk: Desk) -> Result | None:
    """Return how a row stands for which there is nothing to do."""
    if has and step.action is not Action.SKIP:
        return owned(step, has, ours, desk=desk)
    entry = ours.get(plan.intent(step.row).serial)
    if entry and entry.reached is Reached.STAGED:
        return Result.stands(entry, End.STAGED)
    if step.makes:
        return None
    outcome, reason = REST[step.action]
    return Result(user=step.user, outcome=outcome, reason=reason or step.reason, device=next(iter(step.devices), None))


def owned(step: Step, has: tuple[str, ...], ours: Mapping[str, Entry], *, desk: Desk) -> Result:
    """Tell whose work the device is that a user has, and whether its seed can be restored here."""
    for serial in has:
        entry = ours.get(serial)
        ours_here = entry and entry.intent.user == step.user and entry.reached in STANDS
        if entry and ours_here and (entry.backup is None or desk.vault.find(entry)):
            return Result.stands(entry, reason=f"by run {entry.run}")
    if step.action is Action.SELF:
        return Result(user=step.user, outcome=End.ENROLLED, reason="by himself", device=has[0])
    seeded = any(DeviceType.of(serial) is DeviceType.VIRTUAL for serial in has)
    what = f"has {', '.join(has)}{', and there is no copy of its seed here' if seeded else ''}"
    return Result(user=step.user, outcome=End.SKIPPED, reason=what, device=has[0])


def _made(intent: Intent, enabled: list[Entry], *, desk: Desk, run: str, way: Way) -> Result:
    """Make one device. Errors of the desk itself go on, everything else is the user's row."""
    carrier = way.carrier()
    try:
        if intent.staged:
            staged = enroll.stage(intent, carrier, desk=desk, run=run)
            return Result.stands(Entry(run=run, intent=intent, backup=staged.backup), End.STAGED)
        entry = enroll.enable(intent, carrier, desk=desk, run=run)
        enabled.append(desk.journal.record(entry.at(Reached.ENABLED)))
        return Result.stands(entry)
    except FATAL:
        raise
    except MfaKitError as error:
        return _failed(intent, error, desk=desk, run=run)
    finally:
        carrier.remove(Entry(run=run, intent=intent))


def _failed(intent: Intent, error: MfaKitError, *, desk: Desk, run: str) -> Result:
    """Tell a failure from a user whom another desk has just enrolled."""
    with suppress(AwsFault):
        if isinstance(error, AlreadyExists) and listed(intent, desk=desk):
            what = "enrolled by another desk meanwhile, and there is no copy of its seed here"
            return Result(user=intent.user, outcome=End.SKIPPED, reason=what, device=intent.serial)
    return Result.failed(intent, error, run=run)


def confirm(enabled: Sequence[Entry], *, desk: Desk, way: Way) -> list[Entry]:
    """Note as confirmed what IAM lists on its user, by pages; looked at for 30 s. Return what it does not list."""
    left = list(enabled)
    for pause in (*PAUSES, None):
        if not left:
            return []
        holders = way.held()
        for entry in left:
            if holders.get(entry.intent.serial) == entry.intent.user:
                confirmed(entry, desk=desk)
        left = [entry for entry in left if holders.get(entry.intent.serial) != entry.intent.user]
        if left and pause is not None:
            desk.sleep(pause)
    for entry in left:
        desk.progress.note(f"warning: {entry.intent.serial} is enabled, but IAM does not list it yet")
    return left


def activate(
    entries: Sequence[Entry], *, opened: Callable[[Entry], Created], desk: Desk, way: Way
) -> Generator[Result, None, None]:
    """Enable staged devices from their sealed seeds; yield an outcome a user. Run again it goes on."""
    for run in {entry.run for entry in entries}:
        _hold(run, entries, desk=desk)
    enabled: list[Entry] = []

    def one(entry: Entry) -> Result:
        carrier = way.carrier()
        try:
            enroll.resumed(entry, carrier, opened(entry), desk=desk)
        except (Throttled, Expired):
            raise
        except MfaKitError as error:
            return Result.failed(entry.intent, error, run=entry.run)
        finally:
            carrier.remove(entry)
        enabled.append(desk.journal.record(entry.at(Reached.ENABLED)))
        return Result.stands(entry)

    try:
        yield from Workers(act=one, number=way.workers, stop=way.stop).work_through(entries)
    finally:
        confirm(enabled, desk=desk, way=way)


def _hold(run: str, entries: Sequence[Entry], *, desk: Desk) -> None:
    """Take a run's lock, by noting again what is noted. Raise UsageFault when its process lives."""
    if desk.journal.lives(run):
        raise UsageFault(f"run {run} is still at work", "let it come to its end, or end it, and run this again")
    desk.journal.record(next(entry for entry in entries if entry.run == run))


def undo(entries: Sequence[Entry], *, leave_without_mfa: bool, desk: Desk, way: Way) -> Generator[Result, None, None]:
    """Take away exactly the devices of these entries; yield an outcome a user."""
    for run in {entry.run for entry in entries}:
        _hold(run, entries, desk=desk)

    def one(entry: Entry) -> Result:
        try:
            devices = desk.inventory.devices(entry.intent.user)
            if not leave_without_mfa and [device.serial for device in devices] == [entry.intent.serial]:
                raise Lockout(
                    f"{entry.intent.serial} is the last MFA device of {entry.intent.user}",
                    "give another first, or add --leave-without-mfa",
                )
        except NoSuchEntity:  # the user is gone; a staged device of his is not
            pass
        except FATAL:
            raise
        except MfaKitError as error:
            return Result.failed(entry.intent, error, run=entry.run)
        try:
            retire(entry, verb=Verb.REVOKE, desk=desk)
        except FATAL:
            raise
        except MfaKitError as error:
            return Result.failed(entry.intent, error, run=entry.run)
        return Result.stands(entry, End.REVOKED)

    yield from Workers(act=one, number=way.workers, stop=way.stop).work_through(entries)


def of_run(run: str, *, account: str, desk: Desk) -> list[Entry]:
    """Return what stands or is staged of a run, and what was on its way out when its process died.

    Raise UsageFault where this desk knows of none.
    """
    dead = desk.journal.dead(account)
    leaving = (entry for entry in dead if (entry.verb, entry.reached) == (Verb.REVOKE, Reached.REVOKING))
    found = [entry for entry in (*desk.journal.made(account), *leaving) if entry.run == run]
    if not found:
        raise UsageFault(
            f"this desk knows no device of run {run}", "undo it at the desk that made it; see: mfa-kit ledger show"
        )
    return found


def staged(*, account: str, users: Iterable[str] | None, desk: Desk) -> list[Entry]:
    """Return what waits to be activated, of these users or of all."""
    wanted = None if users is None else {user.lower() for user in users}
    return [
        entry
        for entry in desk.journal.made(account)
        if entry.reached is Reached.STAGED and (wanted is None or entry.intent.user.lower() in wanted)
    ]


def standing(
    plan: Plan, *, holders: Mapping[str, str | None], look: Look, failures: Mapping[str, Failure], desk: Desk
) -> list[Result]:
    """Tell how it stands with every row of a plan, from the ledger and IAM; `look` as in `planned`."""
    has = held(holders)
    has |= look([step.user for step in plan.steps if step.user not in has and step.action is not Action.BLOCKED])
    ours = {entry.intent.serial: entry for entry in desk.journal.made(plan.account)}
    return [
        _stands(step, plan, has.get(step.user, ()), ours, failures.get(step.user), desk=desk) for step in plan.steps
    ]


def _stands(
    step: Step, plan: Plan, has: tuple[str, ...], ours: Mapping[str, Entry], failure: Failure | None, *, desk: Desk
) -> Result:
    entry = ours.get(plan.intent(step.row).serial)
    making = entry if entry and entry.reached in {Reached.INTENT, Reached.CREATED} else None
    # What a run is making may be on its user already.
    found = None if making and making.intent.serial in has else _already(step, plan, has, ours, desk=desk)
    if found is not None and not (failure and step.open and found.outcome is End.WAITING):
        return found
    if failure:
        return Result(user=step.user, outcome=End.FAILED, cause=failure.cause, reason=failure.reason)
    if making:
        return Result.stands(making, End.HALF_MADE, "a run is making it, or was interrupted: mfa-kit rollout apply")
    return Result(user=step.user, outcome=End.NOT_STARTED)
