"""What `mfa-kit doctor` answers: one value for each line of its table."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How one diagnosis came out. Only BAD makes the exit code of `doctor` 1."""

    GOOD = "ok"
    NOTED = "-"
    UNKNOWN = "unknown"
    BAD = "wrong"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the table: `what` was looked at, what was `found`, and what to do about it."""

    what: str
    health: Health
    found: str
    hint: str = ""
