"""`mfa-kit audit` in many accounts: prints the results of all accounts, and can write a folder for each account."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mfa_kit import wiring
from mfa_kit.account.snapshot import RootVerdict
from mfa_kit.audit.auditing import AccountAudit, AuditOptions, audit_account
from mfa_kit.audit.baseline import overview_of
from mfa_kit.audit.finding import Severity
from mfa_kit.audit.records import FindingRecord, finding_records
from mfa_kit.cli.audit_forms import ASFF, OCSF
from mfa_kit.cli.audit_output import Audited, audit_head, print_records, rule_row
from mfa_kit.cli.audit_page import organization_page
from mfa_kit.cli.organization import visits as shared
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import VERSION, ResultRow
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import UNREAD, AccountFolders, Visit, VisitState
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.settings import Settings

AUDIT_FILE = "audit.json"
# The columns that a table shows if the window has no room for all columns.
NARROW = ("account_name", "account", "state", "critical", "high", "unknown", "without_mfa")
RECORDS = {ASFF, OCSF}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationAudit:
    """The audit of many accounts. `folders` is the folder for results, if there is one, and `form` the output form."""

    snapshots: "wiring.audit.AccountSnapshots"
    organization: "wiring.organization.Organization"
    options: AuditOptions
    choice: AccountsChoice
    folders: AccountFolders | None
    settings: Settings
    form: str

    def visits(self) -> list[Visit[Audited]]:
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
        keeps, document = self.form in {"json", "jsonl"}, None
        records: tuple[FindingRecord, ...] = ()
        if self.folders or keeps:
            rules = [rule_row(answer, account=account.id) for answer in audit.answers]
            document = {**audit_head(audit.snapshot), "account_name": account.name or None, "rules": rules}
        if self.folders:
            whole = {"schema": "mfa-kit/audit", "version": VERSION, **(document or {})}
            files = {**wiring.audit.snapshot_file(audit.snapshot), AUDIT_FILE: json.dumps(whole) + "\n"}
            self.folders.write(account.id, files)
        if self.form in RECORDS:
            before = wiring.audit.compare_with_ledger(self.settings, self.organization, audit, records=is_new)
            records = tuple(finding_records(audit.snapshot, audit.answers, before.since))
        return Audited(
            overview=overview_of(audit.snapshot, audit.answers),
            document=document if keeps else None,
            failed=audit.failed,
            unused=audit.unused,
            records=records,
        )

    def roots_of_unread(self, visits: Sequence[Visit[Audited]]) -> dict[str, RootVerdict]:
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

    def write_files(self, visits: Sequence[Visit[Audited]], roots: Mapping[str, RootVerdict]) -> None:
        """Write the files organization.json and audit.html into the folder for results, if there is one."""
        if self.folders:
            rows = [_row(visit, roots) for visit in visits]
            summary = {"schema": "mfa-kit/audit-account", "version": VERSION, "rows": rows}
            self.folders.write_file("organization.json", json.dumps(summary) + "\n")
            self.folders.write_file("audit.html", organization_page(visits, caller=self.organization.caller))

    def print(self, visits: Sequence[Visit[Audited]], roots: Mapping[str, RootVerdict], output: Output) -> None:
        """Print the audit in its form. `roots` maps the ID of each unread account to the verdict on its root user."""
        match output.form:
            case "asff" | "ocsf":
                records = [record for visit in visits if visit.found for record in visit.found.records]
                partition = self.organization.caller.partition
                print_records(records, output, settings=self.settings, partition=partition)
            case "html":
                output.text(organization_page(visits, caller=self.organization.caller))
            case "json" | "jsonl":
                documents = [visit.found.document if visit.found else None for visit in visits]
                rows = [
                    {**_row(visit, roots), "audit": document} for visit, document in zip(visits, documents, strict=True)
                ]
                output.many("audit-account", rows, empty="")
            case _:
                output.many("audit-account", [_row(visit, roots) for visit in visits], empty="", narrow=NARROW)


def audit_organization(
    snapshots: "wiring.audit.AccountSnapshots",
    organization: "wiring.organization.Organization",
    options: AuditOptions,
    choice: AccountsChoice,
    *,
    settings: Settings,
    output: Output,
) -> list[Visit[Audited]]:
    """Audit many accounts, and print the results. Return a Visit for each account."""
    with wiring.audit.open_folders(choice.output_dir) as folders:
        audit = OrganizationAudit(
            snapshots=snapshots,
            organization=organization,
            options=options,
            choice=choice,
            folders=folders,
            settings=settings,
            form=output.form,
        )
        visits = audit.visits()
        roots = audit.roots_of_unread(visits)
        audit.write_files(visits, roots)
        # An account whose root user was read is worth a row, even if no account could be read, which is an error.
        if not roots:
            shared.report_unread(visits, settings.progress, home=organization.home_account)
        audit.print(visits, roots, output)
        if roots:
            shared.report_unread(visits, settings.progress, home=organization.home_account)
    return visits


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
