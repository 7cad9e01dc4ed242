"""`mfa-kit rollout apply`: enroll the users of a plan, and write a result for each user."""

from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.apply_options import ApplyOptions
from mfa_kit.cli.rollout.plan_run import PlanRun
from mfa_kit.cli.rollout.running import name_next_command, take_results
from mfa_kit.cli.rollout.tally import Tally, check_backup_folder, exit_code
from mfa_kit.cli.rollout.turns import wait_for_turn
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.places import Place
from mfa_kit.rollout.apply import check_plan
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.desk import new_run_id
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.rollout_turns import record_run, turn_of_plan
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault_for_new

STAGE = click.option("--stage", "staged", is_flag=True, help="Create devices; `rollout activate` enables them later.")
ACCEPT_LOCKOUT = click.option(
    "--accept-lockout",
    is_flag=True,
    help="Also enroll users who have no public key. You give them their secrets.",
)
MAX_FAILURES = click.option(
    "--max-failures", type=click.IntRange(0), metavar="N", help="Stop when more than N users have failed."
)


@click.command(cls=options.Verb)
@shared_options.PLAN_FILE
@shared_options.backup_options
@options.LOCAL_BACKUPS
@STAGE
@ACCEPT_LOCKOUT
@MAX_FAILURES
@shared_options.EXPECTED
@shared_options.RESULTS
@shared_options.WORKERS
@account_options(role=None, workers=False, results=False)
def apply(
    *,
    plan_file: Path,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Place | None,
    local_backups: bool,
    staged: bool,
    accept_lockout: bool,
    max_failures: int | None,
    expected: str | None,
    results: Path | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Enroll the users of PLAN, or of an index of plans. Run the same command again to continue."""
    wanted = ApplyOptions(
        plan_file=plan_file,
        vault=open_vault_for_new(backup_dir, to=to, to_files=to_files, local_backups=local_backups),
        staged=staged,
        accept_lockout=accept_lockout,
        max_failures=max_failures,
        expected=expected,
        results=results,
        workers=workers,
    )
    return apply_one(wanted, settings=settings, output=output)


def apply_one(wanted: ApplyOptions, *, settings: Settings, output: Output) -> int:
    """Enroll the users of one plan, and return the exit code. A worker first waits until no other one has the plan."""
    plan, digest = wiring.read_plan(wanted.plan_file, METHODS, expected=wanted.expected)
    sealed = bool(wanted.vault.recipients())
    progress = settings.progress
    with (
        name_next_command(),
        wiring.open_rollout(settings, METHODS, vault=wanted.vault, workers=wanted.workers, progress=progress) as ports,
    ):
        check_plan(plan, caller=ports.caller, staged=wanted.staged, accept_lockout=wanted.accept_lockout, sealed=sealed)
        execution = ports.execution(workers=wanted.workers, max_failures=wanted.max_failures)
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
        check_backup_folder(wanted.vault, plan.steps)
        this = PlanRun(
            run=new_run_id(ports.desk.inventory),
            plan=plan,
            digest=digest,
            ports=ports,
            execution=execution,
            tally=tally,
            folder=wiring.open_results_folder(wanted.results, wanted.plan_file),
            source=wanted.plan_file.name,
            staged=wanted.staged,
        )
        if wanted.at_once is None:
            return _carry_out(this, progress)
        with wait_for_turn(lambda: turn_of_plan(ports.ledger, plan, digest), progress):
            record_run(ports.ledger, digest, this.run, at=ports.desk.inventory.now())
            return _carry_out(this, progress)


def _carry_out(this: PlanRun, progress: LiveProgress) -> int:
    """Carry out a plan, print the results, and return the exit code."""
    tally = this.tally
    progress.note(f"run {this.run}")
    try:
        asked = take_results(this.outcomes(), tally, execution=this.execution, progress=progress, take=this.take)
    finally:
        written = this.finish()
        tally.show({"run": this.run, "results": str(written) if written else None})
    return exit_code(tally, asked=asked)
