"""What `mfa-kit audit` does: takes or reads a snapshot, lets the rules look, and prints what they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mfa_kit.audit import registry
from mfa_kit.audit.finding import DAY, Answer, Limits, Profile, Result, Severity
from mfa_kit.cli import messages, options
from mfa_kit.cli import output as report
from mfa_kit.cli.audit_page import page
from mfa_kit.cli.options import written
from mfa_kit.cli.output import HTML
from mfa_kit.wiring import audit as kit
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.account.snapshot import Snapshot


def audit(
    settings: Settings,
    *,
    rules: tuple[str, ...],
    fail_on: str,
    advice: str,
    file: Path | None,
    max_age: float,
    backup_dir: Path | None,
    drilled_within: float,
) -> int:
    wanted = registry.chosen(rules)
    limits = Limits(profile=Profile(advice), drilled=drilled_within / DAY)
    with kit.snapshot(settings, file=file, max_age=max_age, backup_dir=backup_dir) as (snapshot, _):
        answers = registry.audit(snapshot, wanted, limits)
    _tell(snapshot, answers, output=options.form())
    return 1 if registry.fails(answers, Severity(fail_on)) else 0


def aged(snapshot: Snapshot) -> str:
    """Say how old the credential report is."""
    if snapshot.report is None:
        return "without a credential report"
    minutes = max(0, int(snapshot.at - snapshot.report.made) // 60)
    return f"credential report {minutes // 60} h {minutes % 60} min old"


def _tell(snapshot: Snapshot, answers: list[Answer], *, output: str) -> None:
    talk = messages.Talk()
    for hole in snapshot.holes:
        talk.note(f"not read: {hole.part}{f' of {hole.about}' if hole.about else ''}: {hole.why}")
    match output:
        case "table":
            for answer in answers:
                _table(answer)
        case "html":
            click.echo(page(snapshot, answers), nl=False)
        case "json":
            head = {
                "account": snapshot.account,
                "caller": snapshot.caller,
                "at": written(snapshot.at),
                "report_made": written(snapshot.report.made) if snapshot.report else None,
                "holes": [{"part": each.part, "about": each.about, "why": each.why} for each in snapshot.holes],
            }
            report.one("audit", {**head, "rules": [_row(answer) for answer in answers]}, output=output)
        case _:
            rows = [row for answer in answers for row in _rows(answer)]
            report.many("audit-finding", rows, output=output, empty="")
    counts = Counter(answer.result for answer in answers)
    told = ", ".join(f"{counts[result]} {result}" for result in Result if counts[result])
    talk.note(f"{len(answers)} rule{'' if len(answers) == 1 else 's'}: {told}; {aged(snapshot)}")
    if output == "table" and counts[Result.FAIL]:
        talk.note(f"for a reader who has other work: mfa-kit audit --output {HTML} > audit.html")


def _table(answer: Answer) -> None:
    """Print a rule as a paragraph: what it is, what is wrong with whom, and what to run."""
    rule = answer.rule
    said = f"  ({answer.why})" if answer.why else ""
    click.echo(f"{answer.result.upper():<14}  {rule.severity:<8}  {rule.id:<18}  {rule.title}{said}")
    for finding in answer.findings:
        click.echo(messages.printable(f"    {finding.subject}: {finding.evidence}").replace("\n", "\\n"))
        for line in finding.remedy:
            click.echo(messages.printable(f"      {line}").replace("\n", "\\n"))
    for unsure in answer.unsure:
        click.echo(messages.printable(f"    {unsure.subject}: {unsure.why}").replace("\n", "\\n"))


def _row(answer: Answer) -> dict[str, Any]:
    return {
        "rule": answer.rule.id,
        "title": answer.rule.title,
        "severity": answer.rule.severity,
        "references": answer.rule.references,
        "result": answer.result,
        "why": answer.why or None,
        "findings": [
            {"subject": each.subject, "evidence": each.evidence, "remedy": each.remedy} for each in answer.findings
        ],
        "unknown": [{"subject": each.subject, "why": each.why} for each in answer.unsure],
    }


def _rows(answer: Answer) -> list[dict[str, Any]]:
    """Return a line for each finding and for all that is unknown; for a rule that has neither, one for the rule."""
    head = {"rule": answer.rule.id, "severity": answer.rule.severity}
    lines = [(Result.FAIL, each.subject, each.evidence, " ; ".join(each.remedy)) for each in answer.findings]
    lines += [(Result.UNKNOWN, each.subject, each.why, "") for each in answer.unsure]
    return [
        {"result": result, **head, "subject": subject, "evidence": evidence, "remedy": remedy}
        for result, subject, evidence, remedy in lines or [(answer.result, "", answer.why, "")]
    ]
