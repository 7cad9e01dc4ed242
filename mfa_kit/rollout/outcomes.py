"""How the rows of a rollout ended, or stand."""

from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.errors import Lockout, MfaKitError
from mfa_kit.core.models import Entry, Intent


class RowOutcome(StrEnum):
    """How a row ended, or stands."""

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
    """The outcome of one user. `cause` is the name of an error class, `reason` is a sentence."""

    user: str
    outcome: RowOutcome
    cause: str = ""
    reason: str = ""
    device: str | None = None
    backup: str | None = None
    run: str | None = None

    @classmethod
    def of_error(cls, intent: Intent, error: MfaKitError, *, run: str | None = None) -> "RowResult":
        """Return the result of a row that ended with an error: refused for a Lockout, else failed."""
        notes: list[str] = getattr(error, "__notes__", [])
        reason = "; ".join(filter(None, [str(error), error.hint, *notes]))
        outcome = RowOutcome.REFUSED if isinstance(error, Lockout) else RowOutcome.FAILED
        return cls(user=intent.user, outcome=outcome, cause=type(error).__name__, reason=reason, run=run)

    @classmethod
    def of_entry(cls, entry: Entry, outcome: RowOutcome = RowOutcome.ENROLLED, reason: str = "") -> "RowResult":
        """Return the result of a row whose device has this entry in the journal."""
        return cls(
            user=entry.intent.user,
            outcome=outcome,
            reason=reason,
            device=entry.intent.serial,
            backup=entry.backup,
            run=entry.run,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failure of a user under one plan, as the ledger keeps it; `cause` and `reason` as in RowResult."""

    user: str
    cause: str
    reason: str

    @classmethod
    def of(cls, result: RowResult) -> "Failure":
        """Return what is kept of the result of a row that failed."""
        return cls(user=result.user, cause=result.cause, reason=result.reason)
