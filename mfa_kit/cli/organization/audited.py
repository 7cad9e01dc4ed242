"""The audit result of one account, as `mfa-kit audit` keeps it when it works in many accounts."""

from dataclasses import dataclass

from mfa_kit.account.snapshot import Acceptance
from mfa_kit.audit.finding import RuleAnswer
from mfa_kit.audit.overview import AuditOverview
from mfa_kit.audit.records import FindingRecord
from mfa_kit.cli.results import ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The audit result of one account.

    `overview` has the figures that are compared between accounts. `document` is the complete result. To save memory, it
    is None if only the figures are needed. If `failed` is true for any account, the command exits with 1. `unused` has
    the entries of the baseline whose findings this account no longer has. `answers` has the answers of the rules
    before the baseline is applied, and `records` has the findings for other programs. Both are empty if the output form
    is neither `asff` nor `ocsf`.
    """

    overview: AuditOverview
    document: "ResultRow | None"
    failed: bool
    unused: tuple[Acceptance, ...] = ()
    answers: tuple[RuleAnswer, ...] = ()
    records: tuple[FindingRecord, ...] = ()
