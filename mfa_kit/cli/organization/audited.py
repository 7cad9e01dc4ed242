"""The audit of one account, for the output of many accounts."""

from dataclasses import dataclass

from mfa_kit.audit.overview import AuditOverview
from mfa_kit.cli.results import ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The audit of one account.

    `document` is the complete result. It is None if only the figures (`overview`) are needed, to save memory with a
    thousand accounts. `failed` says whether the exit code of the command is 1 because of this account.
    """

    overview: AuditOverview
    document: "ResultRow | None"
    failed: bool
