"""`mfa-kit rollout apply`: enroll the users of a plan, and write a result for each of them."""

from contextlib import suppress
from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import name_next_command, take_results
from mfa_kit.cli.rollout.tally import Tally, check_backup_folder, exit_code, result_files
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.rollout.apply import apply_plan, check_plan
from mfa_kit.rollout.outcomes import Failure, RowOutcome, RowResult
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.desk import new_run_id
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.rollout import RolloutPorts
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault

INTERRUPTED = "interrupted; to see the result: mfa-kit rollout status"


@click.command(cls=options.Verb)
@shared_options.PLAN_FILE
@shared_options.backup_options
@click.option("--stage", "staged", is_flag=True, help="Create devices; `rollout activate` enables them later.")
@click.option(
    "--accept-lockout",
    is_flag=True,
    help="Also enroll users who have no public key; you hand out the secrets.",
)
@click.option("--max-failures", type=click.IntRange(0), metavar="N", help="Stop when more than N users have failed.")
@shared_options.EXPECTED
@shared_options.RESULTS
@shared_options.WORKERS
def apply(
    *,
    plan_file: Path,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Path | None,
    staged: bool,
    accept_lockout: bool,
    max_failures: int | None,
    expected: str | None,
    results: Path | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Enroll the users of PLAN. Run the same command again to continue."""
    plan, digest = wiring.read_plan(plan_file, METHODS, expected=expected)
    vault = open_vault(backup_dir, to=to, to_files=to_files)
    sealed = bool(vault.recipients())
    progress = settings.progress
    with (
        name_next_command(),
        wiring.open_rollout(settings, METHODS, vault=vault, workers=workers, progress=progress) as ports,
    ):
        check_plan(plan, caller=ports.caller, staged=staged, accept_lockout=accept_lockout, sealed=sealed)
        execution = ports.execution(workers=workers, max_failures=max_failures)
        tally = Tally(
            "rollout-apply",
            total=len(plan.steps),
            progress=progress,
            output=output,
            pace=ports.pace,
            stop=execution.stop,
        )
        if settings.dry_run:
            for result in look_up_status(
                plan, holders=execution.list_holders(), look=lambda _: {}, failures={}, desk=ports.desk
            ):
                tally.take(result)
            tally.show({"run": None})
            return 0
        check_backup_folder(vault, plan.steps)
        folder = wiring.open_results_folder(results, plan_file)
        run, failures = new_run_id(ports.desk.inventory), ports.failures(digest)
        progress.note(f"run {run}")

        def take(result: RowResult) -> None:
            if result.outcome is RowOutcome.FAILED:
                failures.record(Failure.of(result), at=ports.desk.inventory.now())
            tally.take(result)

        try:
            outcomes = apply_plan(plan, desk=ports.desk, run=run, execution=execution, staged=staged)
            asked = take_results(outcomes, tally, execution=execution, progress=progress, take=take)
        finally:
            _keep_broken_off(ports, run, tally)
            # Keep the files of an earlier run if this run has no results.
            write = bool(tally.results) or not (folder / "results.csv").exists()
            if write:
                users = {step.user for step in plan.steps}
                wiring.write_files(folder, result_files(plan, tally.by_user, run=run, called=users))
            tally.show({"run": run, "results": str(folder) if write else None})
        return exit_code(tally, asked=asked)


def _keep_broken_off(ports: RolloutPorts, run: str, tally: Tally) -> None:
    """Add a "half-made" result for each user who has no result, but may have a device, as after a second Ctrl-C."""
    if not tally.left:
        return
    known = tally.by_user
    with suppress(IntegrityFault):  # the ledger itself may have failed and ended the run
        for entry in ports.desk.journal.made(ports.caller.account):
            if entry.run == run and entry.intent.user not in known:
                tally.keep(RowResult.of_entry(entry, RowOutcome.HALF_MADE, INTERRUPTED))
