"""Prints the result of an audit of one account, in each of its forms; the rows of rules, and of controls."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mfa_kit import wiring
from mfa_kit.account.snapshot import Acceptance, Snapshot
from mfa_kit.audit.baseline import AuditOverview
from mfa_kit.audit.finding import Framework, RuleAnswer, RuleResult
from mfa_kit.audit.frameworks import ControlAnswer, ControlResult
from mfa_kit.audit.records import EarlierAudits, FindingRecord, finding_records
from mfa_kit.cli.audit_forms import asff_document, finding_row
from mfa_kit.cli.audit_page import audit_page
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.timestamps import iso_time
from mfa_kit.organization.wording import in_account
from mfa_kit.wiring.settings import Settings


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


def print_audit(
    snapshot: Snapshot, answers: Sequence[RuleAnswer], before: EarlierAudits, output: Output, *, settings: Settings
) -> None:
    """Print the answer of each rule: its result and its findings.

    A table has one paragraph per rule, HTML is one page, and JSON is one document. The other forms have a record for
    each finding (accepted or not), for each subject whose state is unknown, and for each rule without either.
    `before` is what the ledger has about earlier audits. `settings` has the region and the AWS profile for ASFF; see
    `print_records`.
    """
    match output.form:
        case "table":
            names = max((len(answer.rule.id) for answer in answers), default=0)
            for answer in answers:
                _print_rule(answer, output, names)
        case "html":
            output.text(audit_page(snapshot, answers, before))
        case "json":
            output.one("audit", {**audit_head(snapshot), "rules": [rule_row(answer) for answer in answers]})
        case _:
            records = finding_records(snapshot, answers, before.since)
            print_records(records, output, settings=settings, partition=snapshot.partition)


def print_records(records: Sequence[FindingRecord], output: Output, *, settings: Settings, partition: str) -> None:
    """Print records as ASFF, OCSF, CSV or JSON Lines.

    ASFF contains the region of Security Hub. This is the region of `settings`, else that of the AWS profile or the
    environment, else the default region of the partition.
    """
    match output.form:
        case "asff":
            region = wiring.audit.security_hub_region(settings.region, settings.profile, partition)
            output.text(asff_document(records, region=region))
        case "ocsf":
            output.text(wiring.audit.ocsf_document(records))
        case _:
            output.many("audit-finding", [finding_row(record) for record in records], empty="")


def _print_rule(answer: RuleAnswer, output: Output, names: int) -> None:
    """Print a rule: its result and title, its findings with the commands that fix them, and its unknown subjects.

    Accepted findings are printed last, each with the person who accepts it, the end date and the reason. `names` is the
    width of the column of rule IDs. The severity has a color only if the rule fails or its result is unknown.
    """
    rule = answer.rule
    words = (f"{answer.result.upper():<14}", f"{rule.severity:<8}")
    wrong = answer.result in {RuleResult.FAIL, RuleResult.UNKNOWN}
    output.titled([*words, f"{rule.id:<{names}}"], rule.title, painted=words if wrong else words[:1])
    if answer.why:
        output.prose(f"    ({answer.why})")
    for finding in answer.findings:
        output.prose(f"    {finding.subject}: {finding.evidence}")
        output.prose(*(f"      {line}" for line in finding.remedy))
    output.prose(*(f"    {unknown.subject}: {unknown.why}" for unknown in answer.unknown))
    for accepted_finding in answer.accepted:
        output.prose(f"    {accepted_finding.subject}: {accepted_finding.evidence}")
        output.prose(
            f"      # {accepted_finding.owner} accepts this until {accepted_finding.until}: {accepted_finding.reason}"
        )


def print_controls(snapshot: Snapshot, framework: Framework, controls: Sequence[ControlAnswer], output: Output) -> None:
    """Print the verdict on each control of a framework.

    The form `table` has a paragraph per control: the verdict, then the findings. JSON is one document. JSON Lines and
    CSV have a line per control.
    """
    match output.form:
        case "table":
            names = max(len(control.control.id) for control in controls)
            for control in controls:
                _print_control(control, output, names)
        case "json":
            answers = {answer.rule.id: answer for control in controls for answer in control.answers}
            document = {
                **audit_head(snapshot),
                "framework": framework_row(framework),
                "controls": [control_row(control) for control in controls],
                "rules": [rule_row(answer) for answer in answers.values()],
            }
            output.one("audit-framework", document)
        case _:
            rows = [{"framework": framework.id, **control_row(control)} for control in controls]
            output.many("audit-control", rows, empty="")


def framework_row(framework: Framework) -> ResultRow:
    """Return the row of a framework: its name and version, and the source of its control IDs."""
    return {
        "id": framework.id,
        "name": framework.name,
        "version": framework.version,
        "scope": framework.scope,
        "source": framework.source,
        "read": framework.read,
    }


def control_row(answer: ControlAnswer) -> ResultRow:
    """Return the row of a control: its verdict, and the rules that check it."""
    subjects = dict.fromkeys(finding.subject for rule_answer in answer.answers for finding in rule_answer.findings)
    return {
        "control": answer.control.id,
        "result": answer.result,
        "title": answer.control.title,
        "rules": answer.control.rules,
        "why": answer.why or None,
        "fails_for": tuple(subjects),
        "standards": answer.control.standards,
    }


def control_totals(framework: Framework, controls: Sequence[ControlAnswer]) -> str:
    """Return a line with the framework, its number of controls, and the number of controls with each verdict."""
    counts = Counter(control.result for control in controls)
    totals = ", ".join(f"{counts[result]} {result}" for result in ControlResult if counts[result])
    return f"{framework.name} {framework.version}, {framework.scope}: {len(controls)} controls: {totals}"


def _print_control(answer: ControlAnswer, output: Output, names: int) -> None:
    """Print a control: its verdict and title, its findings, and the subjects that could not be evaluated.

    `names` is the width of the column of control IDs.
    """
    word = f"{answer.result.upper():<14}"
    output.titled([word, f"{answer.control.id:<{names}}"], answer.control.title, painted=(word,))
    if answer.why:
        output.prose(f"    ({answer.why})")
    for rule_answer in answer.answers:
        for finding in rule_answer.findings:
            output.prose(f"    {finding.subject}: {finding.evidence}")
        output.prose(*(f"    {unknown.subject}: {unknown.why}" for unknown in rule_answer.unknown))


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
