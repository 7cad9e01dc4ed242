"""`mfa-kit rollout undo`: take away the devices that one run made."""

from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import open_progress, take_results, way_of
from mfa_kit.cli.rollout.tally import exit_code, open_tally
from mfa_kit.rollout import apply as use_case
from mfa_kit.rollout.apply import Result
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@click.argument("run")
@click.option("--leave-without-mfa", is_flag=True, help="Also where it is the user's last device.")
@options.BACKUP_DIR
@shared_options.WORKERS
def undo(
    *,
    run: str,
    leave_without_mfa: bool,
    backup_dir: Path | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Take away exactly the devices that RUN made."""
    vault, _ = wiring.open_vault((), (), backup_dir)
    progress = open_progress(settings)
    with wiring.open_rollout(settings, vault=vault, workers=workers, progress=progress) as ports:
        entries = use_case.of_run(run, account=ports.caller.account, desk=ports.desk)
        way = way_of(ports, workers=workers)
        tally = open_tally("rollout-undo", len(entries), ports=ports, progress=progress, output=output, way=way)
        what = f"{len(entries)} devices of run {run} would go"
        if settings.dry_run:
            progress.note(what)
            for entry in entries:
                tally.take(Result.stands(entry))
            tally.show()
            return 0
        if not settings.yes:
            settings.interaction.confirm(what, typed=str(len(entries)))
        try:
            outcomes = use_case.undo(entries, leave_without_mfa=leave_without_mfa, desk=ports.desk, way=way)
            asked = take_results(outcomes, tally.take, way=way, pace=ports.pace)
        finally:
            tally.show()
        return exit_code(tally, asked=asked)
