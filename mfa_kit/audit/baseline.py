"""Applies a baseline, which says who accepts which findings, why, and until which date.

After that date, the findings count again.
"""

from collections.abc import Sequence
from dataclasses import replace

from mfa_kit.account.past_audits import Acceptance
from mfa_kit.audit.finding import AcceptedFinding, Finding, RuleAnswer, RuleResult, Unsure


def entries_about(account: str, accepted: Sequence[Acceptance]) -> list[Acceptance]:
    """Return the entries of a baseline that are about this account, or about all accounts."""
    return [each for each in accepted if each.account in {"", account}]


def apply_baseline(answers: Sequence[RuleAnswer], accepted: Sequence[Acceptance], *, at: float) -> list[RuleAnswer]:
    """Return the answers without the findings and unknown subjects that are accepted at the time `at`.

    The accepted findings and subjects move to the field `accepted` of the answer. If the entry for a finding has
    expired, the evidence of the finding says so. If all findings and unknown subjects of a rule are accepted, the
    result of the rule is ACCEPTED.
    """
    return [_apply(answer, [each for each in accepted if each.rule == answer.rule.id], at) for answer in answers]


def _apply(answer: RuleAnswer, entries: Sequence[Acceptance], at: float) -> RuleAnswer:
    if not entries:
        return answer
    findings: list[Finding] = []
    unsure: list[Unsure] = []
    accepted: list[AcceptedFinding] = []
    found: tuple[Finding | Unsure, ...] = (*answer.findings, *answer.unsure)
    for each in found:
        match _judge(each, _entry(entries, each), at):
            case AcceptedFinding() as one:
                accepted.append(one)
            case Finding() as one:
                findings.append(one)
            case Unsure() as one:
                unsure.append(one)
    without_findings = RuleResult.UNKNOWN if unsure else RuleResult.ACCEPTED if accepted else answer.result
    return replace(
        answer,
        result=RuleResult.FAIL if findings else without_findings,
        findings=tuple(findings),
        unsure=tuple(unsure),
        accepted=tuple(accepted),
    )


def _judge(each: Finding | Unsure, entry: Acceptance | None, at: float) -> Finding | Unsure | AcceptedFinding:
    """Return an AcceptedFinding if the entry is valid, or the finding with a note if the entry has expired.

    Without an entry, return the finding unchanged.
    """
    if entry is None:
        return each
    evidence = each.evidence if isinstance(each, Finding) else each.why
    if at < entry.until:
        return AcceptedFinding(
            subject=each.subject,
            evidence=evidence,
            owner=entry.owner,
            reason=entry.reason,
            until=entry.day,
            arn=each.arn,
        )
    said = f"{evidence}; {entry.owner} accepted this until {entry.day}"
    return replace(each, evidence=said) if isinstance(each, Finding) else replace(each, why=said)


def _entry(entries: Sequence[Acceptance], found_one: Finding | Unsure) -> Acceptance | None:
    """Return the entry about a finding or an unknown subject, or None.

    If there are several, return the entry that is valid longest.
    """
    known = isinstance(found_one, Finding)
    found = [each for each in entries if each.covers(found_one.subject, known=known)]
    return max(found, key=lambda each: each.until, default=None)


def unused_entries(answers: Sequence[RuleAnswer], accepted: Sequence[Acceptance]) -> list[Acceptance]:
    """Return the entries whose findings no longer exist.

    An entry is left out if its rule was not applied or could not evaluate every subject.
    """
    subjects = {
        answer.rule.id: {*(each.subject for each in answer.findings), *(each.subject for each in answer.accepted)}
        for answer in answers
        if not answer.unsure
    }
    return [
        each
        for each in accepted
        if each.rule in subjects and not any(each.covers(subject, known=True) for subject in subjects[each.rule])
    ]
