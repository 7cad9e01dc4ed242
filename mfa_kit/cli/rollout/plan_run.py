"""Carries out one plan for `rollout apply` or `rollout work`, records failures, and writes the result files."""

from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.apply_options import ApplyOptions
from mfa_kit.cli.rollout.next_step import next_step
from mfa_kit.cli.rollout.running import name_next_command, take_results
from mfa_kit.cli.rollout.tally import Tally, check_backup_folder, exit_code, result_files
from mfa_kit.cli.rollout.waiting import wait_for_turn
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.rollout.apply import apply_plan, check_plan
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import Failure, RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings

INTERRUPTED = "interrupted; to see the result: mfa-kit rollout status PLAN"


@dataclass(frozen=True, kw_only=True)
class PlanRun:
    """One run of a plan in one account. `run` is the ID of the run.

    `digest` is the SHA-256 of the plan's file. `folder` is the folder for the result files. `source` is the name of the
    file on the command line, which is the plan or the index. With `staged`, devices are created but not enabled.
    """

    run: str
    plan: Plan
    digest: str
    ports: "wiring.rollout.RolloutPorts"
    execution: Execution
    tally: Tally
    folder: Path
    source: str
    staged: bool

    def outcomes(self) -> Generator[RowResult, None, None]:
        """Carry out the plan, and yield the result of each user."""
        return apply_plan(self.plan, ports=self.ports.ports, run=self.run, execution=self.execution, staged=self.staged)

    @cached_property
    def failed_before(self) -> Mapping[str, Failure]:
        """The failures that earlier runs of the plan recorded, by user."""
        return self.ports.failures(self.digest).by_user()

    def take(self, result: RowResult) -> None:
        """Count a result. If the user failed, record the failure in the ledger.

        If a user who failed in an earlier run succeeds now, remove that failure from the ledger.
        """
        if result.outcome is RowOutcome.FAILED:
            self.ports.failures(self.digest).record(Failure.of(result), now=self.ports.ports.iam_reader.now())
        elif result.user in self.failed_before and result.outcome in {RowOutcome.ENROLLED, RowOutcome.STAGED}:
            self.ports.failures(self.digest).forget(result.user)
        self.tally.take(result)

    def begin(self) -> None:
        """Record in the ledger that this run begins."""
        wiring.rollout_turns.record_run(self.ports.ledger, self.digest, self.run, now=self.ports.ports.iam_reader.now())

    def end(self) -> None:
        """If each user has a result, record in the ledger that the run is complete, for `rollout status --watch`."""
        if not self.tally.left:
            wiring.rollout_turns.record_end(
                self.ports.ledger, self.digest, self.run, now=self.ports.ports.iam_reader.now()
            )

    def finish(self) -> Path | None:
        """Write the result files, and return their folder.

        If this run has no results, but an earlier run wrote files to the folder, keep those files and return None.
        Raise UsageFault or IntegrityFault if the files cannot be written.
        """
        self._keep_broken_off()
        if not self.tally.results and (self.folder / "results.csv").exists():
            return None
        users = {step.user for step in self.plan.steps}
        texts = result_files(self.plan, self.tally.by_user, source=self.source, run=self.run, called=users)
        wiring.rollout.write_files(self.folder, texts)
        return self.folder

    def _keep_broken_off(self) -> None:
        """Add a "half-made" result for each user who has no result, but may have a device.

        There can be such users after a second Ctrl-C.
        """
        if not self.tally.left:
            return
        known = self.tally.by_user
        with suppress(IntegrityFault):  # the run may have ended because the ledger failed
            for entry in self.ports.ports.journal.made(self.ports.caller.account):
                if entry.run == self.run and entry.spec.user not in known:
                    self.tally.keep(RowResult.of_entry(entry, RowOutcome.HALF_MADE, INTERRUPTED))


def apply_one(options: ApplyOptions, *, settings: Settings, output: Output) -> int:
    """Enroll the users of one plan, and return the exit code.

    If this process is a worker (`rollout work`), first wait until no other worker is working on the plan.
    """
    store = options.store(settings)
    [path] = options.plan_files
    plan, digest = wiring.rosters_and_plans.read_plan(path, METHODS, expected=options.expected)
    sealed = bool(store.recipients())
    progress = settings.progress
    with (
        name_next_command(),
        wiring.rollout.open_rollout(
            settings, METHODS, store=store, workers=options.workers, progress=progress
        ) as ports,
    ):
        check_plan(
            plan, caller=ports.caller, staged=options.staged, accept_lockout=options.accept_lockout, sealed=sealed
        )
        execution = ports.execution(workers=options.workers, max_failures=options.max_failures)
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
                plan, holders=execution.list_holders(), look=lambda _: {}, failures={}, ports=ports.ports
            ):
                tally.take(result)
            tally.show({"run": None})
            return 0
        check_backup_folder(store, plan.steps)
        this = PlanRun(
            run=wiring.ports.new_run_id(ports.ports.iam_reader),
            plan=plan,
            digest=digest,
            ports=ports,
            execution=execution,
            tally=tally,
            folder=wiring.rollout.open_results_folder(options.results, path),
            source=path.name,
            staged=options.staged,
        )
        if options.at_once is None:
            return _carry_out(this, path, progress)
        with wait_for_turn(lambda: wiring.rollout_turns.turn_of_plan(ports.ledger, plan, digest), progress):
            return _carry_out(this, path, progress)


def _carry_out(this: PlanRun, path: Path, progress: LiveProgress) -> int:
    """Carry out the plan in the file at `path`. Print the results and what to do next, and return the exit code."""
    tally = this.tally
    this.begin()
    progress.note(f"run {this.run}")
    try:
        asked = take_results(this.outcomes(), tally, execution=this.execution, progress=progress, take=this.take)
        this.end()
    finally:
        written = this.finish()
        tally.show({"run": this.run, "results": str(written) if written else None})
    code = exit_code(tally, asked=asked)
    progress.note(next_step(tally.results, plans=[this.plan], plan=str(path), folder=str(this.folder)))
    return code
