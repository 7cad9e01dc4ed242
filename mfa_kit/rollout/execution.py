"""What apply, activate and undo share: how they work on many users, and how what they enabled is confirmed.

One user's failure is a result. What ends a run are errors of this computer's disk, and an IAM that accepts nothing.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mfa_kit.core.errors import Expired, IntegrityFault, Throttled, UsageFault
from mfa_kit.core.models import Device, Entry
from mfa_kit.enrollment.devices import PAUSES
from mfa_kit.enrollment.ports import Carrier, Desk
from mfa_kit.enrollment.recovery import record_confirmed
from mfa_kit.rollout.plan import WORKERS

# Errors after which a run cannot go on. The next run settles the half-made devices.
FATAL = (IntegrityFault, Throttled, Expired)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a rollout works on its users, by `workers` threads until `stop` is set.

    `virtual` lists every virtual device of the account, by pages. `max_failures` is how many users may fail before
    `apply` stops.
    """

    virtual: Callable[[], Iterable[Device]]
    carrier: Callable[[], Carrier]
    stop: threading.Event
    workers: int = WORKERS
    max_failures: int | None = None

    def list_holders(self) -> dict[str, str | None]:
        """List the holder of every virtual device by its serial; None for an unassigned device."""
        return {device.serial: device.user for device in self.virtual()}


def confirm_devices(enabled: Sequence[Entry], *, desk: Desk, execution: Execution) -> list[Entry]:
    """Record as confirmed each device that IAM lists on its user, looking for 30 s. Return those that it does not list.

    The devices are listed by pages, which takes fewer calls than to ask for each user.
    """
    left = list(enabled)
    for pause in (*PAUSES, None):
        if not left:
            return []
        holders = execution.list_holders()
        for entry in left:
            if holders.get(entry.intent.serial) == entry.intent.user:
                record_confirmed(entry, desk=desk)
        left = [entry for entry in left if holders.get(entry.intent.serial) != entry.intent.user]
        if left and pause is not None:
            desk.sleep(pause)
    for entry in left:
        desk.progress.note(f"warning: {entry.intent.serial} is enabled, but IAM does not list it yet")
    return left


def take_over_runs(entries: Sequence[Entry], *, desk: Desk) -> None:
    """Take the locks of the runs that made these devices. Raise UsageFault where the process of one lives."""
    for run in {entry.run for entry in entries}:
        if desk.journal.lives(run):
            raise UsageFault(f"run {run} is still at work", "let it come to its end, or end it, and run this again")
        # To record an entry takes its run's lock, also where nothing has changed.
        desk.journal.record(next(entry for entry in entries if entry.run == run))
