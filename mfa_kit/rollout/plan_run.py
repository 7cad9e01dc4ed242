"""One run of a plan: its records in the ledger, its results, and the files of results."""

import json
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

from mfa_kit.core.device_records import RunRecords
from mfa_kit.core.errors import IntegrityFault, name_in_ledgers
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.message import suggest
from mfa_kit.core.text import VERSION
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.rollout.apply import apply_plan
from mfa_kit.rollout.execution import COLUMNS, TO_RETRY, Execution, RowOutcome, RowResult, user_result
from mfa_kit.rollout.further_devices import join_pairs
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.records import PlanRecords
from mfa_kit.rollout.roster import roster_table
from mfa_kit.rollout.watching import Failure

MADE = {RowOutcome.ENROLLED, RowOutcome.STAGED}
INTERRUPTED = suggest("interrupted; to see the result", "rollout status PLAN")


def result_files(
    plan: Plan, results_by_row: Mapping[str, RowResult], *, source: str, run: str | None, called: Collection[str]
) -> dict[str, str]:
    """Return the texts of the result files by file name. `called` are the keys of the steps to carry out.

    `source` is the file name of the plan or the index. results.csv and results.json have a row for every step of the
    plan. failed.csv is a roster of the rows to try again: those that failed, were refused, are blocked or are
    half-made, and the rows in `called` that were not started.
    """
    results = [
        results_by_row.get(step.key) or RowResult(user=step.user, outcome=RowOutcome.NOT_STARTED).of_row(step.row)
        for step in plan.steps
    ]
    rows = [asdict(user_result(result)) for result in results]
    cells = [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in rows]
    document = {"schema": "mfa-kit/rollout-apply", "version": VERSION, "plan": source, "run": run, "rows": rows}
    again = [
        step.row
        for step, result in zip(plan.steps, results, strict=True)
        if result.outcome in TO_RETRY or (result.outcome is RowOutcome.NOT_STARTED and step.key in called)
    ]
    return {
        "results.csv": csv_table(COLUMNS, cells),
        "results.json": json.dumps(document) + "\n",
        "failed.csv": roster_table(join_pairs(again)),
    }


@dataclass(kw_only=True)
class PlanRun:
    """One run of a plan in one account. `run` is the ID of the run.

    `ports` have a store that writes each device into the record of runs. `folder` is the folder for the result files,
    and `write` writes the files there, by file name. `source` is the name of the file on the command line, which is the
    plan or the index. `keep` is called with each result that is added at the end. `log` is called with the name of an
    event, the account, the run and the cause, or None. `written` is the folder if this run has written the files.
    """

    run: str
    plan: Plan
    records: PlanRecords
    ports: EnrollmentPorts
    folder: Path
    source: str
    write: Callable[[Mapping[str, str]], None]
    keep: Callable[[RowResult], None] = lambda _: None
    log: Callable[..., None] = lambda *_, **__: None
    written: Path | None = None
    by_row: dict[str, RowResult] = field(default_factory=dict)

    @cached_property
    def failed_before(self) -> Mapping[str, Failure]:
        """The failures that earlier runs of the plan recorded, by the keys of the steps."""
        return self.records.failures()

    @contextmanager
    def results(
        self, execution: Execution, *, staged: bool, record: RunRecords, begin: Callable[[str], None]
    ) -> Iterator[Generator[RowResult, None, None]]:
        """Record the run, and yield the results of `apply_plan`. The caller passes each result to `take`.

        At the end, write the result files. `begin` writes the run into the record of runs.
        """
        lost = self.records.lost_runs(record)
        self.records.begin(self.run, now=self._now())
        self._log("run began")
        try:
            yield apply_plan(
                self.plan,
                ports=self.ports,
                run=self.run,
                execution=execution,
                staged=staged,
                record=record,
                lost_runs=lost,
                begin=partial(begin, self.run),
            )
            for lost_run in lost:  # only now, because a kill before would leave half-made devices that have no line
                self.records.adopt_run(lost_run)
            if not self._left:  # for `rollout status --watch`
                self.records.end(self.run, now=self._now())
        finally:
            self._finish()

    @property
    def _left(self) -> int:
        """The number of steps without a result."""
        return len(self.plan.steps) - len(self.by_row)

    def _now(self) -> float:
        """Return the Unix time by AWS's clock."""
        return self.ports.iam_reader.now()

    def _log(self, event: str, *, cause: str | None = None) -> None:
        self.log(event, account=self.plan.account, run=self.run, cause=cause)

    def take(self, result: RowResult) -> None:
        """Count a result. If the user failed, record the failure in the ledger.

        If a user who failed in an earlier run succeeds now, remove that failure from the ledger.
        """
        self.by_row[result.key] = result
        if result.outcome is RowOutcome.FAILED:
            self.records.fail(result.failure, now=self._now())
        elif result.key in self.failed_before and result.outcome in MADE:
            self.records.forget(result.key)
        if result.outcome in TO_RETRY or (result.outcome in MADE and not result.reason):
            self._log(result.outcome, cause=result.cause or None)

    def _finish(self) -> None:
        """Write the result files.

        If this run has no results, but an earlier run wrote files to the folder, keep those files. Raise UsageFault or
        IntegrityFault if the files cannot be written.
        """
        error = sys.exception()
        self._log("run ended", cause=name_in_ledgers(error) if error else None)
        self._keep_broken_off()
        if not self.by_row and (self.folder / "results.csv").exists():
            return
        called = {step.key for step in self.plan.steps}
        self.write(result_files(self.plan, self.by_row, source=self.source, run=self.run, called=called))
        self.written = self.folder

    def _keep_broken_off(self) -> None:
        """Add a "half-made" result for each row that has no result, but may have a device.

        There can be such rows after a second Ctrl-C.
        """
        if not self._left:
            return
        rows = {self.plan.intent_of(step.row).serial: step.row for step in self.plan.steps}
        with suppress(IntegrityFault):  # the run may have ended because the ledger failed
            for entry in self.records.journal.made(self.plan.account):
                row = rows.get(entry.spec.serial) if entry.run == self.run else None
                if row and row.key not in self.by_row:
                    half_made = RowResult.of_entry(entry, RowOutcome.HALF_MADE, INTERRUPTED).of_row(row)
                    self.by_row[row.key] = half_made
                    self.keep(half_made)
