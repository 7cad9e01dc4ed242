"""What apply, activate, undo and the station share: how they process many rows in threads, and the rows' results.

If one user cannot be processed, the error becomes that user's result, and the run continues with the other users. Only
a few errors end a run: AWS keeps throttling, or the credentials expire. Apply and undo also end if a file or the ledger
is damaged, or cannot be read or written, but not if S3 denies access to one backup.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mfa_kit.core.errors import (
    BackupDenied,
    Expired,
    IntegrityFault,
    Lockout,
    MfaKitError,
    Throttled,
    UsageFault,
    name_in_ledgers,
    notes_of,
    only_our_errors,
)
from mfa_kit.core.message import clauses
from mfa_kit.core.models import Device, DeviceSpec, JournalEntry, copies_of
from mfa_kit.core.stopping import take
from mfa_kit.enrollment.planning import devices_while_there
from mfa_kit.enrollment.settling import PAUSES, record_all_confirmed
from mfa_kit.rollout.plan import WORKERS
from mfa_kit.rollout.watching import Failure

if TYPE_CHECKING:
    from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts
    from mfa_kit.rollout.roster import RosterRow

T = TypeVar("T")
R = TypeVar("R")


class RowOutcome(StrEnum):
    """The final or current state of a row."""

    ENROLLED = "enrolled"
    STAGED = "staged"
    SKIPPED = "skipped"
    WAITING = "waiting"
    BLOCKED = "blocked"
    FAILED = "failed"
    REFUSED = "refused"
    REVOKED = "revoked"
    HALF_MADE = "half-made"
    NOT_STARTED = "not started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """The result of one row.

    `cause` is the name of the error's class, or "" without an error. `reason` explains the outcome, and may be "".
    `device` is the serial or ARN of the user's device, and `run` the ID of the run that made the device or failed; each
    is None if unknown. `user_backup` is the path or URL of the file that only the user can decrypt, and `admin_backup`
    the path or URL of the file for administrators; each is None if there is no such file. `backup` is one of these two,
    or None without a backup. `computer` is the computer on which the device was made or the row failed; None if the
    ledger is not shared or does not record the computer. `clock_offset` is how many seconds the phone's clock is ahead;
    None if no proof has shown this number. `earlier` means that an earlier run enabled the device. `common` is
    the reason in words that are true for other users too, or "". `name` is the name of a further device, or "".
    `old_left` means that the device works, and that the old device which it replaces is still there.
    """

    user: str
    outcome: RowOutcome
    cause: str = ""
    reason: str = ""
    device: str | None = None
    backup: str | None = None
    user_backup: str | None = None
    admin_backup: str | None = None
    run: str | None = None
    computer: str | None = None
    clock_offset: int | None = None
    earlier: bool = False
    common: str = ""
    name: str = ""
    old_left: bool = False

    @property
    def key(self) -> str:
        """What identifies the row in its plan, as RosterRow.key."""
        return f"{self.user}/{self.name}" if self.name else self.user

    def of_row(self, row: RosterRow) -> RowResult:
        """Return this result as the one of a row: with the name of the device if it is a further device."""
        return replace(self, name=row.name or "") if row.is_further else self

    @classmethod
    def of_error(cls, spec: DeviceSpec, error: MfaKitError, *, run: str | None = None) -> RowResult:
        """Return the result for an error: "refused" for a Lockout, otherwise "failed"."""
        reason = clauses([str(error), error.hint, *notes_of(error)])
        outcome = RowOutcome.REFUSED if isinstance(error, Lockout) else RowOutcome.FAILED
        return cls(user=spec.user, outcome=outcome, cause=name_in_ledgers(error), reason=reason, run=run)

    @classmethod
    def of_earlier(cls, entry: JournalEntry) -> RowResult:
        """Return the result of a row whose device an earlier run enabled."""
        return replace(cls.of_entry(entry, reason=f"by run {entry.run}"), earlier=True)

    @classmethod
    def of_entry(cls, entry: JournalEntry, outcome: RowOutcome = RowOutcome.ENROLLED, reason: str = "") -> RowResult:
        """Return the result of the row whose device has this journal entry."""
        copies = copies_of(entry)
        return cls(
            user=entry.spec.user,
            outcome=outcome,
            reason=reason,
            device=entry.spec.serial,
            backup=entry.backup,
            user_backup=copies.user,
            admin_backup=copies.admin,
            run=entry.run,
        )

    @classmethod
    def of_failure(cls, failure: Failure) -> RowResult:
        """Return the result of a row that failed, as the ledger recorded it."""
        user, _, name = failure.key.partition("/")
        return cls(user=user, name=name, outcome=RowOutcome.FAILED, cause=failure.cause, reason=failure.reason)

    @property
    def failure(self) -> Failure:
        """The cause and reason of a failed row, for the ledger."""
        return Failure(key=self.key, cause=self.cause, reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserResult:
    """The result of one user of a plan, in the schema mfa-kit/rollout-apply."""

    user: str
    outcome: str
    cause: str | None
    reason: str | None
    device: str | None
    backup: str | None
    user_backup: str | None
    admin_backup: str | None
    run: str | None
    name: str | None


COLUMNS = tuple(column.name for column in fields(UserResult))
FAULTY = {RowOutcome.FAILED, RowOutcome.BLOCKED}
TO_RETRY = {*FAULTY, RowOutcome.REFUSED, RowOutcome.HALF_MADE}


def user_result(result: RowResult) -> UserResult:
    """Return a result for output. Fields that are empty are None."""
    cells: dict[str, Any] = {name: getattr(result, name) or None for name in COLUMNS}
    return UserResult(**cells)


@dataclass(slots=True, kw_only=True)
class Workers(Generic[T, R]):
    """Calls `act` for each row in `number` threads. After `stop` is set, no further row is started."""

    act: Callable[[T], R]
    number: int
    stop: threading.Event

    def work_through(self, rows: Iterable[T]) -> Iterator[R]:
        """Yield the result of each row when it is ready. When all threads have ended, raise the first error of `act`.

        Each thread takes the next row from `rows` when it is free. After an error of `act`, no further row is started.
        """
        todo, taking = zip(rows), threading.Lock()
        done = SimpleQueue[tuple[R] | None]()  # a worker puts None when it ends
        errors: list[BaseException] = []

        def take_row() -> tuple[T] | None:
            with taking:
                return None if self.stop.is_set() else next(todo, None)

        def work() -> None:
            try:
                while (row := take_row()) is not None:
                    done.put((self.act(*row),))
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the results
                self.stop.set()
                errors.append(error)
            finally:
                done.put(None)

        threads = [threading.Thread(target=work, name=f"worker_{number}") for number in range(self.number)]
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                yield from (result for (result,) in iter(lambda: take(done), None))
        finally:
            self.stop.set()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()
        if errors:
            raise errors[0]


# The errors that end apply, undo and the station. The next run finishes or removes the half-made devices.
FATAL = (IntegrityFault, Throttled, Expired)


def ends_rollout(error: MfaKitError, fatal: tuple[type[MfaKitError], ...] = FATAL) -> bool:
    """Return whether an error is in `fatal`. A denied backup concerns only one row, although it is in FATAL."""
    return isinstance(error, fatal) and not isinstance(error, BackupDenied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a rollout processes its users: with `workers` threads, until `stop` is set.

    `virtual` lists all virtual devices of the account, page by page. `backend` returns a new DeviceBackend for one
    device. `apply` stops when more than `max_failures` users have failed; None means no limit. `holders` is the result
    of the last call of `list_holders`.
    """

    virtual: Callable[[], Iterable[Device]]
    backend: Callable[[], DeviceBackend]
    stop: threading.Event
    workers: int = WORKERS
    max_failures: int | None = None
    holders: dict[str, str | None] = field(default_factory=dict)

    def list_holders(self) -> dict[str, str | None]:
        """Return a mapping from the serial of each virtual device to its user's name; None for an unassigned device."""
        holders = {device.serial: device.user for device in self.virtual()}
        self.holders.clear()
        self.holders.update(holders)
        return holders

    def process(self, rows: Iterable[T], act: Callable[[T], RowResult]) -> Iterator[RowResult]:
        """Call `act` with each row, and yield each result when it is ready, as `Workers` does."""
        return Workers(act=act, number=self.workers, stop=self.stop).work_through(rows)

    def process_devices(
        self,
        entries: Iterable[JournalEntry],
        act: Callable[[JournalEntry], RowResult],
        *,
        fatal: tuple[type[MfaKitError], ...] = FATAL,
    ) -> Iterator[RowResult]:
        """Call `act` with each device, and yield each result when it is ready, as `run_row` does."""
        return self.process(entries, lambda entry: run_row(entry.spec, lambda: act(entry), run=entry.run, fatal=fatal))


def run_row(
    spec: DeviceSpec,
    act: Callable[[], RowResult],
    *,
    run: str | None,
    fatal: tuple[type[MfaKitError], ...] = FATAL,
) -> RowResult:
    """Return the result of `act` for a row. If `act` raises an exception, return a failure.

    An error that concerns one row, even a bug, therefore does not end the rollout. Only errors in `fatal` are raised.
    """
    try:
        with only_our_errors():
            return act()
    except MfaKitError as error:
        if ends_rollout(error, fatal):
            raise
        return RowResult.of_error(spec, error, run=run)


def confirm_devices(
    enabled: Sequence[JournalEntry], *, ports: EnrollmentPorts, execution: Execution
) -> list[JournalEntry]:
    """Wait up to 30 s until IAM lists each of these enabled devices for its user.

    Record the listed devices as confirmed, print a warning for each of the others, and return the others. IAM's list of
    all virtual devices is used, because it takes fewer calls than a list for each user.
    """
    unlisted = list(enabled)
    for pause in (*PAUSES, None):
        if not unlisted:
            return []
        holders = execution.list_holders()
        listed = [entry for entry in unlisted if holders.get(entry.spec.serial) == entry.spec.user]
        record_all_confirmed(listed, ports=ports)
        unlisted = [entry for entry in unlisted if holders.get(entry.spec.serial) != entry.spec.user]
        if unlisted and pause is not None:
            ports.sleep(pause)
    for entry in unlisted:
        ports.progress.alert(f"warning: {entry.spec.serial} is enabled, but IAM does not list it yet")
    return unlisted


def take_over_runs(entries: Sequence[JournalEntry], *, ports: EnrollmentPorts) -> None:
    """Lock the runs that made these devices, so that only this process can change the devices.

    Raise UsageFault if one of the runs is still in progress.
    """
    for run in {entry.run for entry in entries}:
        if ports.journal.lives(run):
            raise UsageFault(
                f"run {run} is still in progress", "wait until it ends, or stop it; then run this command again"
            )
        # Recording an entry takes the lock of its run, even if the entry has not changed.
        ports.journal.record(next(entry for entry in entries if entry.run == run))


def devices_left(user: str, *, ports: EnrollmentPorts, own: str | None = None) -> Sequence[Device] | None:
    """Return the devices of a user, or None if the user does not exist any more.

    Devices that a run has removed, or began to remove, are left out, except the one with the serial `own`. IAM's list
    may still have them.
    """
    devices = devices_while_there(user, iam_reader=ports.iam_reader)
    return devices and [device for device in devices if device.serial == own or not ports.journal.is_leaving(device)]
