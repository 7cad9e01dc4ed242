"""Removes the devices that a run made."""

from collections.abc import Generator, Sequence
from contextlib import suppress

from mfa_kit.core.errors import Lockout, NoSuchEntity
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import JournalEntry, RunKind
from mfa_kit.enrollment.planning import look_up_serials
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.revoke import retire
from mfa_kit.rollout.execution import Execution, RowOutcome, RowResult, take_over_runs


def undo_devices(
    entries: Sequence[JournalEntry], *, leave_without_mfa: bool, ports: EnrollmentPorts, execution: Execution
) -> Generator[RowResult, None, None]:
    """Remove exactly the devices of these entries, and yield one result per device.

    A user's last device is removed only if `leave_without_mfa` is true. Raise UsageFault if a run that made one of the
    devices is still in progress.
    """
    take_over_runs(entries, ports=ports)

    def undo(entry: JournalEntry) -> RowResult:
        if _is_last(entry, ports=ports) and not leave_without_mfa:
            user = entry.spec.user
            raise Lockout(
                f"{entry.spec.serial} is the last MFA device of {user}",
                Message("enroll another device first", mfa_kit("enroll {} --add", user), "or add --leave-without-mfa"),
            )
        retire(entry, purpose=RunKind.REVOKE, ports=ports)
        return RowResult.of_entry(entry, RowOutcome.REVOKED)

    yield from execution.process_devices(entries, undo)


def _is_last(entry: JournalEntry, *, ports: EnrollmentPorts) -> bool:
    """Return whether an entry's device is the only device of its user.

    Return False for a deleted user, whose staged (not assigned) device may still exist.
    """
    with suppress(NoSuchEntity):
        return look_up_serials(entry.spec.user, iam_reader=ports.iam_reader) == (entry.spec.serial,)
    return False
