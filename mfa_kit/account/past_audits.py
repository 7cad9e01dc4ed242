"""What is stored about earlier audits: their figures, open findings and accepted findings.

Figures and open findings are in the ledger, and accepted findings in a baseline file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAudit:
    """The figures of an audit at the Unix time `at`.

    `results` has the number of rules by result, and `failed` the number of failed rules by severity. `rules` are the
    IDs of the rules that were applied.
    """

    at: float
    results: Mapping[str, int]
    failed: Mapping[str, int] = field(default_factory=dict)
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """A finding that was open at the last audit: the ID of its rule, and when an audit first found it (Unix time)."""

    rule: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One entry of a baseline. `subject` is the subject of the finding, or `*` for all findings of the rule.

    `account` is the ID of the account that the entry is about, or "" for all accounts. `day` is the last day of the
    acceptance, as an ISO date, and `until` the end of that day, in Unix seconds.
    """

    rule: str
    subject: str
    owner: str
    reason: str
    until: float
    day: str
    account: str = ""

    def covers(self, subject: str, *, known: bool) -> bool:
        """Return whether the entry accepts the finding of its rule about this subject.

        `known` is false for a subject that could not be evaluated. The entry must then name the subject. Otherwise `*`
        would also accept the result of an audit that could read nothing.
        """
        return self.subject == subject or (known and self.subject == "*")
