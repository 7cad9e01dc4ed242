"""The ledger of this computer, a SQLite file with the journal, the log of API calls, and tables of tokens.

It contains no secret. docs/formats.md describes the tables. A run holds a file lock until its process ends, even if the
process is killed.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Self

from mfa_kit.adapters.ledger.column_types import check_types
from mfa_kit.adapters.ledger.commits import Change, Commits
from mfa_kit.adapters.ledger.history import HISTORY, HISTORY_TYPES, happened
from mfa_kit.adapters.ledger.integrity import check_owner
from mfa_kit.adapters.ledger.journal_rows import COLUMNS, entry_of, intent_json
from mfa_kit.adapters.ledger.migrations import MIGRATIONS
from mfa_kit.adapters.ledger.run_locks import MIGRATION, RunLocks
from mfa_kit.adapters.ledger.tables import SqlRow
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Call, Entry, LogLine, Purpose, Reached

OPEN = "reached in ('intent', 'created', 'revoking')"
EVENT = "insert into events (at, operation, user, serial, request_id, answer, file) values (?, ?, ?, ?, ?, ?, ?)"
RECORD = """
    insert into journal (run, serial, verb, reached, intent, backup, at, since, sealed)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?)
    on conflict (run, serial) do update set verb = excluded.verb, reached = excluded.reached, at = excluded.at,
        since = excluded.since, sealed = excluded.sealed, backup = coalesce(excluded.backup, journal.backup)
"""
# Seconds to wait for another process that is writing or holds a run's lock (WAIT), or that migrates the file
# (PATIENCE).
WAIT, PATIENCE = 10.0, 60.0


class Ledger:
    """The Journal and the log of calls. Methods may be called from any thread.

    Every method raises IntegrityFault if the file cannot be used.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._path, runs = folder / "ledger.sqlite", folder / "runs"
        self._locks = RunLocks(runs)
        self._light = False
        with self._faults():
            for missing in reversed([each for each in (runs, *runs.parents) if not each.exists()]):
                missing.mkdir(mode=0o700, exist_ok=True)
            # SQLite gives its auxiliary files the same mode as the database, so create the database first, with mode
            # 0600.
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                check_owner(self._path, os.fstat(file))
            finally:
                os.close(file)
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=WAIT, check_same_thread=False)
            self._commits = Commits(self._db, self._lock)
            try:
                self._migrate()
            except BaseException:
                # Close the database on any exception, including Ctrl-C, because the caller has no reference to it yet.
                self._db.close()
                raise

    def _migrate(self) -> None:
        self._db.execute("pragma synchronous = full")
        if self._version() < len(MIGRATIONS):
            # SQLite does not wait for another process that is switching to WAL, so processes that open the ledger at
            # the same time take turns.
            lock = self._locks.wait_for(MIGRATION, wait=PATIENCE, doing="is bringing the ledger up to date")
            try:
                self._db.execute("pragma journal_mode = wal")
                for number in range(self._version(), len(MIGRATIONS)):
                    self._db.executescript(
                        f"begin immediate; {MIGRATIONS[number]} pragma user_version = {number + 1}; commit"
                    )
            finally:
                os.close(lock)
        if self._version() > len(MIGRATIONS):
            raise IntegrityFault(
                f"{self._path} was written by a newer mfa-kit", "upgrade this one: pip install -U mfa-kit"
            )

    def _version(self) -> int:
        return int(self._db.execute("pragma user_version").fetchone()[0])

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Convert errors of SQLite and the disk to IntegrityFault."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = f"end other mfa-kit runs, and check the free space and the permissions of {self._path.parent}"
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {error}", hint) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            aside = f"mv {quote(str(self._path))} {quote(f'{self._path}.broken')}"
            hint = f"move the file away, because IAM still knows every device: {aside}"
            raise IntegrityFault(f"the ledger {self._path} is damaged: {error}", hint) from None
        except OSError as error:
            hint = "check the permissions and the free space, or set MFA_KIT_HOME to another folder"
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {error.strerror}", hint) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the locks of all runs, as happens when the process ends, and close the database."""
        for run in self._locks.held:
            self._release(run)
        self._db.close()

    def record(self, entry: Entry) -> Entry:
        """Record how far an entry has progressed, and return the entry once the record is synced to disk.

        The first entry of a run takes the run's lock.
        """
        values = (
            entry.run,
            entry.intent.serial,
            entry.purpose,
            entry.reached,
            intent_json(entry.intent),
            entry.backup,
            self._clock(),
            entry.since,
            entry.sealed,
        )
        with self._faults(), self._lock:
            self._locks.hold(entry.run, wait=WAIT, doing=f"is working on {entry.intent.serial} (run {entry.run})")
        self._write((RECORD, [values]), light=False)
        return entry

    def dead(self, account: str, *, user: str | None = None) -> Iterator[Entry]:
        """Yield the unfinished entries of an account whose runs' processes have ended.

        Until the caller asks for the next entry, this process holds the lock of the entry's run.
        """
        with self._faults():
            entries = self._entries(OPEN)
        for entry in entries:
            if entry.intent.account == account and user in {None, entry.intent.user}:
                with self._faults(), self._borrowed(entry.run) as free:
                    if free:
                        yield from self._entries(f"{OPEN} and run = ? and serial = ?", entry.run, entry.intent.serial)

    def find(self, serial: str, *, run: str | None = None) -> Entry | None:
        """Return a run's entry for a device, or None.

        Without a run, return the last entry for the device that is not undone or revoked.
        """
        with self._faults():
            if run is not None:
                found = self._entries("serial = ? and run = ?", serial, run)
            else:
                found = self._entries("serial = ? and reached not in ('undone', 'revoked')", serial)
        return found[-1] if found else None

    def made(self, account: str) -> list[Entry]:
        """Return the last entry for each device that this computer created or is creating for an account's users."""
        with self._faults():
            entries = self._entries(f"verb = '{Purpose.ENROLL}' and reached <> '{Reached.UNDONE}'")
        return list({each.intent.serial: each for each in entries if each.intent.account == account}.values())

    def recipients(self, account: str) -> dict[str, str]:
        """Return the recipient of each user's own copy, by user name. If it changed, the latest is returned."""
        with self._faults():
            intents = [each.intent for each in self._entries(f"reached <> '{Reached.UNDONE}'")]
        return {each.user: each.recipient for each in intents if each.account == account and each.recipient}

    def lives(self, run: str) -> bool:
        """Return whether a process holds a run's lock."""
        with self._faults(), self._borrowed(run) as free:
            return not free

    @contextmanager
    def _borrowed(self, run: str) -> Iterator[bool]:
        """Yield whether this process could take a run's lock, and hold the lock until the end of the context.

        False means that the run's process is alive.
        """
        if not self._locks.try_to_hold(run):
            yield False
            return
        try:
            yield True
        finally:
            self._release(run)

    def _release(self, run: str) -> None:
        """Release a run's lock. If no entry of the run is unfinished, also remove the lock's file."""
        with suppress(sqlite3.Error, OSError):
            if not self._entries(f"{OPEN} and run = ?", run):
                self._locks.forget(run)
        self._locks.release(run)

    def called(self, *calls: Call) -> None:
        """Append API calls or decryptions of backups to the event log, all of them or none.

        During a run this does not wait for the disk. The next record of the run's progress waits for the disk, and then
        these rows are on disk too.
        """
        at = self._clock()
        self._write(
            (
                EVENT,
                [
                    (at, call.operation, call.user, call.serial, call.request_id, call.answer, call.file)
                    for call in calls
                ],
            ),
            light=self._light or bool(self._locks.held),
        )

    @contextmanager
    def lightly(self) -> Iterator[None]:
        """Write many rows without waiting for the disk each time.

        Each row is safe from the end of this process as soon as it is written. It is safe from a power cut only after
        the context ends.
        """
        with self._faults(), self._lock:
            self._light = True
        try:
            yield
        finally:
            self._light = False
            with self._faults(), self._lock:
                self._db.execute("pragma wal_checkpoint(passive)").fetchall()

    def history(self, *, user: str | None = None, since: float = 0.0) -> list[LogLine]:
        """Return the calls, ends of runs, and unfinished operations since a Unix time, oldest first."""
        with self._faults(), self._lock:
            rows = self._db.execute(HISTORY, {"user": user, "since": since}).fetchall()
            check_types(rows, HISTORY_TYPES)
        return happened(rows)

    def select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Run a select statement for a module with its own tables in the ledger, and return the rows.

        `types` names the type of each column. Raise IntegrityFault if a value has another type.
        """
        with self._faults(), self._lock:
            rows = self._db.execute(sql, values).fetchall()
            check_types(rows, types)
        return rows

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Write rows, all of them or none. Each change is a statement with the values of its rows."""
        self._write(*changes, light=self._light)

    def _write(self, *changes: tuple[str, Iterable[Sequence[object]]], light: bool) -> None:
        change = Change([(sql, list(rows)) for sql, rows in changes], light=light)
        with self._faults():
            self._commits.write(change)

    def _entries(self, where: str, *values: str) -> list[Entry]:
        sql = f"select {COLUMNS} from journal where {where} order by run"  # noqa: S608 - our own columns
        with self._lock:
            rows = self._db.execute(sql, values).fetchall()
        try:
            return [entry_of(row) for row in rows]
        except (KeyError, TypeError, ValueError, UsageFault):
            raise sqlite3.DatabaseError("a row of the journal was changed or damaged") from None
