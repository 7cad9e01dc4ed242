"""The ledger: the journal, the log of API calls, and the tables of the other modules of this package.

The ledger contains no secret. docs/formats.md describes the tables. Each run in progress has a lock. The lock is
released when the process of the run ends, even if the process is killed.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from mfa_kit.adapters.ledger.column_types import check_types
from mfa_kit.adapters.ledger.history import HISTORY, HISTORY_TYPES, SHARED_HISTORY, LogLine, happened
from mfa_kit.adapters.ledger.journal_rows import COLUMNS, entry_of, intent_json
from mfa_kit.adapters.ledger.tables import Database, RowChange, SqlRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import Call, Entry, HeldWork, Purpose, Reached

# The largest number of entries that are recorded in one transaction.
TOGETHER = 500
OPEN = "reached in ('intent', 'created', 'revoking')"
EVENT = """
    insert into events (at, operation, "user", serial, request_id, answer, file) values ($1, $2, $3, $4, $5, $6, $7)
"""


class Ledger:
    """The journal, which records how far each operation on a device has progressed, and the log of API calls.

    Methods may be called from any thread. They raise IntegrityFault if the database cannot be used. `clock` returns the
    Unix time of new rows.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger."""
        return self._database.shared

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the locks that this process holds, and close the database."""
        for run in self._database.left_held:
            self._release(run)
        self._database.close()

    def record(self, entry: Entry) -> Entry:
        """Record how far an entry has progressed, and return the entry once the record survives a power cut.

        Take the lock of the entry's run, if this process does not hold it yet.
        """
        self._record(entry.run, [entry])
        return entry

    def record_all(self, entries: Sequence[Entry]) -> None:
        """Record how far entries have progressed, and return once all records survive a power cut.

        Take the locks of their runs, as `record` does.
        """
        for run in dict.fromkeys(entry.run for entry in entries):
            of_run = [entry for entry in entries if entry.run == run]
            for start in range(0, len(of_run), TOGETHER):
                self._record(run, of_run[start : start + TOGETHER])

    def _record(self, run: str, entries: Sequence[Entry]) -> None:
        """Record entries of one run, all of them or none."""
        at = self._clock()
        rows = [
            (
                entry.run,
                entry.intent.serial,
                entry.purpose,
                entry.reached,
                intent_json(entry.intent),
                entry.backup,
                at,
                entry.since,
                int(entry.sealed),
            )
            for entry in entries
        ]
        self._database.hold(run, doing=f"is working on {entries[0].intent.serial} (run {run})")
        self._database.write((self._database.record, rows), run=run)

    def check(self) -> None:
        """End the process if it no longer holds the locks of its runs. Called before each write to IAM or a vault."""
        self._database.check()

    def dead(self, account: str, *, user: str | None = None) -> Iterator[Entry]:
        """Yield the unfinished journal entries of an account, without those of runs that a process is working on.

        With `user`, yield only the entries of this user. Until the caller asks for the next entry, this process holds
        the lock of the entry's run.
        """
        for entry in self._entries(OPEN):
            if entry.intent.account == account and user in {None, entry.intent.user}:
                with self._borrowed(entry.run) as free:
                    if free:
                        yield from self._entries(f"{OPEN} and run = $1 and serial = $2", entry.run, entry.intent.serial)

    def find(self, serial: str, *, run: str | None = None) -> Entry | None:
        """Return the journal entry of a run for the device with this serial, or None.

        If `run` is None, return the device's last entry whose state is neither undone nor revoked.
        """
        if run is not None:
            found = self._entries("serial = $1 and run = $2", serial, run)
        else:
            found = self._entries("serial = $1 and reached not in ('undone', 'revoked')", serial)
        return found[-1] if found else None

    def made(self, account: str) -> list[Entry]:
        """Return the last enrollment entry for each device of an account, without enrollments that were undone."""
        entries = self._entries(f"verb = '{Purpose.ENROLL}' and reached <> '{Reached.UNDONE}'")
        return list({each.intent.serial: each for each in entries if each.intent.account == account}.values())

    def entries(self, account: str) -> list[Entry]:
        """Return all journal entries of an account, oldest run first, including those of removed devices."""
        return [each for each in self._entries("true") if each.intent.account == account]

    def users_of_key(self, names: Collection[str | None]) -> list[str]:
        """Return the users whose devices are on a key, by name, in all accounts.

        `names` are the serial or label of the key, and the identity of its OATH applet. None stands for an unknown one.
        """
        intents = [each.intent for each in self._entries("reached not in ('intent', 'undone', 'revoked')")]
        return sorted({each.user for each in intents if {each.hardware, each.card} & {*names} - {None}})

    def recipients(self, account: str) -> dict[str, str]:
        """Return the latest recipient of each user's own copies of backups, by user name."""
        intents = [each.intent for each in self._entries(f"reached <> '{Reached.UNDONE}'")]
        return {each.user: each.recipient for each in intents if each.account == account and each.recipient}

    def recipients_by_user(self) -> dict[str, dict[str, str]]:
        """Return the recipients of the users' own copies of backups in all accounts.

        The result maps each user name to a mapping from the account to the latest recipient.
        """
        found: dict[str, dict[str, str]] = {}
        for entry in self._entries(f"reached <> '{Reached.UNDONE}'"):
            if entry.intent.recipient:
                found.setdefault(entry.intent.user, {})[entry.intent.account] = entry.intent.recipient
        return found

    def lives(self, run: str) -> bool:
        """Return whether a process (this one or another) holds a run's lock. Return True also if that is uncertain."""
        with self._borrowed(run) as free:
            return not free

    @contextmanager
    def _borrowed(self, run: str) -> Iterator[bool]:
        """Take a run's lock until the end of the context, and yield True.

        If a process (this one or another) holds the lock, or if that is uncertain, yield False instead.
        """
        if not self._database.try_to_hold(run):
            yield False
            return
        try:
            yield True
        finally:
            self._release(run)

    @contextmanager
    def claimed(self, work: str) -> Iterator[bool]:
        """Take the lock of a piece of work until the end of the context, and yield True.

        If a process (this one or another) holds the lock, or if that is uncertain, yield False instead. The lock is
        free as soon as that process ends, so another process can then continue the work. `work` is the name of the
        lock: it names an account's part of a rollout, or a reserved token (see `WORK` in core/models).
        """
        with self._borrowed(work) as free:
            yield free

    def workers(self, works: Sequence[str]) -> list[HeldWork]:
        """Return the process that holds the lock of each piece of work. Leave out pieces of work whose lock is free."""
        with self._database.faults():
            rows = [*map(check_types("text text text time"), self._database.workers(works))]
        return [HeldWork(work=work, computer=on, process=process, since=since) for work, on, process, since in rows]

    def end(self, run: str) -> None:
        """Release a run's lock if this process holds it, so that other processes can settle (complete or undo) the run.

        Afterward, no thread of this process may record an entry of the run.
        """
        if self._database.holds(run):
            self._release(run)

    def _release(self, run: str) -> None:
        """Release a run's lock, and tell the database whether the run is finished.

        A run whose journal entries cannot be read counts as unfinished.
        """

        def finished() -> bool:
            try:
                return not self._entries(f"{OPEN} and run = $1", run)
            except IntegrityFault:
                return False

        self._database.release(run, finished=finished)

    def called(self, *calls: Call) -> None:
        """Append API calls or decryptions of backups to the event log, all of them or none.

        During a run, a power cut can lose these rows until the next `record` for the run.
        """
        at = self._clock()
        rows = [(at, each.operation, each.user, each.serial, each.request_id, each.answer, each.file) for each in calls]
        self._database.log((EVENT, rows))

    def lightly(self) -> AbstractContextManager[None]:
        """Return a context in which many rows are written fast. Until the context ends, a power cut can lose them."""
        return self._database.lightly()

    def history(self, *, user: str | None = None, since: float = 0.0) -> list[LogLine]:
        """Return the API calls since a Unix time, and the states that runs reached with devices, oldest first.

        With `user`, return only the lines about this user.
        """
        sql = SHARED_HISTORY if self.shared else HISTORY
        return happened(self.select(sql, (since, user), types=HISTORY_TYPES))

    def select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Run a select statement for a module with its own tables in the ledger, and return the rows.

        `types` names the type of each column, as in `check_types`. Raise IntegrityFault if a value has another type, in
        a shared ledger only if this role wrote the row.
        """
        return self._database.read(sql, values, check_types(types))

    def write(self, *changes: RowChange) -> None:
        """Write rows, all of them or none. Each change is a statement with the values of its rows."""
        self._database.write(*changes)

    def write_in_run(self, *changes: RowChange) -> None:
        """Write rows, all of them or none.

        During a run, a power cut can lose these rows until the next `write`, or the next `record` for the run.
        """
        self._database.log(*changes)

    def _entries(self, where: str, *values: str) -> list[Entry]:
        return self._database.read(
            f"select {COLUMNS} from journal where {where} order by run",  # noqa: S608 - our own names
            values,
            entry_of,
        )
