"""`mfa-kit rollout remind`: list users who still have to prove that their app works, or to enroll themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import PlannedWork, read_accounts, read_files
from mfa_kit.cli.rollout.running import look_up_results
from mfa_kit.core.text import ResultRow, iso_time
from mfa_kit.rollout.handing_over import Reminder, find_reminders

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.organization.accounts import AccountsChoice
    from mfa_kit.wiring.settings import Settings

DAY = 24 * 60 * 60


@click.command(cls=Verb)
@options.PLAN_FILE
@BACKUP_DIR
@options.RECORD
@options.WORKERS
@account_options(workers=False, results=False)
def remind(
    *,
    plan_file: Path,
    backup_dir: BackupLocation | None,
    records: tuple[Path, ...],
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """List the users of PLAN who still have to prove that their app works, or to enroll themselves.

    PLAN may be an index of plans. With --output csv, the list is ready for a mail merge. mfa-kit sends nothing.
    """
    files = read_files([plan_file], accounts)

    def look(ports: wiring.rollout.RolloutPorts, work: PlannedWork, progress: LiveProgress) -> Sequence[ResultRow]:
        ledger = ports.records(work.sha256)
        results = look_up_results(work.plan, ledger, ports, workers=workers, progress=progress)
        return _rows(find_reminders(work.plan, results, ports.states()), now=ports.ports.iam_reader.now())

    store = wiring.stores.open_backup_store(settings, backup_dir)
    record = wiring.rollout.read_run_records([plan_file], records)
    with wiring.rollout.open_rollouts(settings, accounts, store=store, workers=workers, record=record) as rollouts:
        reading = read_accounts(files, look, rollouts, accounts, progress=settings.progress)
    rows = reading.rows(lambda reminders, _: reminders)
    output.many(
        "rollout-remind",
        rows,
        empty="no one has to be reminded",
        narrow=reading.narrow(rows, "user", "email", "waiting_for", "since", "days"),
    )
    return reading.exit_code


def _rows(reminders: Iterable[Reminder], *, now: float) -> Sequence[ResultRow]:
    """Return a row for each user who must be reminded. `now` is the current Unix time."""
    return [
        {
            "user": reminder.user,
            "email": reminder.email or None,
            "waiting_for": reminder.awaited.value,
            "since": iso_time(reminder.since),
            "days": max(int((now - reminder.since) // DAY), 0),
            "device": reminder.device,
            "file": reminder.backup,
        }
        for reminder in reminders
    ]
