"""`mfa-kit audit`: takes or reads a snapshot of the account, applies the rules, and prints the findings.

In many accounts, it prints a row for each account, and can write a folder for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.account.snapshot import RootVerdict, Snapshot, SnapshotPart, unread_parts
from mfa_kit.audit.baseline import overview_of
from mfa_kit.audit.finding import DAY, AuditRule, Framework, Limits, Profile, RuleAnswer, RuleResult, Severity
from mfa_kit.audit.frameworks import FRAMEWORKS, answer_controls, choose_framework, framework_rules
from mfa_kit.audit.records import EarlierAudits, FindingRecord, finding_records, rule_report
from mfa_kit.audit.registry import (
    ALL_RULES,
    RULES,
    AccountAudit,
    AuditOptions,
    audit_account,
    choose_rules,
    unused_in_all,
)
from mfa_kit.cli import visits as shared
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, account_options
from mfa_kit.cli.audit_output import (
    ASFF,
    OCSF,
    Audited,
    audit_head,
    control_totals,
    organization_page,
    print_audit,
    print_controls,
    print_records,
)
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import HTML, Output
from mfa_kit.cli.value_types import Age
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import VERSION, Cell, ResultRow, age_text, count_of, counts_of
from mfa_kit.organization.across import UNREAD, AccountFolders, Visit, VisitState

if TYPE_CHECKING:
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.wiring.settings import Settings

AUDIT_FILE = "audit.json"
# The columns that a table shows if the window has no room for all columns.
NARROW = ("account_name", "account", "state", "critical", "high", "unknown", "without_mfa")
# The columns of an account that are None if the account was not read.
FIGURES = (*map(str, Severity), "unknown", "users", "passwords", "without_mfa")
RECORDS = {ASFF, OCSF}
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
    help="Report console users and roles whose sign-in sessions can last longer than this (one request for each).",
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
        control=True,
        sessions=max_session is not None,
    )
    with wiring.audit.open_snapshots(settings, source, accounts) as snapshots:
        if accounts and snapshots.organization:
            with wiring.audit.open_folders(accounts.output_dir) as folders:
                many = OrganizationAudit(
                    snapshots=snapshots,
                    organization=snapshots.organization,
                    options=options,
                    choice=accounts,
                    folders=folders,
                    settings=settings,
                    output=output,
                )
                return _finish(many.run(), options, baseline, settings)
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
    return shared.exit_code(visits, findings=any(visit.found.failed for visit in visits if visit.found))


def _print_audit(
    audit: AccountAudit, past: EarlierAudits, framework: Framework | None, settings: Settings, output: Output
) -> None:
    """Print the audit of one account, and its totals."""
    snapshot, answers = audit.snapshot, audit.answers
    holes = [f"{hole.part}{f' of {hole.about}' if hole.about else ''}: {hole.why}" for hole in snapshot.holes]
    shared.alert_unread(holes, settings.progress)
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
    if output.form in {HTML, *RECORDS}:
        raise UsageFault(
            f"the verdicts of a framework cannot be printed as {output.form}",
            "leave --output out, or use json, jsonl, csv or text",
        )
    return framework_rules(framework, ALL_RULES)


def _note_totals(snapshot: Snapshot, answers: Sequence[RuleAnswer], settings: Settings, output: Output) -> None:
    totals = counts_of(RuleResult, (answer.result for answer in answers))
    settings.progress.note(f"{count_of(len(answers), 'rule')}: {totals}; {_report_age(snapshot)}")
    if output.form == "table" and any(answer.result is RuleResult.FAIL for answer in answers):
        settings.progress.note(f"for a report that you can send, add: --output {HTML} > audit.html")


def _report_age(snapshot: Snapshot) -> str:
    if snapshot.report is None:
        return "no credential report"
    return f"credential report {age_text(snapshot.at - snapshot.report.made)} old"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationAudit:
    """The audit of many accounts. `folders` is the folder for results, if there is one."""

    snapshots: wiring.audit.AccountSnapshots
    organization: wiring.organization.Organization
    options: AuditOptions
    choice: AccountsChoice
    folders: AccountFolders | None
    settings: Settings
    output: Output

    def run(self) -> list[Visit[Audited]]:
        """Audit the accounts, and print the results. Return a Visit for each account."""
        visits = self._visits()
        roots = self._roots_of_unread(visits)
        rows = [_row(visit, roots) for visit in visits]
        self._write_files(visits, rows)
        # An account whose root user was read is worth a row, even if no account could be read, which is an error.
        if not roots:
            shared.report_unread(visits, self.settings.progress, home=self.organization.home_account)
        gaps = ((visit.account, visit.found.unread) for visit in visits if visit.found)
        shared.report_gaps(gaps, self.settings.progress)
        self._print(visits, rows)
        if roots:
            shared.report_unread(visits, self.settings.progress, home=self.organization.home_account)
        return visits

    def _visits(self) -> list[Visit[Audited]]:
        """Audit the accounts. Return a Visit for each selected account, in the order of the accounts' names.

        It has the audit, or the reason why there is none. With `folders`, the folder of an account is written as soon
        as the account is audited.
        """
        audited_visits = self._kept(self.folders) if self.folders else []
        done = {visit.account.id for visit in audited_visits}
        with shared.visiting(
            self.organization,
            lambda account: audit_account(self.snapshots.take(account), self.options),
            progress=self.settings.progress,
            accounts=[account for account in self.organization.selection.chosen if account.id not in done],
            is_whole=lambda audit: not audit.snapshot.holes,
        ) as visits:
            audited_visits += [
                visit.mapped(partial(self._summarize, account=visit.account, is_new=True)) for visit in visits
            ]
        return shared.in_order(audited_visits)

    def _kept(self, folders: AccountFolders) -> list[Visit[Audited]]:
        """Begin a run, or with --resume continue the last run if there is one.

        Return a list with one Visit for each account that the last run read completely. The list is empty for a new
        run. The accounts in the list are not read again: the rules are evaluated on the snapshots of the last run, and
        the files are written again.
        """
        choice = self.choice
        options = {
            "file": [str(choice.file)] if choice.file else [],
            "ou": [choice.ou] if choice.ou else [],
            "include": choice.include,
            "exclude": choice.exclude,
            "tags": choice.tags,
            "rules": [rule.id for rule in self.options.rules],
        }
        began = folders.began(options) if choice.resume else None
        if began is None:
            folders.begin(self.organization.home.now(), options)
            return []
        visits = []
        for account in self.organization.selection.chosen:
            snapshot = folders.snapshot(account.id)
            if snapshot is not None and snapshot.at >= began:
                audit = self._summarize(audit_account(snapshot, self.options), account=account, is_new=False)
                visits.append(Visit(account=account, state=VisitState.KEPT, found=audit))
        return visits

    def _summarize(self, audit: AccountAudit, *, account: OrgAccount, is_new: bool) -> Audited:
        """Return the summary of an account's audit, and write the account's folder if there is a folder for results.

        For the forms in RECORDS, the audit is compared with the ledger, and with `is_new` recorded there. One thread
        makes all calls of this function, each as soon as an account's audit is complete.
        """
        keeps, document = self.output.form in {"json", "jsonl"}, None
        records: tuple[FindingRecord, ...] = ()
        if self.folders or keeps:
            rules = [asdict(rule_report(answer, account=account.id)) for answer in audit.answers]
            document = {**audit_head(audit.snapshot), "account_name": account.name or None, "rules": rules}
        if self.folders:
            whole = {"schema": "mfa-kit/audit", "version": VERSION, **(document or {})}
            files = {**wiring.audit.snapshot_file(audit.snapshot), AUDIT_FILE: json.dumps(whole) + "\n"}
            self.folders.write(account.id, files)
        if self.output.form in RECORDS:
            before = wiring.audit.compare_with_ledger(self.settings, self.organization, audit, records=is_new)
            records = tuple(finding_records(audit.snapshot, audit.answers, before.since))
        return Audited(
            overview=overview_of(audit.snapshot, audit.answers),
            document=document if keeps else None,
            failed=audit.failed,
            unused=audit.unused,
            records=records,
            unread=unread_parts(audit.snapshot, *SnapshotPart),
        )

    def _roots_of_unread(self, visits: Sequence[Visit[Audited]]) -> dict[str, RootVerdict]:
        """Return the known verdicts on the root users of accounts that could not be read, by account ID.

        mfa-kit reads the state of a root user in a root session, which needs no role in the account.
        """
        root = self.snapshots.root
        unread = [visit.account for visit in visits if visit.state in UNREAD]
        if root is None or not unread:
            return {}
        readable = [account for account in unread if root().can_read(account.id)]
        postures = self.organization.each(lambda account: (account.id, root().posture(account.id)), readable)
        return {account: posture.verdict for account, posture in postures if posture}

    def _write_files(self, visits: Sequence[Visit[Audited]], rows: Sequence[ResultRow]) -> None:
        """Write the files organization.json and audit.html into the folder for results, if there is one."""
        if self.folders:
            summary = {"schema": "mfa-kit/audit-account", "version": VERSION, "rows": rows}
            self.folders.write_file("organization.json", json.dumps(summary) + "\n")
            self.folders.write_file("audit.html", organization_page(visits, RULES, caller=self.organization.caller))

    def _print(self, visits: Sequence[Visit[Audited]], rows: Sequence[ResultRow]) -> None:
        """Print the audit in its form. `rows` has the row of each account."""
        caller, form = self.organization.caller, self.output.form
        if form in RECORDS:
            records = [record for visit in visits if visit.found for record in visit.found.records]
            print_records(records, self.output, settings=self.settings, partition=caller.partition)
        elif form == HTML:
            self.output.text(organization_page(visits, RULES, caller=caller))
        else:
            if form in {"json", "jsonl"}:
                documents = [visit.found.document if visit.found else None for visit in visits]
                rows = [{**row, "audit": document} for row, document in zip(rows, documents, strict=True)]
            self.output.many("audit-account", rows, empty="", narrow=NARROW)


def _row(visit: Visit[Audited], roots: Mapping[str, RootVerdict]) -> ResultRow:
    """Return an account's row: failed rules by severity, numbers of users, and the verdict on the root user.

    If the account was not read, the numbers are None.
    """
    figures: dict[str, Cell] = dict.fromkeys(FIGURES)
    root, why = roots.get(visit.account.id), visit.why
    if visit.found:
        overview, unread = visit.found.overview, "; ".join(visit.found.unread)
        figures |= {severity: overview.failed.get(severity, 0) for severity in Severity}
        figures |= {"unknown": overview.unknown, "users": overview.users}
        figures |= {"passwords": overview.passwords, "without_mfa": overview.without_mfa}
        root, why = overview.root, f"not read: {unread}" if unread else visit.why
    return {
        **shared.account_cells(visit),
        "state": shared.state_of(visit),
        **figures,
        "root": root,
        "why": why or None,
    }
