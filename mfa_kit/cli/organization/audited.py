"""The audit of one account, as the output for many accounts needs it."""

from dataclasses import dataclass

from mfa_kit.audit.overview import AuditOverview
from mfa_kit.cli.results import ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The audit of one account.

    `document` is the complete result, or None if only the figures are needed, so that a thousand accounts need little
    memory. `failed` says whether this account makes the command fail.
    """

    overview: AuditOverview
    document: "ResultRow | None"
    failed: bool
