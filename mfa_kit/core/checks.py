"""The result of a verification: `Passed` or `Failed`, each with its table of checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Value(StrEnum):
    """The result of one check."""

    PASS = "pass"  # noqa: S105 - not a password
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table of checks. `source` cites the publication that states the rule or fact."""

    name: str
    value: Value
    detail: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """The verification succeeded: no check failed, and at least one check passed."""

    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The verification did not succeed: a check failed, or no check passed."""

    checks: tuple[Check, ...]


def judged(checks: Iterable[Check]) -> Passed | Failed:
    """Return Passed if no check failed and at least one passed, otherwise Failed."""
    table = tuple(checks)
    values = {check.value for check in table}
    return Passed(table) if Value.PASS in values and Value.FAIL not in values else Failed(table)
