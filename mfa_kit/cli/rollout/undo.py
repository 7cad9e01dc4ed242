"""`mfa-kit rollout undo`: remove the devices that one run made."""

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import name_next_command, take_results
from mfa_kit.cli.rollout.tally import Tally, exit_code
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.text import count_of
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.undo import entries_of_run, undo_devices
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@click.argument("run")
@click.option("--leave-without-mfa", is_flag=True, help="Also remove a user's last device.")
@BACKUP_DIR
@shared_options.WORKERS
@account_options(role=None, workers=False, results=False)
def undo(
    *,
    run: str,
    leave_without_mfa: bool,
    backup_dir: BackupLocation | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Remove the devices that RUN created.

    With --accounts or --org, RUN is an index file: remove the devices that all its runs created.
    """
    store = wiring.stores.open_vault(settings, backup_dir)
    progress = settings.progress
    with (
        name_next_command(),
        wiring.rollout.open_rollout(settings, METHODS, store=store, workers=workers, progress=progress) as ports,
    ):
        entries = entries_of_run(run, account=ports.caller.account, ports=ports.ports)
        execution = ports.execution(workers=workers)
        tally = Tally(
            "rollout-undo",
            total=len(entries),
            progress=progress,
            output=output,
            pace=ports.pace,
            stop=execution.stop,
        )
        devices = f"{count_of(len(entries), 'device')} of run {run}"
        if settings.dry_run:
            progress.note(f"{devices} would be removed")
            for entry in entries:
                tally.take(RowResult.of_entry(entry, reason="would be removed"))
            tally.show()
            return 0
        if not settings.yes:
            settings.interaction.confirm(f"{devices} will be removed", typed=str(len(entries)))
        try:
            outcomes = undo_devices(
                entries, leave_without_mfa=leave_without_mfa, ports=ports.ports, execution=execution
            )
            asked = take_results(outcomes, tally, execution=execution, progress=progress)
        finally:
            tally.show()
        return exit_code(tally, asked=asked)
