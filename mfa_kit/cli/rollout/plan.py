"""`mfa-kit rollout plan`: compare a roster, or a selection of users, with IAM, and write a plan."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.results import AccountProgress, report_blocked
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.cli.visits import (
    account_cells,
    account_columns,
    exit_code,
    in_order,
    report_unread,
    state_of,
    visiting,
)
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import error_of_faults
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.models import VIRTUAL
from mfa_kit.core.text import ResultRow, count_of, few
from mfa_kit.organization.across import Visit, VisitState
from mfa_kit.rollout.plan import Action, Plan, PlannedAccount, PlanStep, RolloutIndex, UnplannedAccount, device_changes
from mfa_kit.rollout.plan_files import index_text, plan_digest, plan_file_name, plan_text
from mfa_kit.rollout.plan_making import SHOWN, PlanOptions, plan_summary
from mfa_kit.rollout.records import entries_of_runs
from mfa_kit.rollout.roster import RosterAction, RosterRow, UserSelection, keep_users, key_fingerprint
from mfa_kit.rollout.roster_files import CellFault, ChosenAccounts, RosterAccounts, faults_table

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import LiveProgress, Progress
    from mfa_kit.organization.accounts import AccountsChoice, AccountSelection, OrgAccount
    from mfa_kit.wiring.settings import Settings


def note_surprises(new_plan: Plan, *, progress: Progress) -> None:
    """Print a note for each blocked user, and for each user whose public key has changed."""
    blocked = {(step.user, step.reason): step for step in new_plan.steps if step.action is Action.BLOCKED}
    for step in blocked.values():
        progress.alert(Message(f"blocked: {step.user}: ", step.reason))
    if users := [step.user for step in new_plan.steps if _may_want_second(step)]:
        more = "to give them one more, or to exchange it, write the action add or replace in the roster"
        progress.note(f"skipped, because they have a device: {few(users, SHOWN)}; {more}")
    for step in new_plan.steps:
        if step.key_before:
            progress.alert(f"new public key: {step.user}: {_key(step.row)}, previously {step.key_before}")


def _may_want_second(step: PlanStep) -> bool:
    """Return whether a row without an action is skipped, although it names a key, or a delivery by post."""
    row = step.row
    is_key = row.by_post or (row.kind.method is not None and row.kind.name != VIRTUAL.name)
    return step.action is Action.SKIP and row.action is RosterAction.ENROLL and is_key


def _key(row: RosterRow) -> str:
    return key_fingerprint(row.recipient) if row.recipient else ""


def read_roster_rows(
    file: Path, skip_bad: Path | None, *, settings: Settings, accounts: RosterAccounts | None = None
) -> list[RosterRow]:
    """Return the rows of a roster, for one account or for several `accounts`. Print which columns were not read.

    If the roster has faults, raise UsageFault with all faults as notes. With `skip_bad`, write the faulty rows to that
    file instead, and return the other rows.
    """
    roster = wiring.rollout.read_roster(file, accounts=accounts)
    if roster.unread:
        settings.progress.alert(roster.unread)
    if roster.faults and skip_bad:
        _skip_faulty_rows(roster.faults, skip_bad, settings)
    elif roster.faults:
        skip = "fix the error, or skip the row" if len(roster.faults) == 1 else "fix the errors, or skip these rows"
        raise error_of_faults(str(file), roster.faults, f"{skip} with --skip-bad FILE")
    return list(roster.rows)


def _skip_faulty_rows(faults: Sequence[CellFault], file: Path, settings: Settings) -> None:
    """Print how many rows are skipped, and write them to the file."""
    message = f"skipping {count_of(len({fault.line for fault in faults}), 'row')} with errors"
    if not settings.dry_run:
        wiring.rollout.write_file(file, faults_table(faults))
        message += f"; see {file}"
    settings.progress.alert(message)
    for fault in faults:
        if not fault.cells:  # no cell of the row could be read, so the file has only the error, not the row
            settings.progress.alert(str(fault))


def check_files(roster: Path | None, out: Path, skip_bad: Path | None, *, selects: bool, only: Sequence[str]) -> None:
    """Raise click.UsageError if the options give neither a roster nor a selection of users, or both.

    `selects` says whether an option other than --only selects users. --only (`only`) restricts the roster or the
    selection, or is the whole selection. Raise UsageFault if two of the files have the same path.
    """
    if selects if roster else not (selects or only):
        raise click.UsageError(
            "give either a ROSTER or a selection: --group, --path-prefix, --tag, --without-mfa, --only"
        )
    named = [file for file in (roster, out, skip_bad) if file]
    places = Counter(map(os.path.realpath, named))
    if same := next((file for file in named if places[os.path.realpath(file)] > 1), None):
        raise UsageFault(
            f"{same} is given for two files, so one would overwrite the other",
            "give ROSTER, --plan and --skip-bad different paths",
        )


def _parse_prefix(text: str | None) -> str:
    """Return the IAM path prefix, or "/" (all users) if `text` is empty or None.

    Raise UsageFault if the prefix does not begin with a slash.
    """
    if not text:
        return "/"
    if not text.startswith("/"):
        raise UsageFault(f"{text!a} is not an IAM path", "start it with a slash: --path-prefix /team/")
    return text


def _parse_tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageFault(f"{text!a} is not a tag", "write --tag K=V")
    return key, value


@click.command(cls=Verb)
@click.argument("roster", type=LocalPath(), required=False)
@click.option("-o", "--plan", "out", type=LocalPath(), required=True, metavar="FILE", help="File to write the plan to.")
@options.GROUP
@click.option("--path-prefix", metavar="PATH", help="Only users below this IAM path.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Only users with this tag.")
@click.option("--without-mfa", is_flag=True, help="Only users with a console password and no MFA device.")
@options.ONLY
@click.option("--skip-bad", type=LocalPath(), metavar="FILE", help="Skip rows with errors, and write them to FILE.")
@click.option(
    "--trust-report",
    is_flag=True,
    help="Use the credential report (up to 4 hours old) instead of looking up each user.",
)
@options.RECORD
@options.WORKERS
@account_options(workers=False, results=False)
def plan(
    *,
    roster: Path | None,
    out: Path,
    groups: tuple[str, ...],
    path_prefix: str | None,
    tags: tuple[str, ...],
    without_mfa: bool,
    only: tuple[str, ...],
    skip_bad: Path | None,
    trust_report: bool,
    records: tuple[Path, ...],
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Compare ROSTER, or a selection of users, with IAM, and write a plan. Changes nothing.

    With --accounts or --org, write a plan for each account, and an index of all plans to FILE.
    """
    check_files(roster, out, skip_bad, selects=any([groups, tags, without_mfa, path_prefix]), only=only)
    wiring.rollout.check_replaced(out, skip_bad)
    alone, progress = accounts is None, settings.progress
    request = PlanOptions(
        rows=read_roster_rows(roster, skip_bad, settings=settings) if roster and alone else None,
        selection=UserSelection(
            groups=groups,
            path_prefix=_parse_prefix(path_prefix),
            tags=tuple(map(_parse_tag, tags)),
            without_mfa=without_mfa,
        ),
        only=only,
        trust_report=trust_report,
        workers=workers,
        several=not alone,
    )
    store, record = wiring.stores.open_backup_store(settings), wiring.rollout.read_run_records([out], records)
    with wiring.rollout.open_rollouts(settings, accounts, store=store, workers=workers, record=record) as rollouts:
        if rollouts.organization is None:
            ports = rollouts.enter(rollouts.selection.chosen[0], progress=progress)
            new_plan = ports.plan_users(request, progress=progress)
            _write_plan(new_plan, out, settings=settings, output=output)
            return 0
        _check_replaced(out, rollouts, progress)
        rows = _read_by_account(roster, skip_bad, rollouts.selection, request.only, settings=settings)
        visits = _plan_accounts(request, rows, rollouts, rollouts.organization, progress=progress)
    if rows is None and request.only:
        _check_only(request.only, visits)
    report_unread(visits, progress)
    _write_index(out, visits, by=rollouts.caller.arn, settings=settings, output=output)
    return exit_code(visits, findings=False)


def _write_plan(new_plan: Plan, out: Path, *, settings: Settings, output: Output) -> None:
    """Write the plan of the only account, except in a dry run. Print the summary."""
    text = plan_text(new_plan)
    if not settings.dry_run:
        wiring.rollout.write_file(out, text)
    note_surprises(new_plan, progress=settings.progress)
    head: ResultRow = {
        "plan": str(out),
        "sha256": plan_digest(text),
        "account": new_plan.account,
        **new_plan.counts,
    }
    if output.form == "table":
        _show_changes(new_plan, output)
    summary = plan_summary(new_plan, device_changes(new_plan.steps), full_lists=output.form in {"json", "jsonl"})
    output.one("rollout-plan-summary", {**head, **summary})
    posted = [step for step in new_plan.steps if step.row.by_post and step.action is Action.STATION]
    if posted and not settings.dry_run:
        settings.progress.note(suggest("next: prepare the keys by post", "rollout station {} --stage", str(out)))


def _show_changes(new_plan: Plan, output: Output) -> None:
    """Print the devices before and after of the first users with rows that add or replace devices."""
    changes = device_changes(new_plan.steps)
    if changes:
        output.many("rollout-plan-user", [asdict(change) for change in changes[:SHOWN]], empty="")
        others = len(changes) - SHOWN
        output.prose(*([f"and {count_of(others, 'more user')}; the plan has all"] if others > 0 else []), "")


ACTIONS = tuple(action.value for action in Action)
SUMMARY = ("no_own_copy", "no_admin_backup", "keys_changed", "report_age_s", "api_calls", "estimated_s")
NARROW = ("state", *ACTIONS, "no_own_copy")


def _plan_accounts(
    request: PlanOptions,
    rows: Mapping[str, list[RosterRow]] | None,
    rollouts: wiring.rollout.Rollouts,
    organization: wiring.organization.Organization,
    *,
    progress: LiveProgress,
) -> list[Visit[Plan]]:
    """Return the plan of each chosen account, in the order of the accounts' names.

    With a roster, `rows` has its rows by account ID, and accounts without rows are not read. They include the skipped
    accounts, which are not active, so a roster must not have rows for them. An account that cannot be read has no plan.
    """

    def work(account: OrgAccount) -> Plan:
        of_account = AccountProgress(progress=progress, id=account.id, label=account.label)
        mine = request if rows is None else replace(request, rows=rows[account.id], only=())
        return rollouts.enter(account, progress=of_account).plan_users(mine, progress=of_account)

    selection = rollouts.selection
    if rows is not None:
        chosen = tuple(account for account in selection.chosen if account.id in rows)
        selection = replace(selection, chosen=chosen, skipped=())
    with visiting(replace(organization, selection=selection), work, progress=progress) as unordered_visits:
        return in_order(unordered_visits)


def _check_replaced(out: Path, rollouts: wiring.rollout.Rollouts, progress: Progress) -> None:
    """Raise UsageFault if `out` is the index of runs whose devices still exist, because undo needs this index."""
    earlier, devices = wiring.rollout.earlier_index(out), 0
    chosen = {account.id: account for account in rollouts.selection.chosen}
    for planned in earlier.accounts if earlier else ():
        runs, account = rollouts.runs_of(planned.sha256), chosen.get(planned.id)
        made = rollouts.made(account, progress=progress) if account else rollouts.ledger.made(planned.id)
        devices += len(entries_of_runs(runs, made, account=planned.id, journal=rollouts.ledger)) if runs else 0
    if devices:
        raise UsageFault(
            f"{out} cannot be replaced: its runs created {count_of(devices, 'device')}, and undo needs this index",
            suggest("write the new index to another file: -o FILE; or undo first", "rollout undo {}", str(out)),
        )


def _read_by_account(
    roster: Path | None,
    skip_bad: Path | None,
    selection: AccountSelection,
    only: Sequence[str],
    *,
    settings: Settings,
) -> Mapping[str, list[RosterRow]] | None:
    """Return the rows of the roster by the ID of their account, or None without a roster.

    If `only` has names, return only the rows of these users.
    """
    if roster is None:
        return None
    known = ChosenAccounts(selection.chosen, selection.skipped, selection.others)
    rows = read_roster_rows(roster, skip_bad, settings=settings, accounts=known)
    rows_by_account: dict[str, list[RosterRow]] = defaultdict(list)
    for row in keep_users(rows, only) if only else rows:
        rows_by_account[row.account or ""].append(row)
    return rows_by_account


def _check_only(only: Sequence[str], visits: Iterable[Visit[Plan]]) -> None:
    """Raise UsageFault if a name in `only` is in none of the accounts that could be read."""
    user_names = {step.user.lower() for visit in visits if visit.found for step in visit.found.steps}
    missing = sorted({name.lower() for name in only} - user_names)
    if missing:
        raise UsageFault(
            f"these names of --only are in none of the accounts that were read: {', '.join(missing)}",
            "check the spelling, or remove these names from --only",
        )


def _write_index(out: Path, visits: Sequence[Visit[Plan]], *, by: str, settings: Settings, output: Output) -> None:
    """Write the index and the plans that have rows, except in a dry run. Print the summary.

    Raise UsageFault if no plan has rows.
    """
    plans = [visit.found for visit in visits if visit.found and visit.found.steps]
    if not plans:
        raise UsageFault(
            "no account has users to plan for, so there is no index",
            "check the roster, or the options that select users",
        )
    texts = {plan.account: plan_text(plan) for plan in plans}
    index = _index(visits, texts, folder=wiring.rollout.plans_folder(out).name, by=by)
    text = index_text(index)
    if not settings.dry_run:
        files = {Path(account.plan).name: texts[account.id] for account in index.accounts}
        wiring.rollout.write_index(out, text, files)
    _note_surprises_in(visits, settings.progress)
    report_blocked(index.counts[Action.BLOCKED.value], settings.progress)
    head: ResultRow = {"index": str(out), "sha256": plan_digest(text), "accounts": len(index.accounts), **index.counts}
    full_lists = output.form in {"json", "jsonl"}
    if not full_lists:
        head = {**head, **_backups(plans)}
    _show(head, [_row(visit, index.find(visit.account.id), full_lists=full_lists) for visit in visits], output=output)


def _note_surprises_in(visits: Iterable[Visit[Plan]], progress: LiveProgress) -> None:
    for visit in visits:
        if visit.found:
            account = visit.account
            note_surprises(visit.found, progress=AccountProgress(progress=progress, id=account.id, label=account.label))


def _backups(plans: Sequence[Plan]) -> ResultRow:
    """Return two cells of the summary: how many users get no copy of their secret, and how many get the only copy.

    With `rollout apply -r`, another recipient can decrypt the backups of the latter users too.
    """
    alone = sum(bool(step.row.recipient) for plan in plans for step in plan.steps)
    return {
        "no_own_copy": sum(len(plan.without_copy) for plan in plans) or None,
        "no_admin_backup": f"{alone}, unless apply gets -r" if alone else None,
    }


def _index(visits: Sequence[Visit[Plan]], texts: Mapping[str, str], *, folder: str, by: str) -> RolloutIndex:
    """Return the index of the plans whose texts are in `texts`, by account ID, in the folder with this name."""
    accounts = [
        PlannedAccount(
            id=visit.account.id,
            name=visit.account.name,
            plan=f"{folder}/{plan_file_name(visit.account.id, digest)}",
            sha256=digest,
            counts=visit.found.counts,
        )
        for visit in visits
        if visit.found and visit.account.id in texts
        for digest in [plan_digest(texts[visit.account.id])]
    ]
    unplanned = [
        UnplannedAccount(id=visit.account.id, name=visit.account.name, why=visit.why)
        for visit in visits
        if visit.found is None
    ]
    planned_at = max((visit.found.planned_at for visit in visits if visit.found), default=0.0)
    return RolloutIndex(by=by, planned_at=planned_at, accounts=accounts, unplanned=unplanned)


def _row(visit: Visit[Plan], planned: PlannedAccount | None, *, full_lists: bool) -> ResultRow:
    """Return the row of an account. If the account has no plan, the cells about the plan are None."""
    plan = visit.found
    counts = plan.counts if plan else {}
    summary = plan_summary(plan, device_changes(plan.steps), full_lists=full_lists) if plan else {}
    return {
        **account_cells(visit),
        "state": "planned" if visit.state is VisitState.READ else state_of(visit),
        "why": visit.why or None,
        "plan": planned.plan if planned else None,
        "sha256": planned.sha256 if planned else None,
        **{name: counts.get(name) for name in ACTIONS},
        **{name: summary.get(name) for name in SUMMARY},
        **({"users": summary["users"]} if "users" in summary else {}),
    }


def _show(head: ResultRow, rows: Sequence[ResultRow], *, output: Output) -> None:
    match output.form:
        case "json":
            output.one("rollout-plan-index", {**head, "rows": rows})
        case "csv" | "text":
            output.many("rollout-plan-account", rows, empty="")
        case _:
            narrow = (*account_columns(rows), *NARROW)
            output.many("rollout-plan-account", rows, empty="no account has users to plan for", narrow=narrow)
            output.one("rollout-plan-index", head)
