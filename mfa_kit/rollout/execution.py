"""Code that apply, activate and undo share: how they process many users, and how they confirm enabled devices.

If one user cannot be processed, the error becomes that user's result, and the run continues with the other users. Only
a few errors end a run: AWS keeps throttling, or the credentials expire. Apply and undo also end if a file or the ledger
is damaged, or cannot be read or written.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mfa_kit.core.errors import Expired, IntegrityFault, InternalError, Throttled, UsageFault, only_our_errors
from mfa_kit.core.models import Device, DeviceSpec, JournalEntry
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts
from mfa_kit.enrollment.settling import PAUSES, record_all_confirmed
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.plan import WORKERS

# The errors that end apply, undo and the station. The next run finishes or removes the half-made devices.
FATAL = (IntegrityFault, Throttled, Expired)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a rollout processes its users: with `workers` threads, until `stop` is set.

    `virtual` lists all virtual devices of the account, page by page. `backend` returns a new DeviceBackend for one
    device. `apply` stops when more than `max_failures` users have failed; None means no limit.
    """

    virtual: Callable[[], Iterable[Device]]
    backend: Callable[[], DeviceBackend]
    stop: threading.Event
    workers: int = WORKERS
    max_failures: int | None = None

    def list_holders(self) -> dict[str, str | None]:
        """Return a mapping from the serial of each virtual device to its user's name; None for an unassigned device."""
        return {device.serial: device.user for device in self.virtual()}


def run_row(spec: DeviceSpec, act: Callable[[], RowResult], *, run: str | None) -> RowResult:
    """Return the result of `act` for a row. If `act` raises an exception that is not an MfaKitError, return a failure.

    A bug that concerns one row therefore does not end the rollout. An MfaKitError is raised unchanged.
    """
    try:
        with only_our_errors():
            return act()
    except InternalError as error:
        return RowResult.of_error(spec, error, run=run)


def confirm_devices(
    enabled: Sequence[JournalEntry], *, ports: EnrollmentPorts, execution: Execution
) -> list[JournalEntry]:
    """Wait up to 30 s until IAM lists each of these enabled devices for its user.

    Record the listed devices as confirmed, print a warning for each of the others, and return the others. IAM's list of
    all virtual devices is used, because it takes fewer calls than a list for each user.
    """
    unlisted = list(enabled)
    for pause in (*PAUSES, None):
        if not unlisted:
            return []
        holders = execution.list_holders()
        listed = [entry for entry in unlisted if holders.get(entry.spec.serial) == entry.spec.user]
        record_all_confirmed(listed, ports=ports)
        unlisted = [entry for entry in unlisted if holders.get(entry.spec.serial) != entry.spec.user]
        if unlisted and pause is not None:
            ports.sleep(pause)
    for entry in unlisted:
        ports.progress.alert(f"warning: {entry.spec.serial} is enabled, but IAM does not list it yet")
    return unlisted


def take_over_runs(entries: Sequence[JournalEntry], *, ports: EnrollmentPorts) -> None:
    """Lock the runs that made these devices, so that only this process can change the devices.

    Raise UsageFault if one of the runs is still in progress.
    """
    for run in {entry.run for entry in entries}:
        if ports.journal.lives(run):
            raise UsageFault(
                f"run {run} is still in progress", "wait until it ends, or stop it; then run this command again"
            )
        # Recording an entry takes the lock of its run, even if the entry has not changed.
        ports.journal.record(next(entry for entry in entries if entry.run == run))
