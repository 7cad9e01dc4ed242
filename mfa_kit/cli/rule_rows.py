"""The rows of an audit: a row about the account, and a row for each rule with its result."""

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.finding import RuleAnswer
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.timestamps import iso_time
from mfa_kit.organization.wording import in_account


def audit_head(snapshot: Snapshot) -> ResultRow:
    """Return the row about the account: its ID, the caller, the times, and the parts that could not be read."""
    return {
        "account": snapshot.account,
        "caller": snapshot.caller,
        "at": iso_time(snapshot.at),
        "report_made": iso_time(snapshot.report.made) if snapshot.report else None,
        "holes": [{"part": hole.part, "about": hole.about, "why": hole.why} for hole in snapshot.holes],
    }


def rule_row(answer: RuleAnswer, *, account: str | None = None) -> ResultRow:
    """Return the row of a rule: its result for the account, and its findings.

    With `account`, the commands that fix the findings name that account, because the reader may have the credentials of
    another account.
    """
    return {
        "rule": answer.rule.id,
        "title": answer.rule.title,
        "severity": answer.rule.severity,
        "references": answer.references,
        "result": answer.result,
        "why": answer.why or None,
        "findings": [
            {
                "subject": finding.subject,
                "evidence": finding.evidence,
                "remedy": [in_account(line, account) for line in finding.remedy] if account else finding.remedy,
            }
            for finding in answer.findings
        ],
        "accepted": [
            {
                "subject": finding.subject,
                "evidence": finding.evidence,
                "owner": finding.owner,
                "reason": finding.reason,
                "until": finding.until,
            }
            for finding in answer.accepted
        ],
        "unknown": [{"subject": unknown.subject, "why": unknown.why} for unknown in answer.unknown],
    }
