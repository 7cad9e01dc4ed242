"""What every verification answers: `Proof` or `Refused`, both with the table of checks; never a bool.

Pure: the kinds of verification stand in files of their own beside this one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Value(StrEnum):
    """How one check came out."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. `source` is where the rule or the fact is published."""

    name: str
    value: Value
    detail: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    checks: tuple[Check, ...]


def judged(checks: Iterable[Check]) -> Proof | Refused:
    """Return the answer of a table: no failure, and at least one check passed, is a proof."""
    table = tuple(checks)
    values = {check.value for check in table}
    return Proof(table) if Value.PASS in values and Value.FAIL not in values else Refused(table)
