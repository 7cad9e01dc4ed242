"""`mfa-kit rollout status`: show the status of each user of a plan."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.page import status_page
from mfa_kit.cli.rollout.running import look_up_counted
from mfa_kit.cli.rollout.tally import result_row
from mfa_kit.cli.rollout.watch import watch_rollout
from mfa_kit.core.models import BackupLocation
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb, html=True)
@shared_options.PLAN_FILE
@BACKUP_DIR
@shared_options.WORKERS
@shared_options.WATCH
@account_options(workers=False, results=False)
def status(
    *,
    plan_file: Path,
    backup_dir: BackupLocation | None,
    workers: int,
    watch: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Show the state of each user of PLAN, or of an index of plans, from the ledger and IAM."""
    if watch:
        read = wiring.plan_files.read_plan_files([plan_file], METHODS, expected=(), plans_too=True)
        return watch_rollout(read, settings=settings, output=output)
    plan, digest = wiring.rosters_and_plans.read_plan(plan_file, METHODS, expected=())
    store = wiring.stores.open_vault(settings, backup_dir)
    with wiring.rollout.open_rollout(
        settings, METHODS, store=store, workers=workers, progress=settings.progress
    ) as ports:
        with settings.progress.showing("reading users and devices"):
            results = look_up_status(
                plan,
                holders=ports.execution(workers=workers).list_holders(),
                look=lambda users: look_up_counted(users, ports.ports, workers=workers, progress=settings.progress),
                failures=ports.failures(digest).by_user(),
                ports=ports.ports,
            )
        results = ports.with_computers(results, digest)
        if unseen := wiring.rollout_turns.unseen_runs(ports.ledger, [digest]):
            settings.progress.note(unseen)
        if output.is_html:
            output.text(status_page(plan, results, read_at=ports.ports.iam_reader.now(), lab=ports.caller.lab))
            return 0
        output.many(
            "rollout-status",
            [result_row(result, shared=ports.shared) for result in results],
            empty="the plan is empty",
            narrow=("user", "outcome", "cause", "reason", "computer"),
        )
    return 0
