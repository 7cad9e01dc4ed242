"""`mfa-kit rollout plan` for several accounts: a plan for each, and an index of all plans."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from mfa_kit import wiring
from mfa_kit.cli.organization.visits import (
    account_cells,
    account_columns,
    exit_code,
    in_order,
    report_unread,
    state_of,
    visiting,
)
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.account_progress import AccountProgress
from mfa_kit.cli.rollout.account_results import report_blocked
from mfa_kit.cli.rollout.plan_input import check_files, read_selection
from mfa_kit.cli.rollout.roster_rows import read_roster_rows
from mfa_kit.cli.rollout.shared_options import split_names
from mfa_kit.cli.rollout.users_plan import PlanOptions, note_surprises, plan_summary, plan_users
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import Visit, VisitState
from mfa_kit.organization.selecting import AccountsChoice, AccountSelection
from mfa_kit.rollout.chosen_accounts import ChosenAccounts
from mfa_kit.rollout.index import PlannedAccount, RolloutIndex, UnplannedAccount, index_text, plan_file_name
from mfa_kit.rollout.plan import Action, Plan, plan_digest, plan_text
from mfa_kit.rollout.roster import RosterRow, keep_users
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings

ACTIONS = tuple(action.value for action in Action)
SUMMARY = ("no_own_copy", "no_admin_backup", "keys_changed", "report_age_s", "api_calls", "estimated_s")
NARROW = ("state", *ACTIONS, "no_own_copy")


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterSource:
    """The files that `rollout plan` reads and writes.

    `file` is the roster, or None if users are selected without a roster. `skip_bad` is the file for the
    roster's rows with errors, and `out` the file for the index.
    """

    file: Path | None
    skip_bad: Path | None
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _WrittenPlan:
    """The plan of an account, its text and the SHA-256 of the text.

    `name` is the name of the plan's file, and `place` the path of this file relative to the index's folder.
    """

    plan: Plan
    text: str
    digest: str
    name: str
    place: str


def plan_in_accounts(
    *,
    roster: Path | None,
    out: Path,
    groups: tuple[str, ...],
    path_prefix: str | None,
    tags: tuple[str, ...],
    without_mfa: bool,
    only: str | None,
    skip_bad: Path | None,
    trust_report: bool,
    workers: int,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Write a plan for each account, and an index of all plans. Return the exit code."""
    selection = read_selection(groups=groups, path_prefix=path_prefix, tags=tags, without_mfa=without_mfa)
    check_files(roster, out, skip_bad, selects=any([groups, tags, without_mfa, path_prefix]), only=only)
    source = RosterSource(file=roster, skip_bad=skip_bad, out=out)
    request = PlanOptions(
        rows=None,
        selection=selection,
        only=split_names(only),
        trust_report=trust_report,
        workers=workers,
        several=True,
    )
    return plan_accounts(source, request, accounts, settings=settings, output=output)


def plan_accounts(
    source: RosterSource, request: PlanOptions, choice: AccountsChoice, *, settings: Settings, output: Output
) -> int:
    """Write the plans of the chosen accounts and their index, and return the exit code.

    With a roster, accounts without rows are not read. An account that cannot be read has no plan. If no account can be
    read, write nothing and raise AwsFault. Raise UsageFault if there are no users to plan for, or if `rollout undo`
    still needs the index that would be replaced.
    """
    with wiring.rollout_accounts.open_account_rollouts(
        settings, METHODS, choice, store=wiring.stores.open_vault(settings), workers=request.workers
    ) as rollouts:
        _check_replaced(source.out, rollouts)
        selection = rollouts.organization.selection
        rows = None
        if source.file:
            known = ChosenAccounts(selection.chosen, selection.skipped, selection.others)
            rows = _by_account(
                read_roster_rows(source.file, source.skip_bad, settings=settings, accounts=known), request.only
            )
        accounts = [account for account in selection.chosen if rows is None or account.id in rows]

        def work(account: OrgAccount) -> Plan:
            progress = _progress(account, settings.progress)
            mine = replace(
                request, rows=None if rows is None else rows[account.id], only=request.only if rows is None else ()
            )
            return plan_users(mine, rollouts.enter(account, progress=progress), progress=progress)

        organization = replace(rollouts.organization, selection=_without_skipped(selection, rows))
        with visiting(organization, work, progress=settings.progress, accounts=accounts) as unordered_visits:
            visits = in_order(unordered_visits)
        by = organization.caller.arn
    if rows is None and request.only:
        _check_only(request.only, visits)
    report_unread(visits, settings.progress)
    _write(source.out, visits, by=by, settings=settings, output=output)
    return exit_code(visits, findings=False)


def _check_replaced(out: Path, rollouts: "wiring.rollout_accounts.AccountRollouts") -> None:
    """Raise UsageFault if `out` is the index of runs whose devices still exist, because undo needs this index."""
    earlier = wiring.plan_files.earlier_index(out)
    devices = sum(len(rollouts.devices(account)) for account in earlier.accounts) if earlier else 0
    if devices:
        raise UsageFault(
            f"{out} cannot be replaced: its runs created {count_of(devices, 'device')}, and undo needs this index",
            f"write the new index to another file: -o FILE; or undo first: mfa-kit rollout undo {quote(str(out))}",
        )


def _by_account(rows: Sequence[RosterRow], only: Sequence[str]) -> Mapping[str, list[RosterRow]]:
    """Return rows by the ID of their account. If `only` has names, keep only the rows of these users."""
    rows_by_account: dict[str, list[RosterRow]] = defaultdict(list)
    for row in keep_users(rows, only) if only else rows:
        rows_by_account[row.account or ""].append(row)
    return rows_by_account


def _without_skipped(selection: AccountSelection, rows: Mapping[str, list[RosterRow]] | None) -> AccountSelection:
    """Return the selection. If there is a roster (`rows` is not None), leave out the skipped accounts.

    Skipped accounts are not active, and a roster must not have rows for them.
    """
    return selection if rows is None else replace(selection, skipped=())


def _progress(account: OrgAccount, progress: LiveProgress) -> AccountProgress:
    return AccountProgress(progress=progress, id=account.id, label=account.label)


def _check_only(only: Sequence[str], visits: Iterable[Visit[Plan]]) -> None:
    """Raise UsageFault if a name in `only` is in none of the accounts that could be read."""
    user_names = {step.user.lower() for visit in visits if visit.found for step in visit.found.steps}
    missing = sorted({name.lower() for name in only} - user_names)
    if missing:
        raise UsageFault(
            f"these names of --only are in none of the accounts that were read: {', '.join(missing)}",
            "check the spelling, or remove these names from --only",
        )


def _write(out: Path, visits: Sequence[Visit[Plan]], *, by: str, settings: Settings, output: Output) -> None:
    """Write the index and the plans that have rows, except in a dry run. Print the summary.

    Raise UsageFault if no plan has rows.
    """
    written = _plans_with_rows(visits, folder=wiring.plan_files.plans_folder(out).name)
    if not written:
        raise UsageFault(
            "no account has users to plan for, so there is no index",
            "check the roster, or the options that select users",
        )
    index = _index(visits, written, by=by)
    text = index_text(index)
    if not settings.dry_run:
        wiring.plan_files.write_index(
            out, text, {written_plan.name: written_plan.text for written_plan in written.values()}
        )
    for visit in visits:
        if visit.found:
            note_surprises(visit.found, progress=_progress(visit.account, settings.progress))
    report_blocked(index.counts[Action.BLOCKED.value], settings.progress)
    head: ResultRow = {"index": str(out), "sha256": plan_digest(text), "accounts": len(index.accounts), **index.counts}
    full_lists = output.form in {"json", "jsonl"}
    if not full_lists:
        head = {**head, **_backups([written_plan.plan for written_plan in written.values()])}
    _show(head, [_row(visit, written.get(visit.account.id), full_lists=full_lists) for visit in visits], output=output)


def _plans_with_rows(visits: Sequence[Visit[Plan]], *, folder: str) -> dict[str, _WrittenPlan]:
    """Return the plans that have rows, by account ID. `folder` is the name of the folder for the plans."""
    written: dict[str, _WrittenPlan] = {}
    for visit in visits:
        if visit.found and visit.found.steps:
            text = plan_text(visit.found)
            digest = plan_digest(text)
            name = plan_file_name(visit.account.id, digest)
            written[visit.account.id] = _WrittenPlan(
                plan=visit.found, text=text, digest=digest, name=name, place=f"{folder}/{name}"
            )
    return written


def _backups(plans: Sequence[Plan]) -> ResultRow:
    """Return two cells of the summary: how many users get no copy of their secret, and how many get the only copy.

    With `rollout apply -r`, another recipient can decrypt the backups of the latter users too.
    """
    alone = sum(bool(step.row.recipient) for plan in plans for step in plan.steps)
    return {
        "no_own_copy": sum(len(plan.shut_out) for plan in plans) or None,
        "no_admin_backup": f"{alone}, unless apply gets -r" if alone else None,
    }


def _index(visits: Sequence[Visit[Plan]], written: Mapping[str, _WrittenPlan], *, by: str) -> RolloutIndex:
    plans = [visit.found for visit in visits if visit.found]
    accounts = [
        PlannedAccount(
            id=visit.account.id,
            name=visit.account.name,
            plan=written_plan.place,
            sha256=written_plan.digest,
            counts=written_plan.plan.counts,
        )
        for visit in visits
        if (written_plan := written.get(visit.account.id))
    ]
    unplanned = [
        UnplannedAccount(id=visit.account.id, name=visit.account.name, why=visit.why)
        for visit in visits
        if visit.found is None
    ]
    planned_at = max((plan.planned_at for plan in plans), default=0.0)
    return RolloutIndex(by=by, planned_at=planned_at, accounts=accounts, unplanned=unplanned)


def _row(visit: Visit[Plan], written: _WrittenPlan | None, *, full_lists: bool) -> ResultRow:
    """Return the row of an account. If the account has no plan, the cells about the plan are None."""
    plan = visit.found
    counts = plan.counts if plan else {}
    summary = plan_summary(plan, full_lists=full_lists) if plan else {}
    return {
        **account_cells(visit),
        "state": "planned" if visit.state is VisitState.READ else state_of(visit),
        "why": visit.why or None,
        "plan": written.place if written else None,
        "sha256": written.digest if written else None,
        **{name: counts.get(name) for name in ACTIONS},
        **{name: summary.get(name) for name in SUMMARY},
    }


def _show(head: ResultRow, rows: Sequence[ResultRow], *, output: Output) -> None:
    match output.form:
        case "json":
            output.one("rollout-plan-index", {**head, "rows": rows})
        case "csv":
            output.many("rollout-plan-account", rows, empty="")
        case _:
            narrow = (*account_columns(rows), *NARROW)
            output.many("rollout-plan-account", rows, empty="no account has users to plan for", narrow=narrow)
            output.one("rollout-plan-index", head)
