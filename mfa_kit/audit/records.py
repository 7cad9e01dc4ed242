"""Findings as records for other programs, and what the ledger knows of them from earlier audits.

A record has a stable ID and an ARN, and says when the finding was first and last seen.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.account.snapshot import Entity, OpenFinding, PastAudit, Snapshot
from mfa_kit.audit.finding import AuditRule, RuleAnswer, RuleResult, Severity
from mfa_kit.core.text import iso_time
from mfa_kit.organization.accounts import in_account

# Maps the first part of a rule's ID to the kind of IAM entity that the rule's subjects are.
KINDS = {"users": "user", "admins": "user", "groups": "group", "roles": "role", "sessions": "user"}
ID_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRecord:
    """A finding, an accepted finding, a subject that could not be evaluated, or a rule without any of these.

    `id` is the same in each audit of the account as long as the rule finds the same subject. `key` identifies the
    subject: it is the ARN if several subjects may have the same name, and otherwise the name. `resource` is the ARN of
    the subject, or the ARN of the account's root user if the subject has no ARN. `first_seen` and `last_seen` are Unix
    times. `first_seen` is None if the ledger does not have this time.
    """

    id: str
    account: str
    partition: str
    rule: AuditRule
    result: RuleResult
    subject: str
    key: str
    resource: str
    evidence: str
    remedy: tuple[str, ...]
    references: tuple[str, ...]
    first_seen: float | None
    last_seen: float


def finding_id(account: str, rule: str, key: str, *, number: int = 0) -> str:
    """Return the stable ID of a finding: 32 hexadecimal digits.

    `key` identifies the subject. `number` counts the findings of the rule about the same subject, from 0.
    """
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    text = "\0".join((account, rule, key, str(number)))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def finding_records(
    snapshot: Snapshot, answers: Sequence[RuleAnswer], first_seen: Mapping[str, float]
) -> list[FindingRecord]:
    """Return a record for each finding, accepted finding and unknown subject, and one for each rule without these.

    `first_seen` has the Unix time when each finding was first seen, by ID.
    """
    resources = _Resources(snapshot)
    return [record for answer in answers for record in _records(snapshot, answer, first_seen, resources)]


def _records(
    snapshot: Snapshot, answer: RuleAnswer, first_seen: Mapping[str, float], resources: "_Resources"
) -> Iterator[FindingRecord]:
    rows = [
        (RuleResult.FAIL, finding.subject, finding.arn, finding.evidence, finding.remedy) for finding in answer.findings
    ]
    rows += [(RuleResult.UNKNOWN, unknown.subject, unknown.arn, unknown.why, ()) for unknown in answer.unknown]
    rows += [(RuleResult.ACCEPTED, finding.subject, finding.arn, finding.sentence, ()) for finding in answer.accepted]
    counts = Counter[str]()
    for result, subject, arn, evidence, remedy in rows or [(answer.result, "", "", answer.why, ())]:
        key = arn or subject
        number = finding_id(snapshot.account, answer.rule.id, key, number=counts[key])
        counts[key] += 1
        yield FindingRecord(
            id=number,
            account=snapshot.account,
            partition=snapshot.partition,
            rule=answer.rule,
            result=result,
            subject=subject,
            key=key,
            resource=arn or resources.arn(answer.rule, subject),
            evidence=evidence,
            remedy=remedy,
            references=answer.references,
            first_seen=first_seen.get(number),
            last_seen=snapshot.at,
        )


class _Resources:
    """Finds the ARN of a subject."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._account = f"arn:{snapshot.partition}:iam::{snapshot.account}:root"
        entities: tuple[Entity, ...] = (*snapshot.roles, *snapshot.groups, *snapshot.users)
        self._named = {
            (entity.arn.rpartition(":")[2].partition("/")[0], entity.name): entity.arn for entity in entities
        }

    def arn(self, rule: AuditRule, subject: str) -> str:
        """Return the ARN of a rule's subject. If the subject has no ARN, return the ARN of the account's root user."""
        if subject.startswith("arn:"):
            return subject
        kind = KINDS.get(rule.id.partition(".")[0])
        return self._named.get((kind, subject), self._account) if kind else self._account


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
class EarlierAudits:
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
        return [
            (str(severity), self.past.failed.get(severity, 0), self.now.failed.get(severity, 0))
            for severity in Severity
        ]


def figures(answers: Sequence[RuleAnswer], *, time: float) -> PastAudit:
    """Return a PastAudit: the number of rules by result, and the number of failed rules by severity.

    `time` is the Unix time of the audit.
    """
    return PastAudit(
        at=time,
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
    time: float,
) -> None:
    """Record an audit in the ledger.

    An open finding is closed if this audit evaluated its rule completely and did not find it again. A rule that could
    not evaluate every subject closes no findings.
    """
    known = history.open_findings(account)
    now = {record.id: record.rule.id for record in records if record.result is RuleResult.FAIL}
    evaluated = {answer.rule.id for answer in answers if answer.result is not RuleResult.UNKNOWN and not answer.unknown}
    history.add(
        account,
        figures(answers, time=time),
        opened={number: rule for number, rule in now.items() if number not in known},
        closed={
            number: finding.rule for number, finding in known.items() if finding.rule in evaluated and number not in now
        },
    )


def compare_audits(
    history: AuditHistory, snapshot: Snapshot, answers: Sequence[RuleAnswer], *, records: bool
) -> EarlierAudits:
    """Compare an audit with the account's last one. With `records`, also record this audit, whose answers these are."""
    findings = finding_records(snapshot, answers, {})
    past, known = history.last(snapshot.account), history.open_findings(snapshot.account)
    if records:
        record_audit(history, snapshot.account, answers, findings, time=snapshot.at)
    since = {record.id: known[record.id].since if record.id in known else snapshot.at for record in findings}
    return EarlierAudits(past=past, now=figures(answers, time=snapshot.at), since=since)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedFinding:
    """What a rule found about a subject, and the commands that fix it."""

    subject: str
    evidence: str
    remedy: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedAcceptance:
    """A finding that the baseline accepts."""

    subject: str
    evidence: str
    owner: str
    reason: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedUnknown:
    """A subject that a rule could not evaluate."""

    subject: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport:
    """The result of one rule of an audit."""

    rule: str
    title: str
    severity: str
    references: tuple[str, ...]
    result: str
    why: str | None
    findings: tuple[ReportedFinding, ...]
    accepted: tuple[ReportedAcceptance, ...]
    unknown: tuple[ReportedUnknown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedUnread:
    """A part of the account that could not be read."""

    part: str
    about: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The audit of one account, in the schema mfa-kit/audit."""

    account: str
    caller: str
    at: str
    report_made: str | None
    holes: tuple[ReportedUnread, ...]
    rules: tuple[RuleReport, ...]


def rule_report(answer: RuleAnswer, *, account: str | None = None) -> RuleReport:
    """Return the result of a rule for the account, and its findings.

    With `account`, the commands that fix the findings name that account, because the reader may have the credentials of
    another account.
    """
    return RuleReport(
        rule=answer.rule.id,
        title=answer.rule.title,
        severity=answer.rule.severity,
        references=answer.references,
        result=answer.result,
        why=answer.why or None,
        findings=tuple(
            ReportedFinding(
                subject=finding.subject,
                evidence=finding.evidence,
                remedy=tuple(in_account(line, account) for line in finding.remedy) if account else finding.remedy,
            )
            for finding in answer.findings
        ),
        accepted=tuple(
            ReportedAcceptance(
                subject=finding.subject,
                evidence=finding.evidence,
                owner=finding.owner,
                reason=finding.reason,
                until=finding.until,
            )
            for finding in answer.accepted
        ),
        unknown=tuple(ReportedUnknown(subject=unknown.subject, why=unknown.why) for unknown in answer.unknown),
    )


def audit_report(snapshot: Snapshot, answers: Iterable[RuleAnswer]) -> AuditReport:
    """Return the audit of one account: the caller, the times, the parts that could not be read, and the rules."""
    return AuditReport(
        account=snapshot.account,
        caller=snapshot.caller,
        at=iso_time(snapshot.at),
        report_made=iso_time(snapshot.report.made) if snapshot.report else None,
        holes=tuple(ReportedUnread(part=hole.part, about=hole.about, why=hole.why) for hole in snapshot.holes),
        rules=tuple(map(rule_report, answers)),
    )
