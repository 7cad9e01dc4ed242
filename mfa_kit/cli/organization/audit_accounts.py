"""`mfa-kit audit` in many accounts: prints the results of all accounts, and can write a folder for each account."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.account.snapshot import Acceptance, RootVerdict, Snapshot
from mfa_kit.audit.baseline import apply_baseline, entries_about, unused_entries
from mfa_kit.audit.finding import DAY, AuditRule, Limits, Profile, RuleAnswer, Severity
from mfa_kit.audit.overview import overview_of
from mfa_kit.audit.records import finding_records
from mfa_kit.audit.registry import ALL_RULES, audit_snapshot, choose_rules, fails_at
from mfa_kit.cli.account_options import no_snapshot_of_many
from mfa_kit.cli.audit_forms import ASFF, OCSF
from mfa_kit.cli.audit_page import organization_page
from mfa_kit.cli.audit_result import print_records
from mfa_kit.cli.organization import visits as shared
from mfa_kit.cli.organization.audited import Audited
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import VERSION, ResultRow
from mfa_kit.cli.rule_rows import audit_head, rule_row
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import UNREAD, AccountFolders, Visit, VisitState
from mfa_kit.organization.member_root import OrganizationRoot
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.settings import Settings

AUDIT_FILE = "audit.json"
# The columns that a table shows if the window has no room for all columns.
NARROW = ("account_name", "account", "state", "critical", "high", "unknown", "without_mfa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The rules and options of an audit, which are the same for all accounts.

    `accepted` has the entries of the baseline. If `form` is `asff` or `ocsf`, the audit prints its findings as records
    for other programs.
    """

    rules: Sequence[AuditRule]
    limits: Limits
    source: "wiring.audit.SnapshotSource"
    fail_on: Severity
    accepted: Sequence[Acceptance]
    form: str

    @property
    def are_records(self) -> bool:
        """Whether the findings of all accounts are printed as records for other programs."""
        return self.form in {ASFF, OCSF}


def audit_accounts(
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
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Audit many accounts, and print the results. Return the exit code."""
    no_snapshot_of_many(file)
    _for_one_account({"--framework": framework, "--max-session": max_session})
    questions = Questions(
        rules=choose_rules(rules),
        limits=Limits(profile=Profile(advice), drilled=drilled_within / DAY),
        source=wiring.audit.SnapshotSource(file=None, max_age=max_age, backup_dir=backup_dir),
        fail_on=Severity(fail_on),
        accepted=wiring.audit.open_baseline(baseline, ALL_RULES),
        form=output.form,
    )
    with (
        wiring.organization.open_organization(settings, accounts) as organization,
        wiring.audit.open_folders(accounts.output_dir) as folders,
    ):
        root, home = wiring.organization.root_of(organization), organization.caller.account
        keeps = output.form in {"json", "jsonl"}
        done = _begin(organization, folders, questions, accounts, settings=settings, keeps=keeps) if folders else []
        done += _audit_rest(done, organization, folders, questions, root, settings=settings, keeps=keeps)
        done = shared.in_order(done)
        _note_unused(done, questions.accepted, settings, baseline)
        roots = _roots_of_unread(done, organization, root)
        if folders:
            _write_files(done, organization, folders, roots)
        if not roots:
            shared.report_unread(done, settings.progress, home=home)
        if questions.are_records:
            _print_records(done, organization, settings, output)
        else:
            _print(done, organization, output, roots=roots)
        if roots:
            shared.report_unread(done, settings.progress, home=home)
    return shared.exit_code(done, findings=any(visit.found and visit.found.failed for visit in done))


def _for_one_account(options: Mapping[str, object]) -> None:
    """Raise UsageFault if one of these options was given, because they work only with a single account."""
    option_names = [name for name, value in options.items() if value is not None]
    if option_names:
        raise UsageFault(
            f"{option_names[0]} can be used only with one account",
            "leave it out, or leave out --accounts and --org and run the command with the credentials of each account",
        )


def _audit_rest(
    done: Sequence[Visit[Audited]],
    organization: "wiring.organization.Organization",
    folders: AccountFolders | None,
    questions: Questions,
    root: Callable[[], OrganizationRoot],
    *,
    settings: Settings,
    keeps: bool,
) -> list[Visit[Audited]]:
    """Audit the chosen accounts that are not in `done`. With `folders`, write each account's folder once it is audited.

    Return a Visit for each of these accounts and for each skipped account, with the audit or with the reason why there
    is none. `root` returns a port that reads the state of the accounts' root users. With `keeps`, each Visit has the
    complete result of the audit.
    """
    done_ids = {visit.account.id for visit in done}
    remaining_accounts = [account for account in organization.selection.chosen if account.id not in done_ids]

    def work(account: OrgAccount) -> tuple[Audited, Snapshot]:
        snapshot = wiring.audit.take_snapshot(
            settings, organization.enter(account), organization, questions.source, root=root
        )
        return _audited(snapshot, account, questions), snapshot

    audited_visits = []
    with shared.visiting(
        organization,
        work,
        progress=settings.progress,
        accounts=remaining_accounts,
        is_whole=lambda result: not result[1].holes,
    ) as visits:
        for visit in visits:
            if folders and visit.found:
                folders.write(visit.account.id, _files(*visit.found))
            dated = visit.mapped(lambda result: _dated(*result, organization, questions, settings, is_new=True))
            audited_visits.append(dated.mapped(lambda audited: _reduced(audited, keeps=keeps)))
    return audited_visits


def _roots_of_unread(
    done: Sequence[Visit[Audited]],
    organization: "wiring.organization.Organization",
    root: Callable[[], OrganizationRoot],
) -> dict[str, RootVerdict]:
    """Return the known verdicts on the root users of accounts that could not be read, by account ID.

    mfa-kit reads the state of a root user in a root session, which needs no role in the account.
    """
    unread = [visit.account for visit in done if visit.state in UNREAD and root().can_read(visit.account.id)]
    postures = organization.each(lambda account: (account.id, root().posture(account.id)), unread)
    return {account: posture.verdict for account, posture in postures if posture}


def _dated(
    audit: Audited,
    snapshot: Snapshot,
    organization: "wiring.organization.Organization",
    questions: Questions,
    settings: Settings,
    *,
    is_new: bool,
) -> Audited:
    """Return `audit` with its field `records` filled in. With `is_new`, also record the audit in the ledger.

    If the output is neither ASFF nor OCSF, return the audit unchanged and record nothing. One thread makes all calls
    of this function, each as soon as an account's audit is complete.
    """
    if not questions.are_records:
        return audit
    before = wiring.audit.compare_with_ledger(
        settings, snapshot, audit.answers, ledger=organization.ledger, records=is_new
    )
    answers = _accepted(audit.answers, snapshot, questions)
    return replace(audit, records=tuple(finding_records(snapshot, answers, before.since)))


def _begin(
    organization: "wiring.organization.Organization",
    folders: AccountFolders,
    questions: Questions,
    accounts: AccountsChoice,
    *,
    settings: Settings,
    keeps: bool,
) -> list[Visit[Audited]]:
    """Begin a run, or with --resume continue the last run if there is one.

    Return a list with one Visit for each account that the last run read completely. The list is empty for a new run.
    The accounts in the list are not read again: the rules are evaluated on the snapshots of the last run, and the files
    are written again. With `keeps`, each Visit has the complete result of the audit.
    """
    options = {
        "file": [str(accounts.file)] if accounts.file else [],
        "ou": [accounts.ou] if accounts.ou else [],
        "include": accounts.include,
        "exclude": accounts.exclude,
        "tags": accounts.tags,
        "rules": [rule.id for rule in questions.rules],
    }
    began = folders.began(options) if accounts.resume else None
    if began is None:
        folders.begin(organization.home.now(), options)
        return []
    visits = []
    for account in organization.selection.chosen:
        snapshot = folders.snapshot(account.id)
        if snapshot is not None and snapshot.at >= began:
            audit = _audited(snapshot, account, questions)
            folders.write(account.id, _files(audit, snapshot))
            dated = _dated(audit, snapshot, organization, questions, settings, is_new=False)
            visits.append(Visit(account=account, state=VisitState.KEPT, found=_reduced(dated, keeps=keeps)))
    return visits


def _audited(snapshot: Snapshot, account: OrgAccount, questions: Questions) -> Audited:
    raw_answers = tuple(audit_snapshot(snapshot, questions.rules, questions.limits))
    answers = _accepted(raw_answers, snapshot, questions)
    rules = [rule_row(answer, account=account.id) for answer in answers]
    return Audited(
        overview=overview_of(snapshot, answers),
        document={**audit_head(snapshot), "account_name": account.name or None, "rules": rules},
        failed=fails_at(answers, questions.fail_on),
        unused=tuple(unused_entries(answers, entries_about(snapshot.account, questions.accepted))),
        answers=raw_answers if questions.are_records else (),
    )


def _accepted(answers: Sequence[RuleAnswer], snapshot: Snapshot, questions: Questions) -> list[RuleAnswer]:
    """Return the rules' answers. Findings that the baseline accepts are moved to the answers' field `accepted`."""
    return apply_baseline(answers, entries_about(snapshot.account, questions.accepted), time=snapshot.at)


def _reduced(audit: Audited, *, keeps: bool) -> Audited:
    return replace(audit, answers=()) if keeps else replace(audit, document=None, answers=())


def _note_unused(
    visits: Sequence[Visit[Audited]], accepted: Sequence[Acceptance], settings: Settings, baseline: Path | None
) -> None:
    """Print each baseline entry whose finding no longer exists in any of the accounts to which the entry applies.

    If any account could not be read, print nothing, because the findings of that account are unknown.
    """
    if any(visit.state in UNREAD for visit in visits):
        return
    read = {visit.account.id: visit.found.unused for visit in visits if visit.found}
    for entry in accepted:
        about = [unused for account, unused in read.items() if entry.account in {"", account}]
        if about and all(entry in unused for unused in about):
            settings.progress.note(f"{baseline} accepts {entry.rule} of {entry.subject}, which was not found")


def _files(audit: Audited, snapshot: Snapshot) -> dict[str, str]:
    """Return the texts of an account's files by name: the snapshot, and the audit as `--output json` prints it."""
    document = {"schema": "mfa-kit/audit", "version": VERSION, **(audit.document or {})}
    return {**wiring.audit.snapshot_file(snapshot), AUDIT_FILE: json.dumps(document) + "\n"}


def _write_files(
    visits: Sequence[Visit[Audited]],
    organization: "wiring.organization.Organization",
    folders: AccountFolders,
    roots: Mapping[str, RootVerdict],
) -> None:
    """Write the files organization.json and audit.html.

    `roots` maps the ID of each unread account to the verdict on its root user.
    """
    rows = [_row(visit, roots) for visit in visits]
    summary = {"schema": "mfa-kit/audit-account", "version": VERSION, "rows": rows}
    folders.write_file("organization.json", json.dumps(summary) + "\n")
    folders.write_file("audit.html", organization_page(visits, caller=organization.caller))


def _print_records(
    visits: Sequence[Visit[Audited]],
    organization: "wiring.organization.Organization",
    settings: Settings,
    output: Output,
) -> None:
    """Print the findings of all accounts that were read, as ASFF or OCSF."""
    records = [record for visit in visits if visit.found for record in visit.found.records]
    partition = organization.caller.arn.split(":")[1]
    print_records(records, output, settings=settings, partition=partition)


def _print(
    visits: Sequence[Visit[Audited]],
    organization: "wiring.organization.Organization",
    output: Output,
    *,
    roots: Mapping[str, RootVerdict],
) -> None:
    match output.form:
        case "html":
            output.text(organization_page(visits, caller=organization.caller))
        case "json" | "jsonl":
            rows = [{**_row(visit, roots), "audit": visit.found.document if visit.found else None} for visit in visits]
            output.many("audit-account", rows, empty="")
        case _:
            output.many("audit-account", [_row(visit, roots) for visit in visits], empty="", narrow=NARROW)


def _row(visit: Visit[Audited], roots: Mapping[str, RootVerdict]) -> ResultRow:
    """Return an account's row: failed rules by severity, numbers of users, and the verdict on the root user.

    If the account was not read, the numbers are None.
    """
    overview = visit.found.overview if visit.found else None
    return {
        **shared.account_cells(visit),
        "state": shared.state_of(visit),
        **{str(severity): overview.failed.get(severity, 0) if overview else None for severity in Severity},
        "unknown": overview.unknown if overview else None,
        "users": overview.users if overview else None,
        "passwords": overview.passwords if overview else None,
        "without_mfa": overview.without_mfa if overview else None,
        "root": overview.root if overview else roots.get(visit.account.id),
        "why": visit.why or None,
    }
