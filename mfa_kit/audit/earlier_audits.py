"""Compares an audit with earlier audits in the ledger, and records the audit there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.account.past_audits import OpenFinding, PastAudit
from mfa_kit.audit.finding import RuleAnswer, RuleResult, Severity
from mfa_kit.audit.records import FindingRecord


class AuditHistory(Protocol):
    """The ledger's records about audits."""

    def last(self, account: str) -> PastAudit | None:
        """Return the last audit of an account, or None if none is on record."""
        ...

    def open_findings(self, account: str) -> Mapping[str, OpenFinding]:
        """Return the findings of an account that were open when their rule was last checked, by the finding's ID."""
        ...

    def add(self, account: str, audit: PastAudit, *, opened: Mapping[str, str], closed: Mapping[str, str]) -> None:
        """Record an audit.

        `opened` has the findings that appeared, and `closed` those that disappeared. Both map a finding's ID to its
        rule's ID.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The previous and the current audit of an account, for comparison.

    `past` is None if the ledger has no earlier audit. Both `past` and `now` (the current audit) are None if the audit
    is not compared with the ledger. `since` has the Unix time when each finding was first seen, by ID.
    """

    past: PastAudit | None = None
    now: PastAudit | None = None
    since: Mapping[str, float] = field(default_factory=dict)

    @property
    def changes(self) -> list[tuple[str, int, int]]:
        """For each severity: its name, and the numbers of failed rules in the previous and the current audit.

        The list is empty if there is no previous audit, or if the previous audit applied other rules.
        """
        if self.past is None or self.now is None or self.past.rules != self.now.rules:
            return []
        return [(str(one), self.past.failed.get(one, 0), self.now.failed.get(one, 0)) for one in Severity]


def figures(answers: Sequence[RuleAnswer], *, at: float) -> PastAudit:
    """Return a PastAudit: the number of rules by result, and the number of failed rules by severity.

    `at` is the Unix time of the audit.
    """
    return PastAudit(
        at=at,
        results=Counter(str(answer.result) for answer in answers),
        failed=Counter(str(answer.rule.severity) for answer in answers if answer.result is RuleResult.FAIL),
        rules=tuple(sorted(answer.rule.id for answer in answers)),
    )


def record_audit(
    history: AuditHistory,
    account: str,
    answers: Sequence[RuleAnswer],
    records: Sequence[FindingRecord],
    *,
    at: float,
) -> None:
    """Record an audit in the ledger.

    An open finding is closed if this audit evaluated its rule completely and did not find it again. A rule that could
    not evaluate every subject closes no findings.
    """
    known = history.open_findings(account)
    now = {record.id: record.rule.id for record in records if record.result is RuleResult.FAIL}
    evaluated = {answer.rule.id for answer in answers if answer.result is not RuleResult.UNKNOWN and not answer.unsure}
    history.add(
        account,
        figures(answers, at=at),
        opened={number: rule for number, rule in now.items() if number not in known},
        closed={number: found.rule for number, found in known.items() if found.rule in evaluated and number not in now},
    )
