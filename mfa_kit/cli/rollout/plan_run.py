"""One run of `rollout apply` in one account. It records failures in the ledger, and writes the files of results."""

from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mfa_kit.cli.rollout.tally import Tally, result_files
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.rollout.apply import apply_plan
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import Failure, RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.rollout import RolloutPorts

INTERRUPTED = "interrupted; to see the result: mfa-kit rollout status"


@dataclass(frozen=True, kw_only=True)
class PlanRun:
    """One run of a plan in one account. `run` is the ID of the run.

    `digest` is the SHA-256 of the plan's file. `folder` is the folder for the files of results. `source` is the file
    name of the plan or the index on the command line. With `staged`, devices are created but not enabled.
    """

    run: str
    plan: Plan
    digest: str
    ports: RolloutPorts
    execution: Execution
    tally: Tally
    folder: Path
    source: str
    staged: bool

    def outcomes(self) -> Generator[RowResult, None, None]:
        """Carry out the plan, and yield the result of each user."""
        return apply_plan(self.plan, desk=self.ports.desk, run=self.run, execution=self.execution, staged=self.staged)

    @cached_property
    def failed_before(self) -> Mapping[str, Failure]:
        """The failures that earlier runs of the plan recorded, by user."""
        return self.ports.failures(self.digest).by_user()

    def take(self, result: RowResult) -> None:
        """Count a result, and record a failure in the ledger.

        If a user succeeds who failed in an earlier run, that failure is removed from the ledger.
        """
        if result.outcome is RowOutcome.FAILED:
            self.ports.failures(self.digest).record(Failure.of(result), at=self.ports.desk.inventory.now())
        elif result.user in self.failed_before and result.outcome in {RowOutcome.ENROLLED, RowOutcome.STAGED}:
            self.ports.failures(self.digest).forget(result.user)
        self.tally.take(result)

    def finish(self) -> Path | None:
        """Write the files of results, and return their folder. Raise IntegrityFault if they cannot be written.

        If this run has no results, keep the files of an earlier run, and return None.
        """
        self._keep_broken_off()
        if not self.tally.results and (self.folder / "results.csv").exists():
            return None
        users = {step.user for step in self.plan.steps}
        texts = result_files(self.plan, self.tally.by_user, source=self.source, run=self.run, called=users)
        wiring.write_files(self.folder, texts)
        return self.folder

    def _keep_broken_off(self) -> None:
        """Add a "half-made" result for each user who has no result, but may have a device.

        This happens after a second Ctrl-C.
        """
        if not self.tally.left:
            return
        known = self.tally.by_user
        with suppress(IntegrityFault):  # the ledger itself may have failed and ended the run
            for entry in self.ports.desk.journal.made(self.ports.caller.account):
                if entry.run == self.run and entry.intent.user not in known:
                    self.tally.keep(RowResult.of_entry(entry, RowOutcome.HALF_MADE, INTERRUPTED))
