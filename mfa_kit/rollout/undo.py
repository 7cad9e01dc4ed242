"""Removes the devices that a run made."""

from collections.abc import Container, Generator, Sequence
from contextlib import suppress
from shlex import quote

from mfa_kit.core.errors import Lockout, MfaKitError, NoSuchEntity, UsageFault
from mfa_kit.core.models import Entry, Purpose, Reached
from mfa_kit.enrollment.devices import look_up_serials
from mfa_kit.enrollment.ports import Desk, Journal
from mfa_kit.enrollment.revoke import retire
from mfa_kit.rollout.execution import FATAL, Execution, run_row, take_over_runs
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.workers import Workers


def entries_of_run(run: str, *, account: str, desk: Desk) -> list[Entry]:
    """Return the entries of devices that a run made, including devices whose removal was interrupted.

    Raise UsageFault if this computer's ledger has no such device.
    """
    entries = entries_of_runs({run}, account=account, journal=desk.journal)
    if not entries:
        raise UsageFault(
            f"the ledger of this computer has no device of run {run}",
            "see this ledger's runs: mfa-kit ledger show; if another computer made the run, use that computer's ledger",
        )
    return entries


def entries_of_runs(runs: Container[str], *, account: str, journal: Journal) -> list[Entry]:
    """Return the entries of devices that these runs made, including devices whose removal was interrupted."""
    dead = journal.dead(account)
    leaving = (entry for entry in dead if (entry.purpose, entry.reached) == (Purpose.REVOKE, Reached.REVOKING))
    return [entry for entry in (*journal.made(account), *leaving) if entry.run in runs]


def undo_devices(
    entries: Sequence[Entry], *, leave_without_mfa: bool, desk: Desk, execution: Execution
) -> Generator[RowResult, None, None]:
    """Remove exactly the devices of these entries, and yield one result per device.

    A user's last device is removed only if `leave_without_mfa` is true. Raise UsageFault if a run that made one of the
    devices is still in progress.
    """
    take_over_runs(entries, desk=desk)

    def undo_one(entry: Entry) -> RowResult:
        try:
            if _is_last(entry, desk=desk) and not leave_without_mfa:
                user = entry.intent.user
                raise Lockout(
                    f"{entry.intent.serial} is the last MFA device of {user}",
                    f"enroll another device first: mfa-kit enroll {quote(user)} --add; or add --leave-without-mfa",
                )
            retire(entry, purpose=Purpose.REVOKE, desk=desk)
        except FATAL:
            raise
        except MfaKitError as error:
            return RowResult.of_error(entry.intent, error, run=entry.run)
        return RowResult.of_entry(entry, RowOutcome.REVOKED)

    def row(entry: Entry) -> RowResult:
        return run_row(entry.intent, lambda: undo_one(entry), run=entry.run)

    yield from Workers(act=row, number=execution.workers, stop=execution.stop).work_through(entries)


def _is_last(entry: Entry, *, desk: Desk) -> bool:
    """Return whether an entry's device is the only device of its user.

    Return False for a deleted user, whose staged (not assigned) device may still exist.
    """
    with suppress(NoSuchEntity):
        return look_up_serials(entry.intent.user, inventory=desk.inventory) == (entry.intent.serial,)
    return False
