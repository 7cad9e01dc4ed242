"""`mfa-kit rollout status`: show the status of each user of a plan."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.forms import fitted_table
from mfa_kit.cli.messages import Redrawn
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import PlannedWork, Reading, is_narrowed, read_accounts, read_files
from mfa_kit.cli.rollout.results import AccountWork, columns_of, next_step, result_row
from mfa_kit.cli.rollout.running import look_up_results
from mfa_kit.cli.visits import state_of
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.stopping import sleep
from mfa_kit.core.text import ResultRow, count_of, iso_time
from mfa_kit.organization.across import UNREAD, Visit
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.watching import RolloutProgress, WatchedWork, users_per_second

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.rollout.plan import PlanFiles, RolloutIndex
    from mfa_kit.wiring.settings import Settings

DONE = {RowOutcome.ENROLLED, RowOutcome.SKIPPED}
# The outcomes of rows that need action, which are listed first.
URGENT = (RowOutcome.FAILED, RowOutcome.BLOCKED, RowOutcome.HALF_MADE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """The results of the users of an account.

    If the account could not be read, `results` is None, and `why` is the reason.
    """

    account: OrgAccount
    results: Sequence[RowResult] | None
    why: str = ""

    @property
    def open(self) -> Sequence[RowResult]:
        """The results of users who have no device."""
        return [result for result in self.results or () if result.outcome not in DONE]


def status_page(
    index: RolloutIndex, accounts: Sequence[AccountStatus], *, read_at: float, lab: bool, alone: bool
) -> str:
    """Return the HTML page of a rollout: how many users have a device, and which rows are open and why.

    A row is open while its user has no device. `read_at` is the time of the status in Unix seconds. `lab` says whether
    the accounts belong to a lab. If the rollout is `alone` in the caller's account, the page also lists the rows that
    are done, and those that need action come first. Otherwise it has the numbers and the open rows of each account.
    """
    results = [result for account in accounts for result in account.results or ()]
    counts = Counter(str(result.outcome) for result in results)
    subject = f"account {accounts[0].account.id}" if alone else count_of(len(accounts), "account")
    return wiring.files.html_page(
        "rollout.html",
        planned=index,
        subject=f"{subject}{' (LAB, nothing here is real)' * lab}",
        read_at=read_at,
        counts=counts,
        done=sum(counts[outcome] for outcome in DONE),
        total=len(results),
        causes=_causes(results),
        alone=alone,
        accounts=accounts,
        open=sorted(accounts[0].open, key=_urgency) if alone else (),
        closed=[result for result in results if result.outcome in DONE],
    )


def _causes(results: Sequence[RowResult]) -> list[tuple[RowResult, int]]:
    """Return, for each cause of failures, the first failure and the number of failures."""
    failed = [result for result in results if result.outcome is RowOutcome.FAILED]
    first = {result.cause: result for result in reversed(failed)}
    return [(first[cause], count) for cause, count in Counter(result.cause for result in failed).most_common()]


def _urgency(result: RowResult) -> int:
    return URGENT.index(result.outcome) if result.outcome in URGENT else len(URGENT)


# Seconds between two reads of the ledger, and the number of latest reads from which the users per second are computed.
EACH, LOOKS = 1.0, 60
# With --once, the seconds before now from which the users per second are computed.
RECENT = 60.0
WATCHED = ("account", "computer", "process", "since")


def watch_rollout(read: PlanFiles, *, once: bool, settings: Settings, output: Output) -> int:
    """Show the progress of all accounts of the plans, from the ledger only. When all are complete, return 0.

    A table at a terminal is redrawn each second. Otherwise a line is printed for each change. With `once`, show the
    present state only, with the rate of the last minute. Raise UsageFault for an output form that cannot show this.
    """
    if output.form not in ({"table", "json", "jsonl"} if once else {"table", "jsonl"}):
        raise UsageFault(
            "--watch prints one result after another, which this output form cannot show",
            "use --output table or jsonl, or with --once also json",
        )
    works = _works_of(read)
    with wiring.ledger.open_ledger(settings) as ledger:
        if unseen := wiring.rollout.unseen_runs(ledger, [work.digest for work in works]):
            settings.progress.note(unseen)
        if once:
            rate = wiring.rollout.recent_rate(ledger, works, seconds=RECENT)
            _print_progress(wiring.rollout.progress_of_works(ledger, works), rate, output)
        else:
            is_terminal = output.form == "table" and sys.stdout.isatty() and not settings.still
            _show_until_complete(
                partial(wiring.rollout.progress_of_works, ledger, works), Redrawn() if is_terminal else None, output
            )
    return 0


def _show_until_complete(read_progress: Callable[[], RolloutProgress], redrawn: Redrawn | None, output: Output) -> None:
    """Show the progress each second until it is complete. Without a Redrawn, print a line for each change."""
    looks: deque[tuple[float, int]] = deque(maxlen=LOOKS)
    before: RolloutProgress | None = None
    while True:
        progress = read_progress()
        looks.append((time.monotonic(), progress.done))
        rate = users_per_second([*looks])
        if redrawn:
            redrawn.draw(_screen(progress, rate))
        elif progress != before:
            _print_progress(progress, rate, output)
        if progress.is_complete:
            return
        before = progress
        sleep(EACH)


def _works_of(read: PlanFiles) -> list[WatchedWork]:
    return [
        WatchedWork(
            account=account.id,
            label=account.label,
            digest=account.sha256,
            total=len(read.plans[account.id].steps_of_apply),
        )
        for account in read.index.accounts
    ]


def _print_progress(progress: RolloutProgress, rate: float, output: Output) -> None:
    if output.form == "table":
        output.text(f"{_line(progress, rate)}\n")
    else:
        output.one("rollout-watch", _row(progress, rate))
    sys.stdout.flush()


def _screen(progress: RolloutProgress, rate: float) -> list[str]:
    """Return the lines to draw, as many as the window has room for."""
    size = os.get_terminal_size(sys.stdout.fileno())
    width, room = size.columns or sys.maxsize, (size.lines or sys.maxsize) - 1
    rows = [
        {"account": label, "computer": claim.computer, "process": claim.process, "since": iso_time(claim.since)}
        for label, claim in progress.workers.items()
    ]
    lines = [_line(progress, rate), *(fitted_table(rows, WATCHED, width) if rows else ())]
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
        f"{progress.causes.total()} failed, {rate:.1f} users/s{remaining}, workers: {len(progress.workers)}"
    )


def _row(progress: RolloutProgress, rate: float) -> ResultRow:
    workers: Sequence[ResultRow] = [
        {"account": claim.work.split("-")[1], "computer": claim.computer, "process": claim.process, "since": since}
        for claim in progress.workers.values()
        for since in [iso_time(claim.since)]
    ]
    since = progress.unfinished_since
    return {
        "users": progress.users,
        "done": progress.done,
        "failed": progress.causes.total(),
        "causes": dict(progress.causes.most_common()),
        "accounts": progress.accounts,
        "complete": progress.complete,
        "rate": round(rate, 1),
        "seconds_left": round((progress.users - progress.done) / rate) if rate else None,
        "oldest_unfinished_s": None if since is None else max(round(time.time() - since), 0),
        "workers": workers,
    }


@click.command(cls=Verb, html=True)
@options.PLAN_FILE
@BACKUP_DIR
@options.RECORD
@options.WORKERS
@click.option(
    "--watch",
    is_flag=True,
    help="Show the progress of all workers, until all accounts are complete. This reads only the ledger.",
)
@click.option("--once", is_flag=True, help="With --watch: show the present state only, for example for monitoring.")
@click.option("--unfinished", is_flag=True, help="Only show users who have no device yet.")
@account_options(workers=False, results=False)
def status(
    *,
    plan_file: Path,
    backup_dir: BackupLocation | None,
    records: tuple[Path, ...],
    workers: int,
    watch: bool,
    once: bool,
    unfinished: bool,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Show the state of each user of PLAN, or of an index of plans, from the ledger and IAM."""
    _check_options(watch=watch, once=once, unfinished=unfinished, output=output, accounts=accounts)
    if watch:
        files = wiring.rollout.read_plan_files([plan_file], expected=())
        return watch_rollout(files, once=once, settings=settings, output=output)
    files = read_files([plan_file], accounts)

    def look(ports: wiring.rollout.RolloutPorts, work: PlannedWork, progress: LiveProgress) -> list[RowResult]:
        ledger = ports.records(work.sha256)
        results = look_up_results(work.plan, ledger, ports, workers=workers, progress=progress)
        return ledger.with_computers(results)

    store = wiring.stores.open_backup_store(settings, backup_dir)
    record = wiring.rollout.read_run_records([plan_file], records)
    with wiring.rollout.open_rollouts(settings, accounts, store=store, workers=workers, record=record) as rollouts:
        reading = read_accounts(files, look, rollouts, accounts, progress=settings.progress)
        if unseen := wiring.rollout.unseen_runs(rollouts.ledger, [account.sha256 for account in files.index.accounts]):
            settings.progress.note(unseen)
        read_at, lab, shared = rollouts.now(), rollouts.caller.lab, rollouts.ledger.shared
    if output.is_html:
        pages = [AccountStatus(account=visit.account, results=visit.found, why=visit.why) for visit in reading.visits]
        output.text(status_page(files.index, pages, read_at=read_at, lab=lab, alone=accounts is None))
        return reading.exit_code
    rows = reading.rows(
        partial(_rows, shared=shared, unfinished=unfinished), unread=partial(_unread_row, shared=shared)
    )
    names = ("name",) if any(row.get("name") for row in rows) else ()  # a user may have several rows
    output.many(
        "rollout-status",
        rows,
        empty=f"{'the plans are' if accounts else 'the plan is'} {'finished' if unfinished else 'empty'}",
        narrow=reading.narrow(rows, "user", *names, "outcome", "cause", "reason", "computer"),
    )
    settings.progress.note(_totals(reading))
    settings.progress.note(_next_step(reading, files, plan_file, in_accounts=accounts is not None))
    return reading.exit_code


def _check_options(
    *, watch: bool, once: bool, unfinished: bool, output: Output, accounts: AccountsChoice | None
) -> None:
    """Raise UsageFault for options that cannot be used together."""
    if once and not watch:
        raise UsageFault("--once is only for --watch", "add --watch, or leave out --once")
    if unfinished and (watch or output.is_html):
        raise UsageFault("--unfinished is not for --watch and not for the HTML page", "leave out --unfinished")
    if watch and is_narrowed(accounts):
        raise UsageFault(
            "--watch always shows all accounts of the index", "leave out --include, --exclude, --account-tag and --ou"
        )


def _totals(reading: Reading[list[RowResult]]) -> str:
    """Return the totals, such as `298 of 300 enrolled, 2 failed`. Users who had a device before count as enrolled."""
    results = [result for visit in reading.visits for result in visit.found or ()]
    counts = Counter(result.outcome for result in results if result.outcome not in DONE)
    totals = [f"{counts[outcome]} {outcome}" for outcome in RowOutcome if counts[outcome]]
    if unread := sum(visit.state in UNREAD for visit in reading.visits):
        totals.append(f"{count_of(unread, 'account')} not read")
    return ", ".join([f"{len(results) - counts.total()} of {len(results)} enrolled", *totals])


def _next_step(reading: Reading[list[RowResult]], files: PlanFiles, plan_file: Path, *, in_accounts: bool) -> str:
    """Return the sentence that says what to do next, as `rollout apply` does."""
    if any(visit.state in UNREAD for visit in reading.visits):
        return "next: read why some accounts were not read, then run this command again"
    read = {visit.account.id: visit.found for visit in reading.visits if visit.found is not None}
    return next_step(
        [result for results in read.values() for result in results],
        plans=[files.plans[account] for account in read],
        plan=str(wiring.rollout.plans_folder(plan_file) / "FILE" if in_accounts else plan_file),
        index=str(plan_file) if in_accounts else "",
    )


def _rows(results: Sequence[RowResult], work: AccountWork, *, shared: bool, unfinished: bool) -> Sequence[ResultRow]:
    """Return the rows of an account's users, or with `unfinished` of those who have no device.

    If the ledger is `shared`, each row also has the cell `computer`.
    """
    shown = [result for result in results if not unfinished or result.outcome not in DONE]
    return [{**result_row(result, shared=shared), "reason": work.in_words(result.reason) or None} for result in shown]


def _unread_row(visit: Visit[list[RowResult]], *, shared: bool) -> ResultRow:
    """Return the row of an account that was not read, with the reason."""
    return {**dict.fromkeys(columns_of(shared=shared)), "outcome": state_of(visit), "reason": visit.why}
