"""The audit of one account among many, as the table, the page and the folder of the account need it."""

from dataclasses import dataclass

from mfa_kit.audit.overview import AuditOverview
from mfa_kit.cli.results import ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The audit of one account.

    `document` is the whole answer; it is None if only the figures are needed, so that a thousand accounts need little
    memory. `failed` says whether it makes the command fail.
    """

    overview: AuditOverview
    document: "ResultRow | None"
    failed: bool
