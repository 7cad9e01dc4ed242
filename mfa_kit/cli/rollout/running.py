"""Carries out the work of a rollout command in its accounts, until it is done or a signal arrives.

A scheduler decides in which account the command works next, alone or as one of several workers.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from mfa_kit import wiring
from mfa_kit.cli.environment import command_line
from mfa_kit.cli.messages import EVENTS
from mfa_kit.cli.rollout.results import AccountWork, Tally, is_alone, report_failed, show_results
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.core.errors import (
    AccessDenied,
    Expired,
    IntegrityFault,
    MfaKitError,
    Throttled,
    name_in_ledgers,
    only_our_errors,
)
from mfa_kit.core.interaction import LiveProgress, Nobody, Progress
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.core.stopping import Stop, sleep
from mfa_kit.core.text import ResultRow, count_of, few
from mfa_kit.organization.accounts import AUDIT_ROLE, ENROLL_ROLE, AccountsChoice, OrgAccount, accounts_in_words, labels
from mfa_kit.rollout.posting import describe_posted
from mfa_kit.rollout.row_status import look_up_counted, look_up_status
from mfa_kit.rollout.undo import find_unknown

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.device_records import RunRecords
    from mfa_kit.enrollment.ports import BackupStore
    from mfa_kit.rollout.execution import Execution, RowResult
    from mfa_kit.rollout.plan import Plan
    from mfa_kit.rollout.records import PlanRecords
    from mfa_kit.wiring.settings import Settings

# The seconds between two attempts to begin with a plan or an account on which another worker is working.
LOOK_AGAIN = 0.25
# If AWS throttles an account, or if its credentials expire: the number of attempts of a worker in the account, and the
# seconds between two attempts. In these seconds, another worker can take the account.
ATTEMPTS, PAUSE = 3, 5.0
# The errors after which another attempt, by this worker or another worker, may succeed.
PASSING = (Throttled, Expired)


class AccountScheduler(Protocol):
    """Decides in which account a command works next. While the command works in an account, it has the turn there."""

    @property
    def waits_for(self) -> int:
        """The number of accounts in which other workers work while this worker waits; 0 if it does not wait."""
        ...

    def todo(self, stopped: Callable[[], bool]) -> Iterator[AccountWork]:
        """Yield the next account to work in, until none is left or `stopped` returns True."""
        ...

    def turn(self, work: AccountWork) -> AbstractContextManager[bool]:
        """Return a context that yields whether this command may work in an account now."""
        ...

    def leave(self, work: AccountWork) -> None:
        """Record that the work in an account has ended, or did not begin."""
        ...


@dataclass(frozen=True, slots=True)
class OneByOne:
    """Turns of a command that works in each account once, even if other processes work there.

    An account whose `why` is not empty is skipped: `why` says why no work is possible there.
    """

    works: Sequence[AccountWork]
    waits_for: int = 0

    def todo(self, _: Callable[[], bool]) -> Iterator[AccountWork]:
        """Yield each account once, except accounts that are skipped."""
        return (work for work in self.works if not work.why)

    @contextmanager
    def turn(self, _: AccountWork) -> Iterator[bool]:
        """Yield True at once, without waiting for other processes."""
        yield True

    def leave(self, work: AccountWork) -> None:
        """Do nothing, because an account is never tried again."""


@dataclass(slots=True, kw_only=True)
class SharedTurns:
    """Turns of one worker that shares the accounts with other workers.

    `claim` returns a context that yields whether this worker has the turn in an account. `look` returns the results of
    all users of an account if other workers have completed the account since this worker began, otherwise None.
    `count_busy` returns in how many of the accounts a worker has the turn.
    """

    works: Sequence[AccountWork]
    claim: Callable[[AccountWork], AbstractContextManager[bool]]
    look: Callable[[AccountWork], Sequence[RowResult] | None]
    count_busy: Callable[[], int]
    progress: Progress
    waits_for: int = 0
    _tries: Counter[str] = field(default_factory=Counter)
    _due: dict[str, float] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _ours: set[str] = field(default_factory=set)
    _closed: set[str] = field(default_factory=set)
    _claimed: int = 0

    def todo(self, stopped: Callable[[], bool]) -> Iterator[AccountWork]:
        """Yield the next account to try, until this worker can do nothing more in any account.

        Wait while other workers work in all remaining accounts.
        """
        while not stopped() and (open_works := self._left()):
            before = self._claimed
            for work in open_works:
                if stopped():
                    return
                if self._is_due(work):
                    self._busy.add(work.account.id)
                    yield work
            if self._claimed == before:
                self._wait()

    @contextmanager
    def turn(self, work: AccountWork) -> Iterator[bool]:
        """Return a context that yields whether this worker works in the account now.

        If so, no other worker works there until the context ends. If other workers have completed the account, keep
        their results and yield False.
        """
        with self.claim(work) as ours:
            self._claimed += ours
            self.waits_for = 0 if ours else self.waits_for
            if not ours:
                yield False
            elif (results := self.look(work)) is not None:
                self._take_over(work, results)
                yield False
            else:
                self._tries[work.account.id] += 1
                self._ours.add(work.account.id)
                work.tally, work.error, work.by_others = None, None, ()
                yield True

    def leave(self, work: AccountWork) -> None:
        """Record that the work in an account has ended, or did not begin.

        After an error in PASSING, this worker tries the account again later, up to ATTEMPTS times in all.
        """
        number = work.account.id
        ours, passing = number in self._ours, isinstance(work.error, PASSING)
        self._ours.discard(number)
        if ours and passing and self._tries[number] < ATTEMPTS:
            self._due[number] = time.monotonic() + PAUSE
        elif ours or (work.error and not passing):  # an error is possible before this worker has the turn
            self._closed.add(number)
        self._busy.discard(number)

    def _left(self) -> list[AccountWork]:
        return [work for work in self.works if not work.why and work.account.id not in self._closed]

    def _is_due(self, work: AccountWork) -> bool:
        number = work.account.id
        closed_or_busy = number in self._closed or number in self._busy
        return not closed_or_busy and time.monotonic() >= self._due.get(number, 0.0)

    def _take_over(self, work: AccountWork, results: Sequence[RowResult]) -> None:
        work.tally, work.error, work.by_others = None, None, results
        self._closed.add(work.account.id)

    def _wait(self) -> None:
        """Wait LOOK_AGAIN seconds. If this begins a wait for other workers, print in how many accounts they work."""
        before, self.waits_for = self.waits_for, len([*filter(self._is_due, self._left())])
        if self.waits_for and not before:
            self.progress.note(f"waiting, because {self._cause()}")
        sleep(LOOK_AGAIN)

    def _cause(self) -> str:
        """Return a clause that says why this worker has to wait in each account that is left.

        An account in which no worker has the turn may have a process that does not know yet that the ledger's server
        was restarted.
        """
        busy = min(self.count_busy(), self.waits_for)
        uncertain = self.waits_for - busy
        if is_alone(self.works):
            return (
                "a run of this plan may still be in progress" if uncertain else "another worker is working on this plan"
            )
        working = f"other workers are working in {count_of(busy, 'account')}"
        maybe = f"a run may still be in progress in {count_of(uncertain, 'account')}"
        return ", and ".join(clause for clause, number in ((working, busy), (maybe, uncertain)) if number)


def look_up_results(
    plan: Plan,
    records: PlanRecords,
    ports: wiring.rollout.RolloutPorts,
    *,
    workers: int,
    progress: LiveProgress,
    only: Collection[str] | None = None,
) -> list[RowResult]:
    """Return the status of every row of a plan, as `look_up_status` does. `records` are the ledger's about the plan.

    If `only` is given, only these users are looked up one by one. For others, the list of virtual devices is used.
    """

    def look(users: Sequence[str]) -> dict[str, tuple[str, ...]]:
        named = [user for user in users if only is None or user in only]
        return look_up_counted(named, ports.ports, workers=workers, progress=progress)

    results = look_up_status(
        plan,
        holders=ports.execution(workers=workers).list_holders(),
        look=look,
        failures=records.failures(),
        record=ports.record,
        ports=ports.ports,
        states=ports.states(records.digest),
    )
    posted = any(step.row.by_post for step in plan.steps)
    return describe_posted(results, plan, ports.states()) if posted else results


def report_unknown(plan: Plan, ports: wiring.rollout.RolloutPorts, *, workers: int, progress: LiveProgress) -> bool:
    """Print the users whose device of a plan stays, because its run is unknown. Return whether there are any."""
    holders = ports.execution(workers=workers).list_holders()
    users = find_unknown(plan, ports.prove(holders), holders, ports=ports.ports, workers=workers)
    if users:
        stay = f"{count_of(len(users), 'device')} of the plan {'stays' if len(users) == 1 else 'stay'}"
        progress.alert(
            f"{stay}, because neither the ledger nor a record has the run that made it: {few(sorted(users))}"
        )
        progress.alert(Message("  try: adopt what the records prove", mfa_kit("ledger reconcile --adopt --record DIR")))
    return bool(users)


@contextmanager
def name_next_command() -> Iterator[None]:
    """After a KeyboardInterrupt, add a note that says how to continue: by running the same command again."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(Message("to continue", command_line()))
        raise


@contextmanager
def open_for_changes(
    settings: Settings, choice: AccountsChoice | None, *, store: BackupStore, workers: int, record: RunRecords
) -> Iterator[wiring.rollout.Rollouts]:
    """Open the accounts of a command that changes devices. After a KeyboardInterrupt, say how to continue.

    Except in a dry run, also write the hashes of backups that only `record` has into the ledger.
    """
    with (
        name_next_command(),
        wiring.rollout.open_rollouts(settings, choice, store=store, workers=workers, record=record) as rollouts,
    ):
        if not settings.dry_run:
            wiring.rollout.record_lost_hashes(rollouts.ledger, record)
        yield rollouts


def confirm_at_terminal(action: str, *, typed: str, settings: Settings) -> None:
    """Ask for confirmation of an action if a person sits at the terminal. Raise Declined if it is not confirmed.

    A script, --yes and a dry run are not asked.
    """
    if is_asked(settings):
        settings.interaction.confirm(action, typed=typed)


def is_asked(settings: Settings) -> bool:
    """Return whether a person is asked, as in `confirm_at_terminal`."""
    return not (settings.yes or settings.dry_run or isinstance(settings.interaction, Nobody))


# Hints for a role that is not allowed to change devices: name another role, or check which users the role may change.
WRITES = suggest(
    f"use a role that may change devices: --role-name {ENROLL_ROLE}; {AUDIT_ROLE} may only read; to see the actions "
    "that a role needs",
    "help permissions",
)
CHECK_USERS = suggest(
    "check which users the role may change (parameter Users of the role's template); see", "help permissions"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """An account whose work has begun. All accounts share the `lock`, so results are processed one at a time.

    `denied` is called with the work and the name of the caller if IAM refuses a write.
    """

    work: AccountWork
    ports: wiring.rollout.RolloutPorts
    execution: Execution
    tally: Tally
    lock: threading.Lock
    denied: Callable[[AccountWork, str], None]

    def take_all(self, results: Generator[RowResult, None, None], take: Callable[[RowResult], None]) -> None:
        """Call `take` with each result as it arrives. No other account's result is processed at the same time."""
        with closing(results):
            for result in results:
                with self.lock:
                    if result.cause == AccessDenied.__name__:
                        self.denied(self.work, self.ports.caller.name)
                    take(replace(result, reason=self.work.in_words(result.reason)))


@dataclass(slots=True, kw_only=True)
class Runner:
    """Carries out the work of one command in all its accounts. `schema` is the schema of its results.

    `scheduler` says in which accounts to work next, and `enter` opens an account. `accounts` is the number of accounts
    to work in at the same time, and `workers` the number of threads in each account, not counting the threads that are
    added for encryption. Each account has its own threads and pace, so a slow account does not delay the others. `more`
    names further columns of the users' results.

    In one account, an error ends the work and is raised. In several, most errors end the work in one account only. If a
    file or the ledger cannot be written (IntegrityFault), or if a result cannot be printed, the work stops in all
    accounts.
    """

    schema: str
    works: Sequence[AccountWork]
    scheduler: AccountScheduler
    enter: wiring.rollout.EnterAccount
    workers: int
    progress: LiveProgress
    output: Output
    accounts: int | None = None
    max_failures: int | None = None
    more: Sequence[str] = ()
    began: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _entering: Stop = field(default_factory=Stop)
    _open: list[OpenWork] = field(default_factory=list)
    _denied: dict[str, OrgAccount] = field(default_factory=dict)

    def run(self, act: Callable[[OpenWork], None], *, head: Callable[[], ResultRow] = dict) -> bool:
        """Open each account, call `act` with it, and print the results. `head` returns the fields that precede them.

        Return whether Ctrl-C or SIGTERM requested a stop. A second signal raises KeyboardInterrupt.
        """
        todo = self.scheduler.todo(self._stop.is_set)

        def work_in(work: AccountWork) -> None:
            try:
                try:
                    self._work_in(work, act)
                finally:
                    self.scheduler.leave(work)
            except BaseException:
                # After an error in `leave`, the account counts as in progress forever. Without this stop, `todo` would
                # wait for it, and the error would never be reported.
                self._stop_all()
                raise

        try:
            with (
                self._showing(),
                stop_on_signals(
                    self._stop, self._stop_all, break_off=self._break_off, waits_for=self._unfinished
                ) as asked,
            ):
                if is_alone(self.works):
                    for work in todo:
                        work_in(work)
                else:
                    slots = wiring.rollout.account_slots(work_in, number=self.accounts, stopped=self._stop.is_set)
                    for _ in slots.work_through(todo):
                        pass
        finally:
            for work in self.works:
                if work.tally:
                    work.tally.report_together()
            show_results(self.schema, self.works, output=self.output, head=head())
        report_failed(self.works, self.progress)
        self._report_denied()
        return asked.is_set()

    def _showing(self) -> AbstractContextManager[None]:
        """Show the status line, unless results that are printed to the terminal show the progress."""
        printed = self.output.form == "jsonl" and sys.stdout.isatty()
        line = self._line_of_account if is_alone(self.works) else self.line
        return nullcontext() if printed else self.progress.showing(line)

    def _line_of_account(self) -> str:
        """Return the status line of the only account."""
        tally = self.works[0].tally
        return tally.line() if tally else "waiting for another worker"

    def line(self) -> str:
        """Return the status line of several accounts: what is done, the failures, and the rate."""
        tallies = [work.tally for work in self.works if work.tally]
        rate = sum(tally.made for tally in tallies) / max(time.monotonic() - self.began, 0.001)
        users, users_left = sum(work.total for work in self.works), sum(work.left for work in self.works)
        accounts = sum(not work.left or bool(work.error) for work in self.works)
        failed = sum(tally.failed for tally in tallies)
        waits = f", waiting for other workers in {self.scheduler.waits_for}" if self.scheduler.waits_for else ""
        return (
            f"{users - users_left} of {users} users, {accounts} of {len(self.works)} accounts, {failed} failed, "
            f"{rate:.1f} users/s{waits}"
        )

    def _work_in(self, work: AccountWork, act: Callable[[OpenWork], None]) -> None:
        if work.alone:
            self._begin(work, act)
            return
        try:
            with only_our_errors():
                self._begin(work, act)
        except MfaKitError as error:
            work.error = error
            EVENTS.write("account failed", account=work.account.id, cause=name_in_ledgers(error))
            if isinstance(error, IntegrityFault):
                self._stop_all()
        except KeyboardInterrupt:
            if work.tally:
                raise
            # A stop interrupted the opening of the account. No work was in progress there, so the interrupt is not
            # passed on.
        else:
            if work.tally and work.tally.unheard:
                self._stop_all()

    def _begin(self, work: AccountWork, act: Callable[[OpenWork], None]) -> None:
        with self.scheduler.turn(work) as ours:
            if ours:
                act(self._enter(work))

    def _enter(self, work: AccountWork) -> OpenWork:
        progress = work.progress(self.progress)
        ports = self.enter(work.account, progress=progress, entering=self._entering)
        execution = ports.execution(workers=self.workers, max_failures=self.max_failures)
        work.tally = Tally(
            self.schema,
            total=work.total,
            progress=progress,
            output=self.output,
            pace=ports.pace,
            stop=execution.stop,
            cells=work.cells,
            more=self.more,
        )
        opened = OpenWork(
            work=work, ports=ports, execution=execution, tally=work.tally, lock=self._lock, denied=self._deny
        )
        self._open[:] = [*(open_work for open_work in self._open if open_work.work is not work), opened]
        if self._stop.is_set():  # an earlier stop did not include this account, which was not in `_open` yet
            self._stop_all()
        return opened

    def _stop_all(self) -> None:
        self._stop.set()
        self._entering.set()
        for opened in [*self._open]:
            opened.execution.stop.set()
            opened.ports.pace.stop()

    def _deny(self, work: AccountWork, caller: str) -> None:
        """Record that an account refused a write. For the first of several accounts, print what the role needs."""
        if work.alone:
            return
        if not self._denied:
            self.progress.alert(f"{work.account.label}: {caller} is not allowed to change MFA devices")
            self.progress.alert(f"  try: {CHECK_USERS if ENROLL_ROLE in caller else WRITES}")
        self._denied[work.account.id] = work.account

    def _report_denied(self) -> None:
        """If several accounts refused a write, print their names."""
        if len(self._denied) > 1:
            accounts = accounts_in_words([*self._denied.values()])
            self.progress.alert(f"denied: {accounts}: the role is not allowed to change MFA devices")

    def _unfinished(self) -> str:
        """Return a phrase that names the accounts whose work is in progress, or "" if there is none."""
        works = [opened.work for opened in [*self._open] if opened.work.left and not opened.work.error]
        works = [] if is_alone(works) else works
        return f"the users in progress in {labels([work.account for work in works])}" if works else ""

    def _break_off(self) -> None:
        for opened in [*self._open]:
            opened.ports.pace.break_off()
