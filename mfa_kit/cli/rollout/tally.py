"""Collects the results of a rollout's rows, prints them, and makes the texts of the result files."""

import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from mfa_kit.cli.json_document import json_document
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow, Results
from mfa_kit.cli.status_line import Redrawable
from mfa_kit.core.errors import Lockout
from mfa_kit.core.interaction import Progress
from mfa_kit.enrollment.pacing import RateLimiter
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.rollout import roster_text
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan, PlanStep
from mfa_kit.rollout.roster import row_cells
from mfa_kit.rollout.roster_text import csv_table

COLUMNS = ("user", "outcome", "cause", "reason", "device", "backup", "user_backup", "admin_backup", "run")
FAULTY = {RowOutcome.FAILED, RowOutcome.BLOCKED}
TO_RETRY = {*FAULTY, RowOutcome.REFUSED, RowOutcome.HALF_MADE}
MADE = {RowOutcome.ENROLLED, RowOutcome.STAGED, RowOutcome.REVOKED}


@dataclass(slots=True)
class Tally:
    """The results of one command that works on `total` rows.

    `made` counts the rows whose device this command made, enabled or removed, and `failed` the rows that failed.
    `began` is the time at which the command began, on the monotonic clock. In JSON Lines, `cells` are the first cells
    of each row. If a result cannot be printed, `unheard` is the error, and `stop` is set so that no further row is
    started. When the rows in progress are finished, `exit_code` raises `unheard`. `more` names fields of RowResult that
    only the rows of this command have.
    """

    schema: str
    _: KW_ONLY
    total: int
    progress: Progress
    output: Output
    pace: RateLimiter
    stop: threading.Event | None = None
    cells: ResultRow = field(default_factory=dict)
    more: Sequence[str] = ()
    unheard: OSError | None = None
    results: list[RowResult] = field(default_factory=list)
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    made: int = 0

    @property
    def left(self) -> int:
        """The number of rows without a result."""
        return self.total - len(self.results)

    @property
    def by_user(self) -> dict[str, RowResult]:
        """The last result of each user."""
        return {result.user: result for result in self.results}

    def row(self, result: RowResult) -> ResultRow:
        """Return a result as a row for output."""
        return {**result_row(result), **{name: getattr(result, name) for name in self.more}}

    def keep(self, result: RowResult) -> None:
        """Count a result without reporting progress. In JSON Lines, print the result at once.

        Raise OSError if the result cannot be printed and there is no `stop`.
        """
        self.results.append(result)
        self.failed += result.outcome is RowOutcome.FAILED
        self.made += result.outcome in MADE and not result.reason
        if self.output.form == "jsonl" and self.unheard is None:
            try:
                self.output.one(self.schema, {**self.cells, **self.row(result)})
            except OSError as error:
                if self.stop is None:
                    raise
                self.unheard = error
                self.stop.set()

    def take(self, result: RowResult) -> None:
        """Count a result, and show it on stderr.

        A result that needs attention is printed on a separate line. Other results only change the status line, or are
        printed if there is no status line. In JSON Lines, no result is printed on stderr.
        """
        self.keep(result)
        wrong = result.outcome in TO_RETRY
        counted = isinstance(self.progress, Redrawable) and self.progress.refresh()
        if (wrong or not counted) and self.output.form != "jsonl":
            show = self.progress.alert if wrong else self.progress.note
            show(": ".join(filter(None, [result.user, result.outcome.value, result.reason])))

    def line(self) -> str:
        """Return the status line: the number of results and failures, the rate, and the estimated time left."""
        rate = self.made / max(time.monotonic() - self.began, 0.001)
        seconds_left = self.left / rate if rate else 0
        pace = "waiting for credentials" if self.pace.paused else f"at most {self.pace.rate:.0f} calls/s"
        return (
            f"{len(self.results)} of {self.total}, {self.failed} failed, {rate:.1f} users/s, "
            f"{int(seconds_left // 60)}:{int(seconds_left % 60):02} left, {pace}"
        )

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows per outcome, in the order of RowOutcome. A row without a result counts as not started."""
        counts = Counter(result.outcome for result in self.results)
        counts[RowOutcome.NOT_STARTED] += self.left
        return {outcome_name(outcome): counts[outcome] for outcome in RowOutcome if counts[outcome]}

    def show(self, head: "ResultRow | None" = None) -> None:
        """Print the results, or only the number of rows per outcome if the output is a table.

        In JSON Lines, print nothing, because the results were printed as they arrived. `head` has fields that precede
        the counts in JSON and in the table.
        """
        head = head or {}
        rows = [self.row(result) for result in self.results]
        match self.output.form:
            case "jsonl":
                pass
            case "csv":
                self.output.many(self.schema, rows, empty="")
            case "json":
                self.output.one(self.schema, {**head, "counts": self.counts, "rows": rows})
            case _:
                self.output.one(self.schema, {**head, **(self.counts or {"users": 0})})


def outcome_name(outcome: RowOutcome) -> str:
    """Return the name of the column that has the count of an outcome, such as `half_made`."""
    return outcome.value.replace("-", "_").replace(" ", "_")


def result_row(result: RowResult, *, shared: bool = False) -> dict[str, str | None]:
    """Return a result as a row for output. Empty cells are None. With `shared`, the row has the computer too."""
    return {name: getattr(result, name) or None for name in (*COLUMNS, *(["computer"] if shared else []))}


def exit_code(tally: Tally, *, asked: bool = False) -> int:
    """Return the exit code.

    It is 6 if a change was refused because it could lock a user out. Otherwise it is 1 if a row failed, is blocked or
    was not started. Otherwise it is 0. If a signal ended the command early (`asked`) and rows have no result yet, raise
    KeyboardInterrupt. Raise OSError if results could not be printed.
    """
    if tally.unheard:
        raise tally.unheard
    if asked and tally.left:
        raise KeyboardInterrupt
    outcomes = {result.outcome for result in tally.results}
    if outcomes & {RowOutcome.REFUSED}:
        return Lockout.exit_code
    if outcomes & {*FAULTY, RowOutcome.NOT_STARTED}:
        return 1
    return 0


def check_backup_folder(store: BackupStore, steps: Sequence[PlanStep]) -> None:
    """Raise UsageFault if backups cannot be written. Without recipients there are no backups, so nothing is checked."""
    if store.recipients() or any(step.row.recipient for step in steps):
        store.check()


def result_files(
    plan: Plan, results_by_user: Mapping[str, RowResult], *, source: str, run: str | None, called: Collection[str]
) -> dict[str, str]:
    """Return the texts of the result files by file name. `called` are the users whom the command was to enroll.

    `source` is the file name of the plan or the index. results.csv and results.json have a row for every user of the
    plan. failed.csv is a roster of the users to try again: those whose row failed, was refused, is blocked or is
    half-made, and the users in `called` whose row was not started.
    """
    results = [
        results_by_user.get(step.user) or RowResult(user=step.user, outcome=RowOutcome.NOT_STARTED)
        for step in plan.steps
    ]
    rows = [result_row(result) for result in results]
    cells = [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in rows]
    document = Results("rollout-apply", [{"plan": source, "run": run, "rows": rows}], single=True)
    again = [
        step.row
        for step, result in zip(plan.steps, results, strict=True)
        if result.outcome in TO_RETRY or (result.outcome is RowOutcome.NOT_STARTED and step.user in called)
    ]
    return {
        "results.csv": csv_table(COLUMNS, cells),
        "results.json": json_document(document) + "\n",
        "failed.csv": csv_table(roster_text.COLUMNS, map(row_cells, again)),
    }
