"""`mfa-kit rollout status` for an index: the state of each user in several accounts."""

from collections.abc import Sequence
from pathlib import Path

from mfa_kit.cli.organization.visits import (
    UNKNOWN,
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
from mfa_kit.cli.rollout.account_progress import AccountProgress, account_words
from mfa_kit.cli.rollout.index_work import planned_works, report_without_plan
from mfa_kit.cli.rollout.page import AccountStatus, index_page
from mfa_kit.cli.rollout.running import look_up_counted
from mfa_kit.cli.rollout.tally import COLUMNS, result_row
from mfa_kit.cli.rollout.watch import watch_rollout
from mfa_kit.core.places import Place
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import Visit
from mfa_kit.organization.choice import AccountsChoice
from mfa_kit.organization.wording import accounts_in_words, by_reason
from mfa_kit.rollout.index import RolloutIndex
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring import plan_files
from mfa_kit.wiring import rollout_accounts as wiring
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault


def show_index(
    *,
    plan_file: Path,
    backup_dir: Place | None,
    workers: int,
    watch: bool,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Print the state of each user of the chosen accounts, and return the exit code."""
    if watch:
        read = plan_files.read_plan_files([plan_file], METHODS, expected=(), plans_too=True)
        return watch_rollout(read, settings=settings, output=output)
    index = plan_files.read_index(plan_file, expected=())
    plans = plan_files.read_plans(plan_file, index, METHODS)
    vault = open_vault(settings, backup_dir)
    with wiring.open_account_rollouts(settings, METHODS, accounts, vault=vault, workers=workers) as rollouts:
        selection = rollouts.organization.selection
        planned = {each.planned.id: each for each in planned_works(plan_file, index, plans, selection, accounts)}
        report_without_plan(plan_file, index, selection, accounts, settings.progress)

        def look(account: OrgAccount) -> list[RowResult]:
            one = planned[account.id]
            progress = AccountProgress(progress=settings.progress, id=account.id, label=account.label)
            ports = rollouts.enter(account, progress=progress)
            found = look_up_status(
                one.plan,
                holders=ports.execution(workers=workers).list_holders(),
                look=lambda users: look_up_counted(users, ports.desk, workers=workers, progress=progress),
                failures=ports.failures(one.planned.sha256).by_user(),
                desk=ports.desk,
            )
            return ports.with_computers(found, one.planned.sha256)

        ready = [each.work.account for each in planned.values() if not each.work.why]
        with visiting(rollouts.organization, look, progress=settings.progress, accounts=ready) as found:
            visits = in_order(visit for visit in found if visit.account.id in planned)
        now, lab = rollouts.organization.home.now(), rollouts.organization.caller.lab
    report_unread(visits, settings.progress)
    missing = [each.work for each in planned.values() if each.work.why and each.work.account.state is None]
    for gone, why in by_reason((work.account, work.why) for work in missing):
        settings.progress.alert(f"{UNKNOWN}: {accounts_in_words(gone)}: {why}")
    _print(index, visits, at=now, lab=lab, shared=rollouts.shared, output=output)
    return exit_code(visits, findings=bool(missing))


def _print(
    index: RolloutIndex,
    visits: Sequence[Visit[list[RowResult]]],
    *,
    at: float,
    lab: bool,
    shared: bool,
    output: Output,
) -> None:
    if output.is_html:
        output.text(index_page(index, [_status(visit) for visit in visits], at=at, lab=lab))
    else:
        rows = [row for visit in visits for row in _rows(visit, shared=shared)]
        narrow = (*account_columns(rows), "user", "outcome", "cause", "reason", "computer")
        output.many("rollout-status-account", rows, empty="the plans are empty", narrow=narrow)


def _rows(visit: Visit[list[RowResult]], *, shared: bool) -> Sequence[ResultRow]:
    """Return the rows of an account's users. If the account was not read, return one row with the reason.

    If the ledger is `shared`, each row has the computer.
    """
    cells = account_cells(visit)
    if visit.found is None:
        names = (*COLUMNS, *(["computer"] if shared else []))
        return [{**cells, **dict.fromkeys(names), "outcome": state_of(visit), "reason": visit.why}]
    return [{**cells, **result_row(each, shared=shared), "reason": _reason(each, visit)} for each in visit.found]


def _reason(result: RowResult, visit: Visit[list[RowResult]]) -> str | None:
    return account_words(result.reason, visit.account.id) or None


def _status(visit: Visit[list[RowResult]]) -> AccountStatus:
    return AccountStatus(label=visit.account.label, results=visit.found, why=visit.why)
