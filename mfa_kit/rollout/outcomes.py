"""Results of the rows of a rollout."""

from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.errors import Lockout, MfaKitError, name_in_ledgers, notes_of
from mfa_kit.core.message import clauses
from mfa_kit.core.models import DeviceSpec, JournalEntry, copies_of


class RowOutcome(StrEnum):
    """The final or current state of a row."""

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
class RowResult:
    """The result of one row.

    `cause` is the name of the error's class, or "" without an error. `reason` explains the outcome, and may be "".
    `device` is the serial or ARN of the user's device, and `run` the ID of the run that made the device or failed; each
    is None if unknown. `user_backup` is the path or URL of the file that only the user can decrypt, and `admin_backup`
    the path or URL of the file for administrators; each is None if there is no such file. `backup` is one of these two,
    or None without a backup. `computer` is the computer on which the device was made or the row failed; None if the
    ledger is not shared or does not record the computer. `clock_offset` is how many seconds the phone's clock is ahead;
    None if no proof has shown this number.
    """

    user: str
    outcome: RowOutcome
    cause: str = ""
    reason: str = ""
    device: str | None = None
    backup: str | None = None
    user_backup: str | None = None
    admin_backup: str | None = None
    run: str | None = None
    computer: str | None = None
    clock_offset: int | None = None

    @classmethod
    def of_error(cls, spec: DeviceSpec, error: MfaKitError, *, run: str | None = None) -> "RowResult":
        """Return the result for an error: "refused" for a Lockout, otherwise "failed"."""
        reason = clauses([str(error), error.hint, *notes_of(error)])
        outcome = RowOutcome.REFUSED if isinstance(error, Lockout) else RowOutcome.FAILED
        return cls(user=spec.user, outcome=outcome, cause=name_in_ledgers(error), reason=reason, run=run)

    @classmethod
    def of_entry(cls, entry: JournalEntry, outcome: RowOutcome = RowOutcome.ENROLLED, reason: str = "") -> "RowResult":
        """Return the result of the row whose device has this journal entry."""
        copies = copies_of(entry)
        return cls(
            user=entry.spec.user,
            outcome=outcome,
            reason=reason,
            device=entry.spec.serial,
            backup=entry.backup,
            user_backup=copies.user,
            admin_backup=copies.admin,
            run=entry.run,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failure of a user of a plan, as the ledger stores it.

    `cause` is the name of the error's class, and `reason` is its message, hint and notes.
    """

    user: str
    cause: str
    reason: str

    @classmethod
    def of(cls, result: RowResult) -> "Failure":
        """Return the user, cause and reason of a failed row's result."""
        return cls(user=result.user, cause=result.cause, reason=result.reason)
