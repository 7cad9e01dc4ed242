"""How the rows of a rollout ended: told as they come, printed, and written down."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mfa_kit.cli import options, terminal
from mfa_kit.cli import output as report
from mfa_kit.cli.messages import Talk
from mfa_kit.core.errors import Lockout
from mfa_kit.rollout import roster
from mfa_kit.rollout.apply import End, Result
from mfa_kit.rollout.plan import Plan
from mfa_kit.wiring import rollout as kit

COLUMNS = ("user", "outcome", "cause", "reason", "device", "backup", "run")
TO_MEND = {End.FAILED, End.BLOCKED}


@dataclass(slots=True, kw_only=True)
class Tally:
    """Results as they come: told, kept, and written down at the end."""

    total: int
    talk: Talk
    live: "terminal.Live | None"
    output: str
    schema: str
    pace: Callable[[], str]
    # Set where results cannot be printed: rows in flight come to their end then, and `unheard` is raised behind them.
    stop: threading.Event | None = None
    unheard: OSError | None = None
    results: list[Result] = field(default_factory=list)
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    made: int = 0

    @property
    def left(self) -> int:
        """How many rows have no result."""
        return self.total - len(self.results)

    @property
    def by_user(self) -> dict[str, Result]:
        return {result.user: result for result in self.results}

    def keep(self, result: Result) -> None:
        """Take a result without a word to a person."""
        self.results.append(result)
        self.failed += result.outcome is End.FAILED
        self.made += result.outcome in {End.ENROLLED, End.STAGED, End.REVOKED} and not result.reason
        if self.output == "jsonl" and self.unheard is None:
            try:
                report.one(self.schema, row(result), output="json")
            except OSError as error:
                if self.stop is None:
                    raise
                self.unheard = error
                self.stop.set()

    def take(self, result: Result) -> None:
        self.keep(result)
        if self.live:
            self.live.draw(self._line())
        elif self.output != "jsonl":
            self.talk.note(": ".join(filter(None, [result.user, result.outcome.value, result.reason])))

    def _line(self) -> str:
        rate = self.made / max(time.monotonic() - self.began, 0.001)
        left = self.left / rate if rate else 0
        return (
            f"{len(self.results)} of {self.total}, {self.failed} failed, {rate:.1f} users/s, "
            f"{int(left // 60)}:{int(left % 60):02} left, {self.pace()}"
        )

    def counts(self) -> dict[str, int]:
        found = Counter(result.outcome for result in self.results)
        found[End.NOT_STARTED] += self.left
        return {outcome.value.replace("-", "_").replace(" ", "_"): found[outcome] for outcome in End if found[outcome]}

    def show(self, **head: Any) -> None:
        """Print what is not printed yet."""
        if self.live:
            self.live.draw("")
        rows = [row(result) for result in self.results]
        match self.output:
            case "jsonl":
                pass
            case "csv":
                report.many(self.schema, rows, output="csv", empty="")
            case "json":
                report.one(self.schema, {**head, "counts": self.counts(), "rows": rows}, output="json")
            case _:
                report.one(self.schema, {**head, **(self.counts() or {"users": 0})}, output="table")


def row(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) or None for name in COLUMNS}


def tallied(rig: kit.Rig, schema: str, talk: Talk, total: int, *, stop: threading.Event | None = None) -> Tally:
    live = talk if isinstance(talk, terminal.Live) else None

    def pace() -> str:
        return "waiting for credentials" if rig.pace.paused else f"at most {rig.pace.rate:.0f} calls/s"

    return Tally(total=total, talk=talk, live=live, output=options.form(), schema=schema, pace=pace, stop=stop)


def ended(tally: Tally, *, asked: bool = False) -> int:
    """Return the exit code. Raise KeyboardInterrupt where rows were left because somebody `asked` for an end.

    Raise OSError where results could not be printed.
    """
    if tally.unheard:
        raise tally.unheard
    if asked and tally.left:
        raise KeyboardInterrupt
    outcomes = {result.outcome for result in tally.results}
    if outcomes & {End.REFUSED}:
        return Lockout.exit_code
    if outcomes & {*TO_MEND, End.NOT_STARTED}:
        return 1
    return 0


def write_results(made: Plan, found: Mapping[str, Result], folder: Path, *, run: str | None) -> None:
    """Write a row for every user of the plan, and who is to be tried again as a roster."""
    results = [found.get(step.user) or Result(user=step.user, outcome=End.NOT_STARTED) for step in made.steps]
    rows = [row(result) for result in results]
    cells = [{name: "" if cell is None else str(cell) for name, cell in each.items()} for each in rows]
    kit.write(folder / "results.csv", roster.table(COLUMNS, cells))
    whole = {"schema": "mfa-kit/rollout-apply", "version": report.VERSION, "run": run, "rows": rows}
    kit.write(folder / "results.json", json.dumps(whole) + "\n")
    again = [step.row for step, result in zip(made.steps, results, strict=True) if result.outcome in TO_MEND]
    kit.write(folder / "failed.csv", roster.table(roster.COLUMNS, map(roster.cells, again)))
