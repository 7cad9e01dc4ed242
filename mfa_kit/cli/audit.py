"""`mfa-kit audit`: takes or reads a snapshot of the account, applies the rules, and prints the findings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from mfa_kit import wiring
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.auditing import AccountAudit, AuditOptions, audit_account, unused_in_all
from mfa_kit.audit.finding import DAY, AuditRule, Framework, Limits, Profile, RuleAnswer, RuleResult, Severity
from mfa_kit.audit.frameworks import FRAMEWORKS, answer_controls, choose_framework, framework_rules
from mfa_kit.audit.records import EarlierAudits
from mfa_kit.audit.registry import ALL_RULES, choose_rules
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, account_options
from mfa_kit.cli.audit_forms import ASFF, OCSF
from mfa_kit.cli.audit_output import Audited, control_totals, print_audit, print_controls
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.options import Verb
from mfa_kit.cli.organization.audit import audit_organization
from mfa_kit.cli.organization.visits import exit_code
from mfa_kit.cli.output import HTML, Output
from mfa_kit.cli.value_types import Age
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.timestamps import age_text
from mfa_kit.organization.across import UNREAD, Visit, VisitState
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.settings import Settings

A = TypeVar("A", AccountAudit, Audited)


@click.command(cls=Verb, html=True, forms=(ASFF, OCSF))
@click.option(
    "--rule", "rules", multiple=True, metavar="ID", help="Only this rule, or all rules of a subject such as root."
)
@click.option(
    "--framework",
    metavar="ID",
    help="Show each control of this framework with its verdict: " + ", ".join(FRAMEWORKS) + ".",
)
@click.option(
    "--max-session",
    type=Age(),
    help="Report console users whose sign-in sessions can last longer than this (one request per console user).",
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
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of accepted findings, which do not count as failures. Each has an owner, a reason and an end date.",
)
@SNAPSHOT
@MAX_AGE
@BACKUP_DIR
@DRILLED_WITHIN
@account_options(in_one=("framework", "max_session", "file"))
def audit(
    *,
    rules: tuple[str, ...],
    framework: str | None,
    max_session: float | None,
    fail_on: str,
    advice: str,
    baseline: Path | None,
    file: Path | None,
    max_age: float,
    backup_dir: BackupLocation | None,
    drilled_within: float,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Check an account for MFA problems: root, administrators, users, groups, roles, passwords and backups.

    mfa-kit changes nothing in the account. If mfa-kit cannot read the data for a rule, the rule does not pass.
    """
    chosen = choose_framework(framework) if framework else None
    options = AuditOptions(
        rules=_chosen_rules(rules, chosen, output),
        limits=audit_limits(advice, drilled_within, max_session),
        fail_on=Severity(fail_on),
        accepted=wiring.audit.open_baseline(baseline, ALL_RULES),
    )
    source = wiring.audit.SnapshotSource(
        file=file,
        max_age=max_age,
        backup_dir=backup_dir,
        central_root=True,
        sessions_of=lambda user: max_session is not None and user.password,
    )
    with wiring.audit.open_snapshots(settings, source, accounts) as snapshots:
        if accounts and snapshots.organization:
            visits = audit_organization(
                snapshots, snapshots.organization, options, accounts, settings=settings, output=output
            )
            return _finish(visits, options, baseline, settings)
        (account,) = snapshots.selection.chosen
        account_audit = audit_account(snapshots.take(account), options)
        past = wiring.audit.compare_with_ledger(settings, snapshots.organization, account_audit)
        _print_audit(account_audit, past, chosen, settings, output)
        visit = Visit(account=account, state=VisitState.READ, found=account_audit)
        return _finish([visit], options, baseline, settings)


def _finish(visits: Sequence[Visit[A]], options: AuditOptions, baseline: Path | None, settings: Settings) -> int:
    """Print the unused entries of the baseline. Return the exit code.

    If an account could not be read, no entry is printed, because the findings of that account are unknown.
    """
    if not any(visit.state in UNREAD for visit in visits):
        unused = {visit.account.id: visit.found.unused for visit in visits if visit.found}
        for entry in unused_in_all(options.accepted, unused):
            settings.progress.note(f"{baseline} accepts {entry.rule} of {entry.subject}, which was not found")
    return exit_code(visits, findings=any(visit.found.failed for visit in visits if visit.found))


def _print_audit(
    audit: AccountAudit, past: EarlierAudits, framework: Framework | None, settings: Settings, output: Output
) -> None:
    """Print the audit of one account, and its totals."""
    snapshot, answers = audit.snapshot, audit.answers
    for hole in snapshot.holes:
        settings.progress.alert(f"not read: {hole.part}{f' of {hole.about}' if hole.about else ''}: {hole.why}")
    if framework:
        controls = answer_controls(framework, answers)
        print_controls(snapshot, framework, controls, output)
        settings.progress.note(f"{control_totals(framework, controls)}; {_report_age(snapshot)}")
    else:
        print_audit(snapshot, answers, past, output, settings=settings)
        _note_totals(snapshot, answers, settings, output)


def audit_limits(advice: str, drilled_within: float, max_session: float | None) -> Limits:
    """Return the limits that rules check. `advice` is the name of the profile for the password policy.

    `drilled_within` and `max_session` are in seconds. None for `max_session` means the default limit.
    """
    limits = Limits(profile=Profile(advice), drilled=drilled_within / DAY)
    return limits if max_session is None else replace(limits, session=max_session)


def _chosen_rules(names: Sequence[str], framework: Framework | None, output: Output) -> list[AuditRule]:
    """Return the rules to apply: those of the framework, or else those with these names.

    Raise UsageFault if both are given, or if a framework is given and the output form is HTML, ASFF or OCSF.
    """
    if framework is None:
        return choose_rules(names)
    if names:
        raise UsageFault("--rule cannot be used with --framework", "leave one of them out")
    if output.form in (HTML, ASFF, OCSF):
        raise UsageFault(
            f"the verdicts of a framework cannot be printed as {output.form}",
            "leave --output out, or use json, jsonl or csv",
        )
    return framework_rules(framework, ALL_RULES)


def _note_totals(snapshot: Snapshot, answers: Sequence[RuleAnswer], settings: Settings, output: Output) -> None:
    counts = Counter(answer.result for answer in answers)
    totals = ", ".join(f"{counts[result]} {result}" for result in RuleResult if counts[result])
    rules_ = f"{len(answers)} rule{'' if len(answers) == 1 else 's'}"
    settings.progress.note(f"{rules_}: {totals}; {_report_age(snapshot)}")
    if output.form == "table" and counts[RuleResult.FAIL]:
        settings.progress.note(f"for a report that you can send, add: --output {HTML} > audit.html")


def _report_age(snapshot: Snapshot) -> str:
    if snapshot.report is None:
        return "no credential report"
    return f"credential report {age_text(snapshot.at - snapshot.report.made)} old"
