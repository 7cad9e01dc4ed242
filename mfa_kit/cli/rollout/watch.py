"""`mfa-kit rollout status --watch`: show the progress of a rollout and its workers, until all accounts are complete."""

import os
import sys
import time
from collections import deque
from collections.abc import Sequence

from mfa_kit import wiring
from mfa_kit.cli.fitting import fitted_table
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.status_line import Redrawn
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.stopping import sleep
from mfa_kit.core.timestamps import iso_time
from mfa_kit.rollout.watching import RolloutProgress, WatchedWork, users_per_second
from mfa_kit.wiring.settings import Settings

# Seconds between two reads of the ledger, and the number of latest reads from which the users per second are computed.
EACH, LOOKS = 1.0, 60
COLUMNS = ("account", "computer", "process", "since")


def watch_rollout(read: "wiring.plan_files.PlanFiles", *, settings: Settings, output: Output) -> int:
    """Show the progress of all accounts of the plans, from the ledger only. When all are complete, return 0.

    A table at a terminal is redrawn each second. Otherwise a line is printed for each change. Raise UsageFault for an
    output form other than table and jsonl.
    """
    if output.form not in {"table", "jsonl"}:
        raise UsageFault(
            "--watch prints one result after another, which this output form cannot show", "use --output table or jsonl"
        )
    works = _works_of(read)
    redrawn = Redrawn() if output.form == "table" and sys.stdout.isatty() and not settings.still else None
    looks: deque[tuple[float, int]] = deque(maxlen=LOOKS)
    before: RolloutProgress | None = None
    with wiring.ledger.open_ledger(settings) as ledger:
        if unseen := wiring.rollout_turns.unseen_runs(ledger, [work.digest for work in works]):
            settings.progress.note(unseen)
        while True:
            progress = wiring.rollout_turns.progress_of_works(ledger, works)
            looks.append((time.monotonic(), progress.done))
            rate = users_per_second([*looks])
            if redrawn:
                redrawn.draw(_screen(progress, rate))
            elif progress != before:
                _print(progress, rate, output)
            if progress.is_complete:
                return 0
            before = progress
            sleep(EACH)


def _works_of(read: "wiring.plan_files.PlanFiles") -> list[WatchedWork]:
    return [
        WatchedWork(
            account=account.id,
            label=account.label,
            digest=account.sha256,
            total=len(read.plans[account.id].steps_of_apply),
        )
        for account in read.index.accounts
    ]


def _print(progress: RolloutProgress, rate: float, output: Output) -> None:
    if output.form == "jsonl":
        output.one("rollout-watch", _row(progress, rate))
    else:
        output.text(f"{_line(progress, rate)}\n")
    sys.stdout.flush()


def _screen(progress: RolloutProgress, rate: float) -> list[str]:
    """Return the lines to draw, as many as the window has room for."""
    size = os.get_terminal_size(sys.stdout.fileno())
    width, room = size.columns or sys.maxsize, (size.lines or sys.maxsize) - 1
    rows = [
        {"account": label, "computer": claim.computer, "process": claim.process, "since": iso_time(claim.since)}
        for label, claim in progress.workers.items()
    ]
    lines = [_line(progress, rate), *(fitted_table(rows, COLUMNS, width) if rows else ())]
    return [line[: width - 1] for line in lines[:room]]


def _line(progress: RolloutProgress, rate: float) -> str:
    seconds_left = (progress.users - progress.done) / rate if rate else None
    remaining = (
        ""
        if seconds_left is None or progress.is_complete
        else f", {int(seconds_left // 60)}:{int(seconds_left % 60):02} left"
    )
    return (
        f"{progress.done} of {progress.users} users, {progress.complete} of {progress.accounts} accounts, "
        f"{progress.failed} failed, {rate:.1f} users/s{remaining}, workers: {len(progress.workers)}"
    )


def _row(progress: RolloutProgress, rate: float) -> ResultRow:
    workers: Sequence[ResultRow] = [
        {"account": claim.work.split("-")[1], "computer": claim.computer, "process": claim.process, "since": since}
        for claim in progress.workers.values()
        for since in [iso_time(claim.since)]
    ]
    return {
        "users": progress.users,
        "done": progress.done,
        "failed": progress.failed,
        "accounts": progress.accounts,
        "complete": progress.complete,
        "rate": round(rate, 1),
        "seconds_left": round((progress.users - progress.done) / rate) if rate else None,
        "workers": workers,
    }
