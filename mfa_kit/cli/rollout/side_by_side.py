"""Works in several accounts at the same time.

Each account has its own threads and pace, so a slow account does not delay the others.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.account_progress import AccountProgress
from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.cli.rollout.tally import Tally
from mfa_kit.cli.rollout.turns import AccountScheduler
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.core.errors import AccessDenied, IntegrityFault, MfaKitError, only_our_errors
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.stopping import Stop
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.selecting import labels
from mfa_kit.organization.slots import AccountSlots
from mfa_kit.organization.wording import accounts_in_words
from mfa_kit.policy.org_role import AUDIT_ROLE, ENROLL_ROLE
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowResult

# Hints for a role that is not allowed to change devices: name another role, or check which users the role may change.
WRITES = (
    f"use a role that may change devices: --role-name {ENROLL_ROLE}; {AUDIT_ROLE} may only read; "
    "docs/permissions.md lists the actions that a role needs"
)
CHECK_USERS = "check which users the role may change (parameter Users of the role's template); see docs/permissions.md"


class EnterAccount(Protocol):
    """Opens an account, as `AccountRollouts.enter` does. A rollout reads and writes through the account's ports."""

    def __call__(
        self, account: OrgAccount, *, progress: AccountProgress, entering: Stop
    ) -> "wiring.rollout.RolloutPorts":
        """Return the ports of an account. Raise KeyboardInterrupt once another thread calls `entering.set()`."""
        ...


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
class SideBySide:
    """The work of one command in all its accounts. `schema` is the schema of a user's result.

    `turns` says in which accounts to work next, and `enter` opens an account. `accounts` is the number of accounts to
    work in at the same time, and `workers` the number of threads in each account, not counting the threads that are
    added for encryption.

    Most errors end the work in one account only. If a file or the ledger cannot be written (IntegrityFault), or if a
    result cannot be printed, the work stops in all accounts.
    """

    schema: str
    works: Sequence[AccountWork]
    turns: AccountScheduler
    enter: EnterAccount
    accounts: int
    workers: int
    progress: LiveProgress
    output: Output
    max_failures: int | None = None
    began: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _entering: Stop = field(default_factory=Stop)
    _open: list[OpenWork] = field(default_factory=list)
    _denied: dict[str, OrgAccount] = field(default_factory=dict)

    def do(self, act: Callable[[OpenWork], None]) -> bool:
        """Open each account, and call `act` with it. Return whether Ctrl-C or SIGTERM requested a stop.

        A second signal raises KeyboardInterrupt.
        """
        todo = self.turns.todo(self._stop.is_set)

        def work_in(work: AccountWork) -> None:
            try:
                try:
                    self._work_in(work, act)
                finally:
                    self.turns.leave(work)
            except BaseException:
                # After an error in `leave`, the account counts as in progress forever. Without this stop, `todo` would
                # wait for it, and the error would never be reported.
                self._stop_all()
                raise

        with (
            self.progress.showing(self.line),
            stop_on_signals(self._stop, self._stop_all, break_off=self._break_off, waits_for=self._unfinished) as asked,
        ):
            for _ in AccountSlots(work_in, number=self.accounts, stopped=self._stop.is_set).work_through(todo):
                pass
        return asked.is_set()

    def line(self) -> str:
        """Return the status line: the users and accounts that are done, the failures, and the rate."""
        tallies = [work.tally for work in self.works if work.tally]
        rate = sum(tally.made for tally in tallies) / max(time.monotonic() - self.began, 0.001)
        users, users_left = sum(work.total for work in self.works), sum(work.left for work in self.works)
        accounts = sum(not work.left or bool(work.error) for work in self.works)
        failed = sum(tally.failed for tally in tallies)
        waits = f", waiting for other workers in {self.turns.waits_for}" if self.turns.waits_for else ""
        return (
            f"{users - users_left} of {users} users, {accounts} of {len(self.works)} accounts, {failed} failed, "
            f"{rate:.1f} users/s{waits}"
        )

    def _work_in(self, work: AccountWork, act: Callable[[OpenWork], None]) -> None:
        progress = AccountProgress(progress=self.progress, id=work.account.id, label=work.account.label)
        try:
            with only_our_errors(), self.turns.turn(work) as ours:
                if ours:
                    act(self._enter(work, progress))
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

    def _enter(self, work: AccountWork, progress: AccountProgress) -> OpenWork:
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
        """Record that an account refused a write. For the first such account, print what the role needs."""
        if not self._denied:
            self.progress.alert(f"{work.account.label}: {caller} is not allowed to change MFA devices")
            self.progress.alert(f"  try: {CHECK_USERS if ENROLL_ROLE in caller else WRITES}")
        self._denied[work.account.id] = work.account

    def report_denied(self) -> None:
        """If several accounts refused a write, print their names."""
        if len(self._denied) > 1:
            accounts = accounts_in_words([*self._denied.values()])
            self.progress.alert(f"denied: {accounts}: the role is not allowed to change MFA devices")

    def _unfinished(self) -> str:
        """Return a phrase that names the accounts whose work is in progress, or "" if there is none."""
        works = [opened.work for opened in [*self._open] if opened.work.left and not opened.work.error]
        return f"the users in progress in {labels([work.account for work in works])}" if works else ""

    def _break_off(self) -> None:
        for opened in [*self._open]:
            opened.ports.pace.break_off()
