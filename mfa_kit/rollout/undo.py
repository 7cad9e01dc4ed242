"""Removes the devices that a run made."""

from collections.abc import Generator, Sequence

from mfa_kit.core.errors import Lockout
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import JournalEntry, RunKind
from mfa_kit.enrollment.planning import devices_while_there, serials_of
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
        user = entry.spec.user
        # A deleted user has no device, but a staged device, which is not assigned, may still exist.
        devices = devices_while_there(user, iam_reader=ports.iam_reader) or ()
        if serials_of(devices) == (entry.spec.serial,) and not leave_without_mfa:
            raise Lockout(
                f"{entry.spec.serial} is the last MFA device of {user}",
                Message("enroll another device first", mfa_kit("enroll {} --add", user), "or add --leave-without-mfa"),
            )
        retire(entry, purpose=RunKind.REVOKE, ports=ports)
        return RowResult.of_entry(entry, RowOutcome.REVOKED)

    yield from execution.process_devices(entries, undo)
