"""Carry out a plan: enroll its users, and write their results. After an interruption, the same call continues.

A PlanRun is one run of a plan: its records in the ledger, its results, and the files of results.
"""

import json
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

from mfa_kit.core.device_records import NO_RECORDS, RecordedRun, RunRecords
from mfa_kit.core.errors import (
    AlreadyExists,
    AwsFault,
    BackupDenied,
    IntegrityFault,
    Lockout,
    MfaKitError,
    UsageFault,
    name_in_ledgers,
)
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState
from mfa_kit.core.text import VERSION, count_of, few
from mfa_kit.enrollment.making import create_and_enable, stage_device
from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts
from mfa_kit.enrollment.settling import is_listed, settle_each
from mfa_kit.rollout.execution import (
    COLUMNS,
    TO_RETRY,
    Execution,
    RowOutcome,
    RowResult,
    confirm_devices,
    run_row,
    user_result,
)
from mfa_kit.rollout.plan import Plan, PlanStep, devices_by_user
from mfa_kit.rollout.proven_devices import REMOVE_UNPROVEN, prove_devices, record_adopted
from mfa_kit.rollout.records import PlanRecords
from mfa_kit.rollout.roster import join_pairs, roster_table
from mfa_kit.rollout.row_status import entries_by_serial, join_serials, known_hardware, result_without_work
from mfa_kit.rollout.watching import Failure


def check_copies(
    without_copy: Sequence[str], shut_out: Sequence[str], *, staged: bool, accept_lockout: bool, sealed: bool
) -> None:
    """Raise an error if devices must not be made because backups or copies of secrets would be missing.

    `without_copy` are the users who would get no copy of their secret, and `shut_out` those of them who have no other
    device. `sealed` means that every backup is also encrypted to a recipient other than the device's user. If `sealed`
    is false, raise UsageFault in two cases: devices are to be staged, but only their users could decrypt the backups
    from which they are enabled later; or there are users in `without_copy`, whose backups no one could decrypt. Raise
    Lockout if there are users in `shut_out`, unless the devices are to be staged or `accept_lockout` is true.
    """
    if staged and not sealed:
        raise UsageFault(
            "a staged device is enabled later from its backup, which only the user could decrypt",
            "add a recipient for all backups: -r age1… or -R FILE",
        )
    if without_copy and not sealed:
        raise UsageFault(
            f"no one could open the backups of {count_of(len(without_copy), 'user')}: {few(without_copy)}",
            "add their public keys to the roster, or a recipient for all backups: -r age1… or -R FILE",
        )
    if shut_out and not (staged or accept_lockout):
        raise Lockout(
            f"{count_of(len(shut_out), 'user')} would be locked out at the next sign-in, because they have no copy of "
            f"their secret: {few(shut_out)}",
            "add their public keys to the roster, use --stage now and activate later, or use --accept-lockout",
        )


def check_backup_folder(store: BackupStore, steps: Sequence[PlanStep]) -> None:
    """Raise UsageFault if backups cannot be written. Without recipients there are no backups, so nothing is checked."""
    if store.recipients() or any(step.row.recipient for step in steps):
        store.check()


def apply_plan(
    plan: Plan,
    *,
    ports: EnrollmentPorts,
    run: str,
    execution: Execution,
    staged: bool = False,
    record: RunRecords = NO_RECORDS,
    lost_runs: Sequence[RecordedRun] = (),
    begin: Callable[[], None] = lambda: None,
) -> Generator[RowResult, None, None]:
    """Settle interrupted runs, then make the plan's devices for users who do not have one yet.

    Yield one result for each user of the plan, also for users for whom no device is made. If `staged` is true, the
    devices are created, but not enabled. Devices in `record`, the records of runs, that the ledger lacks are first
    written into the ledger. `lost_runs` are the recorded runs that the ledger lacks.
    `begin` is called before the first device is created, unless there is none to create. After an interruption, a
    second call continues with the remaining users. At the end, the enabled devices are looked up in IAM's list of
    virtual devices. A warning is printed for each device that is not in the list.
    """
    if lost_runs or record.lacking_in(plan.account, ports.journal.recorded_devices):
        _adopt(plan, record, ports=ports, execution=execution)
    unsettled = _settle_dead_runs(plan, ports=ports)
    # Read the journal after IAM's list, so that it has an entry for each listed device of this computer.
    holders = execution.list_holders()
    ours = entries_by_serial(plan.account, ports=ports)
    has = join_serials(devices_by_user(holders), known_hardware(ours.values()))
    making = _Making(plan=plan, ports=ports, run=run, execution=execution, staged=staged)
    making.enabled += _unconfirmed(ours.values(), ports=ports)
    todo: list[PlanStep] = []
    for step in plan.steps:
        try:
            result = result_without_work(step, plan, has.get(step.user, ()), ours, ports=ports)
        except BackupDenied as denied:
            result = RowResult.of_error(plan.intent_of(step.row), denied, run=run).of_row(step.row)
        if result is None:
            todo.append(step)
        else:
            yield result
    if todo:
        begin()
    try:
        yield from execution.process(todo, making.make)
    finally:
        for note in _settle_dead_runs(plan, ports=ports) if unsettled else ():
            ports.progress.alert(note)
        confirm_devices(making.enabled, ports=ports, execution=execution)


def _adopt(plan: Plan, record: RunRecords, *, ports: EnrollmentPorts, execution: Execution) -> None:
    """Write what the record proves, but the ledger lacks, into the ledger.

    A run can be killed after it created a device, and before it recorded the device. The device's tags then name a
    recorded run that is not in progress, so the device is settled like any other half-made device. A device whose line
    is refused is left alone: its backup may only be out of reach.
    """
    proven = prove_devices(plan.account, holders=execution.list_holders(), record=record, ports=ports)
    entries = proven.settled
    for spec in (plan.intent_of(step.row) for step in plan.steps):
        if spec.serial in proven.unassigned and spec.serial not in proven.refused:
            run = ports.iam_reader.run_of(spec.serial)
            if isinstance(run, str) and run in record.runs and not record.runs[run].in_progress:
                entries.append(JournalEntry(run=run, spec=spec, reached=JournalState.CREATED))
    record_adopted(entries, journal=ports.journal)


def _settle_dead_runs(plan: Plan, *, ports: EnrollmentPorts) -> list[str]:
    """Settle interrupted runs. Return a message for each device for which this failed; [] if none.

    A device cannot be settled while a CreateVirtualMFADevice request without a response may still take effect. After
    this run has created the user's device of the same name, the request can no longer take effect. `apply_plan`
    therefore settles again at the end.
    """
    return [
        clauses([f"run {entry.run} was neither finished nor undone: {ended}", ended.hint])
        for entry, ended in settle_each(plan.account, None, ports=ports, leave_assigned=True)
        if isinstance(ended, MfaKitError)
    ]


def _unconfirmed(entries: Iterable[JournalEntry], *, ports: EnrollmentPorts) -> list[JournalEntry]:
    """Return the entries of devices that earlier runs enabled, but then did not find in IAM's list.

    Leave out the devices of runs that are still in progress, because these runs look for their devices themselves.
    """
    enabled = [entry for entry in entries if entry.reached is JournalState.ENABLED]
    living = {run for run in {entry.run for entry in enabled} if ports.journal.lives(run)}
    return [entry for entry in enabled if entry.run not in living]


@dataclass(slots=True, kw_only=True)
class _Making:
    """Makes the devices of one run. All worker threads share this object.

    `enabled` has the entries of enabled devices that are still to be looked up in IAM's list. `failed` has the names of
    the users whose row failed.
    """

    plan: Plan
    ports: EnrollmentPorts
    run: str
    execution: Execution
    staged: bool
    enabled: list[JournalEntry] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def make(self, step: PlanStep) -> RowResult:
        """Make the device of a step, and return the result. Set `stop` if more than `max_failures` users failed."""
        spec = self.plan.intent_of(step.row, staged=self.staged)
        result = run_row(spec, lambda: self._make_device(spec), run=self.run).of_row(step.row)
        if result.outcome is RowOutcome.FAILED:
            self.failed.append(result.user)
        most, stop, failed = self.execution.max_failures, self.execution.stop, len(self.failed)
        if most is not None and failed > most and not stop.is_set():
            stop.set()
            self.ports.progress.alert(f"{failed} users failed, more than --max-failures {most}: stopping")
        return result

    def _make_device(self, spec: DeviceSpec) -> RowResult:
        """Make one device, and return the result."""
        ports, run, backend = self.ports, self.run, self.execution.backend()
        try:
            if spec.staged:
                return RowResult.of_entry(stage_device(spec, backend, ports=ports, run=run), RowOutcome.STAGED)
            entry = create_and_enable(spec, backend, ports=ports, run=run)
            self.enabled.append(ports.journal.record(entry.at(JournalState.ENABLED)))
            return RowResult.of_entry(entry)
        except AlreadyExists as error:
            if self._is_enrolled(spec):
                return self._result_of_other(spec)
            if ports.journal.find(spec.serial) is None:
                raise AlreadyExists(str(error), REMOVE_UNPROVEN) from None
            raise
        finally:
            backend.remove(JournalEntry(run=run, spec=spec))

    def _is_enrolled(self, spec: DeviceSpec) -> bool:
        """Return whether IAM lists a device for its user. Return False if IAM cannot be asked."""
        with suppress(AwsFault):
            return is_listed(spec, ports=self.ports)
        return False

    def _result_of_other(self, spec: DeviceSpec) -> RowResult:
        """Return the result for a user whom another process enrolled.

        If this computer's journal has the device, the result names the backup.
        """
        entry = entries_by_serial(spec.account, ports=self.ports).get(spec.serial)
        if entry and entry.run != self.run:
            reason = "enrolled by another run in the meantime"
            return RowResult.of_entry(entry, RowOutcome.SKIPPED, reason)
        reason = "enrolled by another computer in the meantime; this computer has no backup"
        return RowResult(user=spec.user, outcome=RowOutcome.SKIPPED, reason=reason, device=spec.serial)


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
        lost = record.lost_runs(self.records.digest, self.records.runs_of_all_plans)
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
