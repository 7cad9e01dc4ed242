"""Runs an audit, and prints its result in each of its forms: rows of rules, accounts and controls, and HTML pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mfa_kit import wiring
from mfa_kit.account.snapshot import Acceptance, RootVerdict, Snapshot, SnapshotPart, unread_parts
from mfa_kit.account.users import WAYS, account_users
from mfa_kit.audit.finding import DAY, AuditRule, Framework, Limits, Profile, RuleAnswer, RuleResult, Severity
from mfa_kit.audit.frameworks import (
    ControlAnswer,
    ControlResult,
    answer_controls,
    choose_framework,
    framework_rules,
)
from mfa_kit.audit.records import EarlierAudits, FindingRecord, audit_report, finding_records, rule_report
from mfa_kit.audit.registry import (
    ALL_RULES,
    RULES,
    AccountAudit,
    AuditOptions,
    AuditOverview,
    audit_account,
    choose_rules,
    overview_of,
    unused_in_all,
)
from mfa_kit.cli import visits as shared
from mfa_kit.cli.output import ASFF, HTML, OCSF, Output, load_place
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message
from mfa_kit.core.models import Caller
from mfa_kit.core.text import VERSION, Cell, ResultRow, age_text, count_of, counts_of, iso_time
from mfa_kit.organization.accounts import OrgAccount, by_reason
from mfa_kit.organization.across import UNREAD, AccountFolders, Visit, VisitState
from mfa_kit.wiring.settings import Settings, command_for_extra

if TYPE_CHECKING:
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.organization.accounts import AccountsChoice

SCHEMA_VERSION = "2018-10-08"
# The type of all findings in ASFF (Security Hub User Guide, "Types taxonomy for ASFF").
TYPE = "Software and Configuration Checks/AWS Security Best Practices"
# The maximum lengths of texts in ASFF, and the maximum number of requirements (Security Hub API reference,
# AwsSecurityFinding).
TITLE, DESCRIPTION, REMEDY, REQUIREMENTS = 256, 1024, 512, 32
# Maps the beginning of the text after the account ID in a resource's ARN to the type of the resource in ASFF.
RESOURCES = {
    "user/": "AwsIamUser",
    "group/": "AwsIamGroup",
    "role/": "AwsIamRole",
    "policy/": "AwsIamPolicy",
    "root": "AwsAccount",
}
COMPLIANCE = {
    RuleResult.FAIL: "FAILED",
    RuleResult.UNKNOWN: "WARNING",
    RuleResult.ACCEPTED: "WARNING",
    RuleResult.PASS: "PASSED",
    RuleResult.NOT_APPLICABLE: "NOT_AVAILABLE",
}
# The workflow status in Security Hub, by the result of a rule. For any other result, the status is RESOLVED.
WORKFLOW = {RuleResult.FAIL: "NEW", RuleResult.UNKNOWN: "NEW", RuleResult.ACCEPTED: "SUPPRESSED"}
AUDIT_FILE = "audit.json"
# The columns that a table shows if the window has no room for all columns.
NARROW = ("account_name", "account", "state", "critical", "high", "unknown", "without_mfa")
# The columns of an account that are None if the account was not read.
FIGURES = (*map(str, Severity), "unknown", "users", "passwords", "without_mfa")
RECORDS = {ASFF, OCSF}


def finding_row(record: FindingRecord) -> ResultRow:
    """Return a record as a row, with times in ISO format."""
    return {
        "result": record.result,
        "rule": record.rule.id,
        "severity": record.rule.severity,
        "subject": record.subject,
        "evidence": record.evidence,
        "remedy": " ; ".join(record.remedy),
        "id": record.id,
        "resource": record.resource,
        "references": record.references,
        "first_seen": iso_time(record.first_seen) if record.first_seen is not None else None,
        "last_seen": iso_time(record.last_seen),
    }


def asff_document(records: Sequence[FindingRecord], *, region: str) -> str:
    """Return the findings as a JSON list in AWS's Security Finding Format, for `aws securityhub batch-import-findings`.

    `region` is the region in which Security Hub imports the findings.
    """
    return json.dumps([_asff(record, region) for record in records], indent=1, ensure_ascii=False) + "\n"


def _asff(record: FindingRecord, region: str) -> dict[str, object]:
    first = record.last_seen if record.first_seen is None else record.first_seen
    product = f"arn:{record.partition}:securityhub:{region}:{record.account}:product/{record.account}/default"
    failed = record.result in {RuleResult.FAIL, RuleResult.UNKNOWN}
    finding: dict[str, object] = {
        "SchemaVersion": SCHEMA_VERSION,
        "Id": f"mfa-kit/{record.account}/{record.rule.id}/{record.id}",
        "ProductArn": product,
        "ProductName": "mfa-kit",
        "CompanyName": "mfa-kit",
        "GeneratorId": f"mfa-kit/{record.rule.id}",
        "AwsAccountId": record.account,
        "Types": [TYPE],
        "FirstObservedAt": iso_time(first),
        "LastObservedAt": iso_time(record.last_seen),
        "CreatedAt": iso_time(first),
        "UpdatedAt": iso_time(record.last_seen),
        "Severity": {"Label": record.rule.severity.upper() if failed else "INFORMATIONAL"},
        "Title": _cut(record.rule.title, TITLE),
        "Description": _cut(record.evidence or record.rule.title, DESCRIPTION),
        "Resources": [_resource(record, region)],
        "Compliance": {
            "Status": COMPLIANCE[record.result],
            **({"RelatedRequirements": list(record.references[:REQUIREMENTS])} if record.references else {}),
        },
        "Workflow": {"Status": WORKFLOW.get(record.result, "RESOLVED")},
        "RecordState": "ACTIVE",
    }
    if record.remedy:
        finding["Remediation"] = {"Recommendation": {"Text": _cut("\n".join(record.remedy), REMEDY)}}
    return finding


def _resource(record: FindingRecord, region: str) -> dict[str, str]:
    end = record.resource.rpartition(f":{record.account}:")[2]
    kind = next((name for start, name in RESOURCES.items() if end.startswith(start)), "Other")
    number = f"AWS::::Account:{record.account}" if kind == "AwsAccount" else record.resource
    return {"Type": kind, "Id": number, "Partition": record.partition, "Region": region}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# The maximum number of accounts in the table of the worst accounts.
WORST = 10
PASSED = "passed"
# The function that makes a line of OCSF. Its module needs an extra, so it is loaded when it is used.
OCSF_LINE = "mfa_kit.cli.ocsf:ocsf_line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The audit result of one account.

    `overview` has the figures that are compared between accounts. `document` is the complete result. To save memory, it
    is None if only the figures are needed. If `failed` is true for any account, the command exits with 1. `unused` has
    the entries of the baseline whose findings this account no longer has. `records` has the findings for other
    programs; it is empty if the output form is neither `asff` nor `ocsf`. `unread` names the parts of
    the account that could not be read, with the reasons.
    """

    overview: AuditOverview
    document: ResultRow | None
    failed: bool
    unused: tuple[Acceptance, ...] = ()
    records: tuple[FindingRecord, ...] = ()
    unread: Sequence[str] = ()


def audit_page(snapshot: Snapshot, answers: Sequence[RuleAnswer], before: EarlierAudits | None = None) -> str:
    """Return the HTML page: a summary, charts, the failures, and every rule with its findings.

    `before` compares this audit with the last audit in the ledger. The page shows the change if both audits applied the
    same rules.
    """
    failed = [answer for answer in answers if answer.result is RuleResult.FAIL]
    return wiring.files.html_page(
        "audit.html",
        account=wiring.aws.account_label(snapshot.account, lab=snapshot.lab),
        snapshot=snapshot,
        answers=answers,
        before=before,
        failed=failed,
        results=_counted(RuleResult, (answer.result for answer in answers)),
        severities=_counted(Severity, (answer.rule.severity for answer in failed)),
        worst=min((answer.rule.severity for answer in failed), key=lambda severity: severity.rank, default=None),
        ways=_counted(WAYS, (user.sign_in_way for user in account_users(snapshot) if user.password)),
    )


def _counted(names: Iterable[str], entries: Iterable[str]) -> dict[str, int]:
    """Return how often each of the names is in `entries`."""
    counts = Counter(entries)
    return {name: counts[name] for name in names}


class ReadAccount(NamedTuple):
    """An account that was read, and a summary of its audit."""

    account: OrgAccount
    overview: AuditOverview

    @property
    def worst(self) -> str:
        """The severity of the worst failed check. If no check failed, "unknown" or PASSED."""
        failed = [severity for severity in Severity if self.overview.failed.get(severity)]
        return failed[0] if failed else RuleResult.UNKNOWN if self.overview.unknown else PASSED

    @property
    def rank(self) -> tuple[object, ...]:
        """The position among the accounts. Those with the worst results come first."""
        bad = (*self.overview.badness, self.overview.without_mfa or 0)
        return (*(-count for count in bad), self.account.name.lower(), self.account.id)


def organization_page(visits: Sequence[Visit[Audited]], rules: Sequence[AuditRule], *, caller: Caller) -> str:
    """Return the HTML page of an audit of many accounts. Accounts with the worst results come first.

    `visits` has the audit of each account, or the reason why the account could not be read. `rules` has the rules
    that the page may show. `caller` is the identity of the credentials.
    """
    read = sorted(
        (ReadAccount(visit.account, visit.found.overview) for visit in visits if visit.found),
        key=lambda entry: entry.rank,
    )
    return wiring.files.html_page(
        "organization.html",
        title=f"Sign-in audit of {count_of(len(visits), 'AWS account')}{' (LAB, nothing here is real)' * caller.lab}",
        caller=caller.arn,
        read=read,
        tried=sum(visit.state is not VisitState.SKIPPED for visit in visits),
        unread=_reasons(visits, UNREAD),
        skipped=_reasons(visits, {VisitState.SKIPPED}),
        **_figures(read),
        **_checks(read, rules),
    )


def _figures(read: Sequence[ReadAccount]) -> Mapping[str, object]:
    """Return the figures of all accounts together."""
    times = [entry.overview.at for entry in read]
    worst = _counted((*Severity, RuleResult.UNKNOWN, PASSED), (entry.worst for entry in read))
    return {
        "first": min(times, default=0),
        "last": max(times, default=0),
        "worst": worst,
        "severity": next(filter(worst.get, Severity), None),
        "failed": sum(map(worst.__getitem__, Severity)),
        "severities": {name: sum(entry.overview.failed.get(name, 0) for entry in read) for name in Severity},
        "ways": {way: sum((entry.overview.ways or {}).get(way, 0) for entry in read) for way in WAYS},
        "uncounted": sum(entry.overview.ways is None for entry in read),
    }


def _checks(read: Sequence[ReadAccount], known: Sequence[AuditRule]) -> Mapping[str, object]:
    """Return the rules, the accounts in which each rule failed, and the failed rules of the worst accounts."""
    rules = [rule for rule in known if any(rule.id in entry.overview.results for entry in read)]
    counts = Counter(rule.id for entry in read for rule in _failed_rules(entry, rules))
    failing = [(rule, counts[rule.id]) for rule in rules if counts[rule.id]]
    failing.sort(key=lambda entry: (entry[0].severity.rank, -entry[1]))
    worst = [entry for entry in read if entry.worst in set(Severity)][:WORST]
    return {
        "rules": rules,
        "failing": failing,
        "worst_accounts": [(entry, [rule.id for rule in _failed_rules(entry, rules)]) for entry in worst],
    }


def _reasons(visits: Sequence[Visit[Audited]], states: set[VisitState]) -> Mapping[str, object]:
    """Return how many accounts are in these states, their names by the reason, and what to do."""
    chosen = [visit for visit in visits if visit.state in states]
    reasons = by_reason((visit.account, visit.why) for visit in chosen)
    return {
        "count": len(chosen),
        "reasons": [(", ".join(account.label for account in accounts), why) for accounts, why in reasons],
        "hints": list(dict.fromkeys(visit.hint for visit in chosen if visit.hint)),
    }


def _failed_rules(entry: ReadAccount, rules: Sequence[AuditRule]) -> list[AuditRule]:
    """Return the rules that failed in an account, worst first."""
    failed = [rule for rule in rules if entry.overview.results.get(rule.id) is RuleResult.FAIL]
    return sorted(failed, key=lambda rule: rule.severity.rank)


def audit_head(snapshot: Snapshot) -> ResultRow:
    """Return the row about the account: its ID, the caller, the times, and the parts that could not be read."""
    row: dict[str, Cell] = asdict(audit_report(snapshot, ()))
    del row["rules"]
    return row


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
            output.one("audit", {**audit_head(snapshot), "rules": [asdict(rule_report(answer)) for answer in answers]})
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
            output.text(_ocsf_document(records))
        case _:
            output.many("audit-finding", [finding_row(record) for record in records], empty="")


def _ocsf_document(records: Sequence[FindingRecord]) -> str:
    """Return the findings as lines of JSON in the Open Cybersecurity Schema Framework (OCSF).

    Raise UsageFault if the extra `ocsf` is not installed.
    """
    try:
        line_of: Callable[[FindingRecord], str] = load_place(OCSF_LINE)
    except ImportError:
        raise UsageFault(
            "--output ocsf needs the 'ocsf' extra, which is not installed", command_for_extra("ocsf")
        ) from None
    return "".join(f"{line_of(record)}\n" for record in records)


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
        output.prose(_remark(answer.why))
    for finding in answer.findings:
        output.prose(f"    {finding.subject}: {finding.evidence}")
        output.prose(*(Message("      ", line) for line in finding.remedy))
    output.prose(*(Message(f"    {unknown.subject}: ", unknown.why) for unknown in answer.unknown))
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
    rows = [control_row(control) for control in controls]
    match output.form:
        case "table":
            names = max(len(control.control.id) for control in controls)
            for control in controls:
                _print_control(control, output, names)
        case "json":
            answers = {
                answer.rule.id: asdict(rule_report(answer)) for control in controls for answer in control.answers
            }
            source = {
                "id": framework.id,
                "name": framework.name,
                "version": framework.version,
                "scope": framework.scope,
                "source": framework.source,
                "read": framework.read,
            }
            document: ResultRow = {"framework": source, "controls": rows, "rules": [*answers.values()]}
            output.one("audit-framework", {**audit_head(snapshot), **document})
        case _:
            output.many("audit-control", [{"framework": framework.id, **row} for row in rows], empty="")


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
    totals = counts_of(ControlResult, (control.result for control in controls))
    return f"{framework.name} {framework.version}, {framework.scope}: {len(controls)} controls: {totals}"


def _remark(why: str) -> str:
    """Return why a rule or control has its result, as an indented line.

    It is in parentheses unless it suggests a command, because the command begins on a new line in a narrow window.
    """
    return Message("    ", why) if isinstance(why, Message) and why.commands else f"    ({why})"


def _print_control(answer: ControlAnswer, output: Output, names: int) -> None:
    """Print a control: its verdict and title, its findings, and the subjects that could not be evaluated.

    `names` is the width of the column of control IDs.
    """
    word = f"{answer.result.upper():<14}"
    output.titled([word, f"{answer.control.id:<{names}}"], answer.control.title, painted=(word,))
    if answer.why:
        output.prose(_remark(answer.why))
    for rule_answer in answer.answers:
        for finding in rule_answer.findings:
            output.prose(f"    {finding.subject}: {finding.evidence}")
        output.prose(*(Message(f"    {unknown.subject}: ", unknown.why) for unknown in rule_answer.unknown))


A = TypeVar("A", AccountAudit, Audited)


def run_audit(
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
    """Do the work of `audit`, whose options are the parameters, and return the exit code."""
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
