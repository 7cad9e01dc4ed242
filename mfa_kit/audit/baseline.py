"""Applies a baseline, which says who accepts which findings, why, and until which date.

After that date, the findings count again.
"""

from collections.abc import Sequence
from dataclasses import replace

from mfa_kit.account.snapshot import Acceptance
from mfa_kit.audit.finding import AcceptedFinding, Finding, RuleAnswer, RuleResult, UnknownSubject


def entries_about(account: str, accepted: Sequence[Acceptance]) -> list[Acceptance]:
    """Return the entries of a baseline that are about this account, or about all accounts."""
    return [entry for entry in accepted if entry.account in {"", account}]


def apply_baseline(answers: Sequence[RuleAnswer], accepted: Sequence[Acceptance], *, time: float) -> list[RuleAnswer]:
    """Return the answers without the findings and unknown subjects that are accepted at a Unix time.

    The accepted findings and subjects move to the field `accepted` of the answer. If the entry for a finding has
    expired, the evidence of the finding says so. If all findings and unknown subjects of a rule are accepted, the
    result of the rule is ACCEPTED.
    """
    return [_apply(answer, [entry for entry in accepted if entry.rule == answer.rule.id], time) for answer in answers]


def _apply(answer: RuleAnswer, entries: Sequence[Acceptance], time: float) -> RuleAnswer:
    if not entries:
        return answer
    findings: list[Finding] = []
    unknown: list[UnknownSubject] = []
    accepted: list[AcceptedFinding] = []
    observations: tuple[Finding | UnknownSubject, ...] = (*answer.findings, *answer.unknown)
    for observation in observations:
        match _judge(observation, _entry(entries, observation), time):
            case AcceptedFinding() as finding:
                accepted.append(finding)
            case Finding() as finding:
                findings.append(finding)
            case UnknownSubject() as subject:
                unknown.append(subject)
    without_findings = RuleResult.UNKNOWN if unknown else RuleResult.ACCEPTED if accepted else answer.result
    return replace(
        answer,
        result=RuleResult.FAIL if findings else without_findings,
        findings=tuple(findings),
        unknown=tuple(unknown),
        accepted=tuple(accepted),
    )


def _judge(
    observation: Finding | UnknownSubject, entry: Acceptance | None, time: float
) -> Finding | UnknownSubject | AcceptedFinding:
    """Return an AcceptedFinding if the entry is valid, or the finding with a note if the entry has expired.

    Without an entry, return the finding unchanged.
    """
    if entry is None:
        return observation
    evidence = observation.evidence if isinstance(observation, Finding) else observation.why
    if time < entry.until:
        return AcceptedFinding(
            subject=observation.subject,
            evidence=evidence,
            owner=entry.owner,
            reason=entry.reason,
            until=entry.day,
            arn=observation.arn,
        )
    explanation = f"{evidence}; {entry.owner} accepted this until {entry.day}"
    return (
        replace(observation, evidence=explanation)
        if isinstance(observation, Finding)
        else replace(observation, why=explanation)
    )


def _entry(entries: Sequence[Acceptance], observation: Finding | UnknownSubject) -> Acceptance | None:
    """Return the entry about a finding or an unknown subject, or None.

    If there are several, return the entry that is valid longest.
    """
    known = isinstance(observation, Finding)
    covering_entries = [entry for entry in entries if entry.covers(observation.subject, known=known)]
    return max(covering_entries, key=lambda entry: entry.until, default=None)


def unused_entries(answers: Sequence[RuleAnswer], accepted: Sequence[Acceptance]) -> list[Acceptance]:
    """Return the entries whose findings no longer exist.

    An entry is left out if its rule was not applied or could not evaluate every subject.
    """
    subjects = {
        answer.rule.id: {
            *(finding.subject for finding in answer.findings),
            *(finding.subject for finding in answer.accepted),
        }
        for answer in answers
        if not answer.unknown
    }
    return [
        entry
        for entry in accepted
        if entry.rule in subjects and not any(entry.covers(subject, known=True) for subject in subjects[entry.rule])
    ]
