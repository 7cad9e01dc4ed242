"""`mfa-kit rollout remind` for an index: the users to remind in several accounts."""

from pathlib import Path

from mfa_kit import wiring
from mfa_kit.cli.organization.visits import account_cells, account_columns
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.index_read import read_index_accounts
from mfa_kit.cli.rollout.index_work import PlannedWork
from mfa_kit.cli.rollout.remind import NO_ONE, reminder_rows
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.models import BackupLocation
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


def remind_index(
    *,
    plan_file: Path,
    backup_dir: BackupLocation | None,
    workers: int,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """List the users to remind in the chosen accounts of an index, and return the exit code."""

    def look(
        ports: "wiring.rollout.RolloutPorts", planned_work: PlannedWork, progress: LiveProgress
    ) -> list[ResultRow]:
        return reminder_rows(planned_work.plan, planned_work.planned.sha256, ports, workers=workers, progress=progress)

    store = wiring.stores.open_vault(settings, backup_dir)
    opened = wiring.rollout_accounts.open_account_rollouts(settings, METHODS, accounts, store=store, workers=workers)
    read = read_index_accounts(plan_file, look, opened, accounts=accounts, settings=settings)
    rows: list[ResultRow] = [{**account_cells(visit), **row} for visit in read.visits for row in visit.found or ()]
    narrow = (*account_columns(rows), "user", "email", "waiting_for", "since", "days")
    output.many("rollout-remind-account", rows, empty=NO_ONE, narrow=narrow)
    return read.exit_code
