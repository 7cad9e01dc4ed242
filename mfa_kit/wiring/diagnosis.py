"""Results of `mfa-kit doctor`: one value per line of its table."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """The result of a check. The value is the word that the table shows.

    NOTED is for facts that are neither good nor bad. UNKNOWN is for something that could not be checked. If any result
    is BAD, `doctor` exits with 1.
    """

    GOOD = "ok"
    NOTED = "-"
    UNKNOWN = "unknown"
    BAD = "wrong"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the table of `mfa-kit doctor`: `what` was checked, what was `found`, and a hint on how to fix it."""

    what: str
    health: Health
    found: str
    hint: str = ""
