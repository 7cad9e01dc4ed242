"""Enable staged devices, which `apply` created with an encrypted backup, but did not assign to a user."""

from collections.abc import Callable, Generator, Iterable, Sequence

from mfa_kit.core.errors import Expired, MfaKitError, Throttled
from mfa_kit.core.models import Entry, Reached
from mfa_kit.core.otp import Created
from mfa_kit.enrollment.ports import Desk
from mfa_kit.enrollment.resuming import enable_sealed
from mfa_kit.rollout.execution import Execution, confirm_devices, run_row, take_over_runs
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.workers import Workers


def staged_entries(*, account: str, users: Iterable[str] | None, desk: Desk) -> list[Entry]:
    """Return the journal entries of the devices that this computer staged (created, but did not assign) for `users`.

    If `users` is None, return those of all users.
    """
    wanted = None if users is None else {user.lower() for user in users}
    return [
        entry
        for entry in desk.journal.made(account)
        if entry.reached is Reached.STAGED and (wanted is None or entry.intent.user.lower() in wanted)
    ]


def activate_devices(
    entries: Sequence[Entry], *, open_backup: Callable[[Entry], Created], desk: Desk, execution: Execution
) -> Generator[RowResult, None, None]:
    """Enable staged (not assigned) devices with the secrets that `open_backup` returns. Yield one result per device.

    After an interruption, a second call continues with the remaining devices. Raise UsageFault if a run that staged one
    of the devices is still in progress.
    """
    take_over_runs(entries, desk=desk)
    enabled: list[Entry] = []

    def activate_one(entry: Entry) -> RowResult:
        carrier = execution.carrier()
        try:
            enable_sealed(entry, carrier, open_backup(entry), desk=desk)
        except (Throttled, Expired):
            raise
        except MfaKitError as error:
            return RowResult.of_error(entry.intent, error, run=entry.run)
        finally:
            carrier.remove(entry)
        enabled.append(desk.journal.record(entry.at(Reached.ENABLED)))
        return RowResult.of_entry(entry)

    def row(entry: Entry) -> RowResult:
        return run_row(entry.intent, lambda: activate_one(entry), run=entry.run)

    try:
        yield from Workers(act=row, number=execution.workers, stop=execution.stop).work_through(entries)
    finally:
        confirm_devices(enabled, desk=desk, execution=execution)
