"""Prints the result of an audit of one account, in each of its forms."""

from collections.abc import Sequence

from mfa_kit import wiring
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.finding import RuleAnswer, RuleResult
from mfa_kit.audit.records import EarlierAudits, FindingRecord, finding_records
from mfa_kit.cli.audit_forms import asff_document, finding_row
from mfa_kit.cli.audit_page import audit_page
from mfa_kit.cli.output import Output
from mfa_kit.cli.rule_rows import audit_head, rule_row
from mfa_kit.wiring.settings import Settings


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
                _print_paragraph(answer, output, names)
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


def _print_paragraph(answer: RuleAnswer, output: Output, names: int) -> None:
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
