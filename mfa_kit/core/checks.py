"""The answer of every verification: `Proof` or `Refused`, both with the table of checks, and never a bool."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Value(StrEnum):
    """The result of one check."""

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
    """The answer is yes: no check failed, and at least one passed."""

    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer is no: a check failed, or none passed."""

    checks: tuple[Check, ...]


def judged(checks: Iterable[Check]) -> Proof | Refused:
    """Return the answer of a table: no failure, and at least one check passed, is a proof."""
    table = tuple(checks)
    values = {check.value for check in table}
    return Proof(table) if Value.PASS in values and Value.FAIL not in values else Refused(table)
