"""Carries out the work of a rollout command in its accounts, until it is done or a signal arrives."""

import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from mfa_kit import wiring
from mfa_kit.cli.environment import command_line
from mfa_kit.cli.messages import counting
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.results import AccountWork, Schemas, Tally, is_alone, report_failed, show_results
from mfa_kit.cli.rollout.scheduling import AccountScheduler
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.core.errors import AccessDenied, IntegrityFault, MfaKitError, only_our_errors
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.message import Message
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.slots import AccountSlots
from mfa_kit.organization.wording import accounts_in_words, labels
from mfa_kit.policy.org_role import AUDIT_ROLE, ENROLL_ROLE
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.records import PlanRecords
from mfa_kit.rollout.row_status import look_up_devices, look_up_status


def look_up_counted(
    users: Sequence[str], ports: EnrollmentPorts, *, workers: int, progress: LiveProgress
) -> dict[str, tuple[str, ...]]:
    """Return the serials of each user's devices from IAM, by user name. Show how many users have been looked up.

    The value is () for a user who was deleted or has no device. Up to `workers` requests are in progress at a time.
    """
    with counting(progress, "looking up users", users, len(users)) as counted:
        return look_up_devices(counted, ports=ports, workers=workers)


def look_up_results(
    plan: Plan,
    records: PlanRecords,
    ports: "wiring.rollout.RolloutPorts",
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

    return look_up_status(
        plan,
        holders=ports.execution(workers=workers).list_holders(),
        look=look,
        failures=records.failures(),
        ports=ports.ports,
    )


@contextmanager
def name_next_command() -> Iterator[None]:
    """After a KeyboardInterrupt, add a note that says how to continue: by running the same command again."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(Message("to continue", command_line()))
        raise


# Hints for a role that is not allowed to change devices: name another role, or check which users the role may change.
WRITES = (
    f"use a role that may change devices: --role-name {ENROLL_ROLE}; {AUDIT_ROLE} may only read; "
    "docs/permissions.md lists the actions that a role needs"
)
CHECK_USERS = "check which users the role may change (parameter Users of the role's template); see docs/permissions.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """An account whose work has begun. All accounts share the `lock`, so results are processed one at a time.

    `denied` is called with the work and the name of the caller if IAM refuses a write.
    """

    work: AccountWork
    ports: "wiring.rollout.RolloutPorts"
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
    """Carries out the work of one command in all its accounts.

    `scheduler` says in which accounts to work next, and `enter` opens an account. `accounts` is the number of accounts
    to work in at the same time, and `workers` the number of threads in each account, not counting the threads that are
    added for encryption. Each account has its own threads and pace, so a slow account does not delay the others. `more`
    names further columns of the users' results.

    In one account, an error ends the work and is raised. In several, most errors end the work in one account only. If a
    file or the ledger cannot be written (IntegrityFault), or if a result cannot be printed, the work stops in all
    accounts.
    """

    schemas: Schemas
    works: Sequence[AccountWork]
    scheduler: AccountScheduler
    enter: "wiring.rollout.EnterAccount"
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
                    number = self.accounts or wiring.rollout.ACCOUNTS
                    for _ in AccountSlots(work_in, number=number, stopped=self._stop.is_set).work_through(todo):
                        pass
        finally:
            show_results(self.schemas, self.works, output=self.output, head=head())
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
            self.schemas.one if work.alone else self.schemas.users,
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
