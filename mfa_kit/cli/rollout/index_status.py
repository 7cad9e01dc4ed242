"""`mfa-kit rollout status` for an index: the state of each user in several accounts."""

from collections.abc import Sequence
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.cli.organization.visits import account_cells, account_columns, state_of
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.account_progress import account_words
from mfa_kit.cli.rollout.index_read import read_index_accounts
from mfa_kit.cli.rollout.index_work import PlannedWork
from mfa_kit.cli.rollout.page import AccountStatus, index_page
from mfa_kit.cli.rollout.running import look_up_counted
from mfa_kit.cli.rollout.tally import COLUMNS, result_row
from mfa_kit.cli.rollout.watch import watch_rollout
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.models import BackupLocation
from mfa_kit.organization.across import Visit
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.rollout.index import RolloutIndex
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


def show_index(
    *,
    plan_file: Path,
    backup_dir: BackupLocation | None,
    workers: int,
    watch: bool,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Print the state of each user of the chosen accounts, and return the exit code.

    With `watch`, show the progress in all accounts of the index instead. In this case, raise UsageFault if options
    choose only some of the accounts.
    """
    if watch:
        if accounts.include or accounts.exclude or accounts.tags or accounts.ou:
            raise UsageFault(
                "--watch always shows all accounts of the index",
                "leave out --include, --exclude, --account-tag and --ou",
            )
        files = wiring.plan_files.read_plan_files([plan_file], METHODS, expected=(), plans_too=True)
        return watch_rollout(files, settings=settings, output=output)

    def look(
        ports: "wiring.rollout.RolloutPorts", planned_work: PlannedWork, progress: LiveProgress
    ) -> list[RowResult]:
        results = look_up_status(
            planned_work.plan,
            holders=ports.execution(workers=workers).list_holders(),
            look=lambda users: look_up_counted(users, ports.ports, workers=workers, progress=progress),
            failures=ports.failures(planned_work.planned.sha256).by_user(),
            ports=ports.ports,
        )
        return ports.with_computers(results, planned_work.planned.sha256)

    store = wiring.stores.open_vault(settings, backup_dir)
    opened = wiring.rollout_accounts.open_account_rollouts(settings, METHODS, accounts, store=store, workers=workers)
    read = read_index_accounts(plan_file, look, opened, accounts=accounts, settings=settings)
    if read.shared:
        with wiring.ledger.open_ledger(settings) as ledger:
            if unseen := wiring.rollout_turns.unseen_runs(ledger, [account.sha256 for account in read.index.accounts]):
                settings.progress.note(unseen)
    _print(read.index, read.visits, read_at=read.at, lab=read.lab, shared=read.shared, output=output)
    return read.exit_code


def _print(
    index: RolloutIndex,
    visits: Sequence[Visit[list[RowResult]]],
    *,
    read_at: float,
    lab: bool,
    shared: bool,
    output: Output,
) -> None:
    if output.is_html:
        output.text(index_page(index, [_status(visit) for visit in visits], read_at=read_at, lab=lab))
    else:
        rows = [row for visit in visits for row in _rows(visit, shared=shared)]
        narrow = (*account_columns(rows), "user", "outcome", "cause", "reason", "computer")
        output.many("rollout-status-account", rows, empty="the plans are empty", narrow=narrow)


def _rows(visit: Visit[list[RowResult]], *, shared: bool) -> Sequence[ResultRow]:
    """Return the rows of an account's users. If the account was not read, return one row with the reason.

    If the ledger is `shared`, each row also has the cell `computer`.
    """
    cells = account_cells(visit)
    if visit.found is None:
        names = (*COLUMNS, *(["computer"] if shared else []))
        return [{**cells, **dict.fromkeys(names), "outcome": state_of(visit), "reason": visit.why}]
    return [{**cells, **result_row(result, shared=shared), "reason": _reason(result, visit)} for result in visit.found]


def _reason(result: RowResult, visit: Visit[list[RowResult]]) -> str | None:
    return account_words(result.reason, visit.account.id) or None


def _status(visit: Visit[list[RowResult]]) -> AccountStatus:
    return AccountStatus(label=visit.account.label, results=visit.found, why=visit.why)
