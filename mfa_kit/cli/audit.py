"""`mfa-kit audit`: takes or reads a snapshot of the account, applies the rules, and prints the findings."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.finding import DAY, Limits, Profile, RuleAnswer, RuleResult, Severity
from mfa_kit.audit.registry import audit_snapshot, choose_rules, fails_at
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.audit_page import audit_page
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import HTML, Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rule_rows import audit_head, rule_row
from mfa_kit.cli.snapshot_options import MAX_AGE, SNAPSHOT
from mfa_kit.core.places import Place
from mfa_kit.wiring.audit import SnapshotSource, open_snapshot
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, html=True)
@click.option(
    "--rule", "rules", multiple=True, metavar="ID", help="Only this rule, or all rules of a subject such as root."
)
@click.option(
    "--fail-on",
    type=click.Choice([str(severity) for severity in Severity]),
    default="low",
    show_default=True,
    help="Exit with 1 if a rule of this or a worse severity fails or is unknown.",
)
@click.option(
    "--password-profile",
    "advice",
    type=click.Choice(["nist", "cis"]),
    default="nist",
    show_default=True,
    help="The standard by which the password policy is checked.",
)
@SNAPSHOT
@MAX_AGE
@BACKUP_DIR
@DRILLED_WITHIN
@account_options()
def audit(
    *,
    rules: tuple[str, ...],
    fail_on: str,
    advice: str,
    file: Path | None,
    max_age: float,
    backup_dir: Place | None,
    drilled_within: float,
    settings: Settings,
    output: Output,
) -> int:
    """Check an account for MFA problems: root, administrators, users, groups, roles, passwords and backups.

    mfa-kit changes nothing in the account. If mfa-kit cannot read the data for a rule, the rule does not pass.
    """
    wanted = choose_rules(rules)
    limits = Limits(profile=Profile(advice), drilled=drilled_within / DAY)
    source = SnapshotSource(file=file, max_age=max_age, backup_dir=backup_dir, central_root=True)
    with open_snapshot(settings, source) as (snapshot, _):
        answers = audit_snapshot(snapshot, wanted, limits)
    for hole in snapshot.holes:
        settings.progress.alert(f"not read: {hole.part}{f' of {hole.about}' if hole.about else ''}: {hole.why}")
    _write(snapshot, answers, output)
    counts = Counter(answer.result for answer in answers)
    totals = ", ".join(f"{counts[result]} {result}" for result in RuleResult if counts[result])
    rules_ = f"{len(answers)} rule{'' if len(answers) == 1 else 's'}"
    settings.progress.note(f"{rules_}: {totals}; {_report_age(snapshot)}")
    if output.form == "table" and counts[RuleResult.FAIL]:
        settings.progress.note(f"for a report that you can send: mfa-kit audit --output {HTML} > audit.html")
    return 1 if fails_at(answers, Severity(fail_on)) else 0


def _write(snapshot: Snapshot, answers: Sequence[RuleAnswer], output: Output) -> None:
    """Print the answer of each rule: its result and its findings.

    A table has one paragraph per rule, HTML is one page, and JSON is one document. JSON Lines and CSV have one line per
    finding.
    """
    match output.form:
        case "table":
            for answer in answers:
                _print_paragraph(answer, output)
        case "html":
            output.text(audit_page(snapshot, answers))
        case "json":
            output.one("audit", {**audit_head(snapshot), "rules": [rule_row(answer) for answer in answers]})
        case _:
            output.many("audit-finding", [row for answer in answers for row in _finding_rows(answer)], empty="")


def _report_age(snapshot: Snapshot) -> str:
    if snapshot.report is None:
        return "no credential report"
    minutes = max(0, int(snapshot.at - snapshot.report.made) // 60)
    return f"credential report {minutes // 60} h {minutes % 60} min old"


def _print_paragraph(answer: RuleAnswer, output: Output) -> None:
    """Print a rule: its result and title, each finding with the commands that fix it, and unknown subjects.

    The severity of a rule that passes or does not apply has no color, because nothing is wrong.
    """
    rule = answer.rule
    why = f"  ({answer.why})" if answer.why else ""
    words = (f"{answer.result.upper():<14}", f"{rule.severity:<8}")
    wrong = answer.result in {RuleResult.FAIL, RuleResult.UNKNOWN}
    output.prose("  ".join([*words, f"{rule.id:<18}", f"{rule.title}{why}"]), painted=words if wrong else words[:1])
    for finding in answer.findings:
        output.prose(f"    {finding.subject}: {finding.evidence}")
        output.prose(*(f"      {line}" for line in finding.remedy))
    output.prose(*(f"    {unsure.subject}: {unsure.why}" for unsure in answer.unsure))


def _finding_rows(answer: RuleAnswer) -> list[ResultRow]:
    """Return a row for each finding and each unknown subject of a rule.

    If there are none, return one row with the result.
    """
    lines = [(RuleResult.FAIL, each.subject, each.evidence, " ; ".join(each.remedy)) for each in answer.findings]
    lines += [(RuleResult.UNKNOWN, each.subject, each.why, "") for each in answer.unsure]
    return [
        {
            "result": result,
            "rule": answer.rule.id,
            "severity": answer.rule.severity,
            "subject": subject,
            "evidence": evidence,
            "remedy": remedy,
        }
        for result, subject, evidence, remedy in lines or [(answer.result, "", answer.why, "")]
    ]
