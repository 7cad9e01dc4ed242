"""The ledger of one computer: a SQLite file, and a file lock for each run.

The lock of a run is released when the run's process ends, even if the process is killed.
"""

import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from shlex import quote

from mfa_kit.adapters.ledger.commits import Change, Commits
from mfa_kit.adapters.ledger.integrity import check_owner
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.migrations import MIGRATIONS
from mfa_kit.adapters.ledger.run_locks import MIGRATION, RunLocks
from mfa_kit.adapters.ledger.tables import DamagedRow, RowChange, SqlRow, T
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.posix.open_files import NO_LINK

# How many seconds to wait for another process: one that is writing or holds a run's lock (WAIT), or one that migrates
# the ledger's file (PATIENCE).
WAIT, PATIENCE = 10.0, 60.0


def sqlite_ledger(folder: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
    """Open the ledger in a folder of this computer, and create it if there is none.

    `clock` returns the Unix time of new rows. Raise IntegrityFault if the ledger cannot be used.
    """
    return Ledger(SqliteDatabase(folder), clock=clock)


@cache
def _numbered(sql: str) -> str:
    """Return a statement with each parameter `$1` written as `?1`, because SQLite treats `$1` as a named parameter."""
    return re.sub(r"\$(\d)", r"?\1", sql)


class SqliteDatabase:
    """Implements Database with a SQLite file. Creates a missing file, and migrates the file of an older mfa-kit."""

    shared = False
    record = """
        insert into journal (run, serial, verb, reached, intent, backup, at, since, sealed)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (run, serial) do update set verb = excluded.verb, reached = excluded.reached, at = excluded.at,
            since = excluded.since, sealed = excluded.sealed, backup = coalesce(excluded.backup, journal.backup)
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._path, runs = folder / "ledger.sqlite", folder / "runs"
        self._locks = RunLocks(runs)
        self._light = False
        with self.faults():
            for missing in reversed([each for each in (runs, *runs.parents) if not each.exists()]):
                missing.mkdir(mode=0o700, exist_ok=True)
            # Create the database with mode 0600 before SQLite opens it, because SQLite gives its auxiliary files the
            # same mode.
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | NO_LINK, 0o600)
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
                f"{self._path} was written by a newer version of mfa-kit", "upgrade mfa-kit the way you installed it"
            )

    def _version(self) -> int:
        return int(self._db.execute("pragma user_version").fetchone()[0])

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Convert errors of SQLite and the disk, and DamagedRow, to IntegrityFault."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = f"end other mfa-kit runs, and check the free space and the permissions of {self._path.parent}"
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {error}", hint) from None
        except (sqlite3.DatabaseError, DamagedRow, UnicodeDecodeError) as error:
            aside = f"mv {quote(str(self._path))} {quote(f'{self._path}.broken')}"
            hint = f"devices in IAM are not affected; move the file away: {aside}"
            raise IntegrityFault(f"the ledger {self._path} is damaged: {error}", hint) from None
        except OSError as error:
            hint = "check the permissions and the free space, or set MFA_KIT_HOME to another folder"
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {error.strerror}", hint) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def select(self, sql: str, values: Sequence[object] = ()) -> list[SqlRow]:
        """Run a select statement and return the rows."""
        with self.faults(), self._lock:
            return self._db.execute(_numbered(sql), values).fetchall()

    def read(self, sql: str, values: Sequence[object], convert: Callable[[SqlRow], T]) -> list[T]:
        """Run a select statement and return the converted rows. Raise IntegrityFault for a damaged row."""
        with self.faults():
            return [convert(row) for row in self.select(sql, values)]

    def write(self, *changes: RowChange, run: str | None = None) -> None:
        """Write rows, all of them or none. Return once they are synced to disk.

        Within `lightly`, only rows of a run are synced.
        """
        self._write(*changes, light=self._light and run is None)

    def log(self, *changes: RowChange) -> None:
        """Write rows, all of them or none.

        While this process holds the lock of a run, and within `lightly`, return before the rows are synced to disk. The
        next `write` that syncs rows syncs these rows too.
        """
        self._write(*changes, light=self._light or bool(self._locks.held))

    def _write(self, *changes: RowChange, light: bool) -> None:
        change = Change([(_numbered(sql), list(rows)) for sql, rows in changes], light=light)
        with self.faults():
            self._commits.write(change)

    def hold(self, run: str, *, doing: str) -> None:
        """Take a run's lock. Raise IntegrityFault if the lock is not free within WAIT seconds.

        With `doing`, for example "is working on ARN", the message becomes "process 123 is working on ARN".
        """
        with self.faults(), self._lock:
            self._locks.hold(run, wait=WAIT, doing=doing)

    def try_to_hold(self, run: str) -> bool:
        """Try to take a run's lock. Return False if this process or another process already holds the lock."""
        with self.faults():
            return self._locks.try_to_hold(run)

    def release(self, run: str, *, finished: Callable[[], bool]) -> None:
        """Release a run's lock. If the run is finished, also remove the lock's file."""
        if finished():
            with suppress(OSError):
                self._locks.forget(run)
        self._locks.release(run)

    def workers(self, works: Sequence[str]) -> list[SqlRow]:
        """Return which processes hold the locks with these names. All these processes are on this computer."""
        with self.faults():
            found = {work: self._locks.holder(work) for work in works}
        return [(work, socket.gethostname(), *holder) for work, holder in found.items() if holder]

    def holds(self, run: str) -> bool:
        """Return whether this process holds a run's lock."""
        return run in self._locks.held

    @property
    def left_held(self) -> tuple[str, ...]:
        """The IDs of the runs whose locks this process holds.

        `release` must be called for each run before the database is closed, because `release` removes the files of
        locks that are no longer needed.
        """
        return self._locks.held

    def check(self) -> None:
        """Do nothing, because a file lock cannot be lost."""

    @contextmanager
    def lightly(self) -> Iterator[None]:
        """Write many rows without waiting for the disk each time.

        A written row is kept even if this process is killed, but until the context ends, a power cut can lose it.
        """
        with self.faults(), self._lock:
            self._light = True
        try:
            yield
        finally:
            self._light = False
            with self.faults(), self._lock:
                self._db.execute("pragma wal_checkpoint(passive)").fetchall()
