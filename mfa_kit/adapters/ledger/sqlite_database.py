"""The ledger of one computer: a SQLite file with its migrations, and a file lock for each run.

The lock of a run is released when the run's process ends, even if the process is killed.

A rollout of many accounts makes hundreds of changes per second. If each change had its own commit, waiting for the disk
would take longer than the calls to AWS. So changes that arrive during a commit are committed together in the next one.
"""

import errno
import os
import re
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shlex import quote

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.tables import DamagedRow, RowChange, SqlRow, T
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import RUN, WORK
from mfa_kit.core.stopping import sleep
from mfa_kit.disk.files import fault_of_owner, reason_of
from mfa_kit.posix.open_files import NO_LINK, check_unlocked, try_to_lock

FILE = "ledger.sqlite"
# Tables that exist in every version of the ledger.
TABLES = {"journal", "events"}
# How many seconds to wait for a program that is writing to the file.
CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """The reason why a ledger cannot be used, and a hint that says what to do."""

    what: str
    hint: str


def is_there(path: Path) -> bool:
    """Return whether the path exists. A dangling symlink counts as existing."""
    return os.path.lexists(path)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise IntegrityFault if other users can write to the ledger.

    By changing paths in the ledger, other users could make mfa-kit remove the wrong files.
    """
    fault = fault_of_owner(path, status) or fault_of_owner(path.parent, path.parent.stat())
    if fault:
        raise IntegrityFault(*fault)


def create_private(path: Path) -> None:
    """Create the file of the ledger with mode 0600, because SQLite gives its auxiliary files the same mode.

    A file that exists is not opened: this process may have the ledger open already, and closing any descriptor of a
    file drops all locks that the process holds on it (POSIX, fcntl). Another process would then take itself for the
    last one, and remove the log that this process still writes. Raise OSError if there is a symbolic link.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def find_fault(path: Path) -> LedgerFault | None:
    """Return why the ledger at a path cannot be used, or None if it can be used.

    A ledger can be used if it is intact, is not locked, was not written by another program or a newer mfa-kit, and if
    other users cannot write to it.
    """
    if owner := fault_of_owner(path, path.stat()) or fault_of_owner(path.parent, path.parent.stat()):
        return LedgerFault(*owner)
    aside = f"move the file away; devices in IAM are not affected: mv {quote(str(path))} {quote(f'{path}.broken')}"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=CHECK_SECONDS)) as db:
            db.isolation_level = None
            fault = _fault_in(db, aside)
            db.execute("begin immediate")
            db.execute("rollback")
    except sqlite3.OperationalError as error:
        return LedgerFault(str(error), "end other programs that use the file, and check its permissions")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return LedgerFault(f"damaged: {error}", aside)
    return fault


def _fault_in(db: sqlite3.Connection, aside: str) -> LedgerFault | None:
    [report] = db.execute("pragma quick_check(1)").fetchone()
    [version] = db.execute("pragma user_version").fetchone()
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if report != "ok":
        return LedgerFault(f"damaged: {report}", aside)
    if tables and not tables >= TABLES:
        return LedgerFault("belongs to another program", aside)
    if version > len(MIGRATIONS):
        return LedgerFault("was written by a newer version of mfa-kit", "upgrade mfa-kit the way you installed it")
    return None


# Each migration is numbered by its position, and never changes after a release. In the file of a ledger, `pragma
# user_version` is the number of migrations that were applied.
MIGRATIONS = (
    """
    create table journal (
        run text not null, serial text not null, verb text not null, reached text not null,
        intent text not null, backup text, at real not null,
        primary key (run, serial)
    ) without rowid;
    create index journal_open on journal (run) where reached in ('intent', 'created', 'revoking');
    create table events (
        id integer primary key, at real not null, operation text not null, user text, serial text,
        request_id text, answer text not null, file text
    );
    """,
    """
    create table tokens (
        serial text primary key, fingerprint text not null, factor text not null, digest text not null,
        digits integer not null, period integer not null, counter integer not null, maker text not null,
        model text not null, octets integer not null, capacity integer not null,
        verdict text not null, reason text not null, at real not null
    ) without rowid;
    create table sightings (
        id integer primary key, at real not null, serial text not null, fingerprint text not null,
        verdict text not null, offset integer, seconds integer, reason text not null
    );
    create index sightings_of on sightings (serial, at);
    """,
    """
    create table seals (
        backup text not null, recipient text not null, since real not null, until real,
        primary key (backup, recipient, since)
    ) without rowid;
    create table drills (id integer primary key, at real not null, backup text not null, result text not null);
    create index drills_of on drills (backup, at);
    """,
    """
    alter table journal add column since real;
    alter table journal add column sealed integer not null default 0;
    create table ends (
        id integer primary key, at real not null, run text not null, serial text not null,
        verb text not null, reached text not null
    );
    insert into ends (at, run, serial, verb, reached)
        select at, run, serial, verb, reached from journal
        where reached in ('confirmed', 'undone', 'revoked') order by at;
    create trigger begun_at_its_end after insert on journal
        when new.reached in ('confirmed', 'undone', 'revoked')
    begin
        insert into ends (at, run, serial, verb, reached) values (new.at, new.run, new.serial, new.verb, new.reached);
    end;
    create trigger ended after update on journal
        when new.reached in ('undone', 'revoked') and old.reached <> new.reached
        or new.reached = 'confirmed' and old.reached not in ('confirmed', 'revoking')
    begin
        insert into ends (at, run, serial, verb, reached) values (new.at, new.run, new.serial, new.verb, new.reached);
    end;
    """,
    """
    create table failures (
        plan text not null, user text not null, at real not null, cause text not null, reason text not null,
        primary key (plan, user)
    ) without rowid;
    """,
    """
    create table rollout_runs (
        plan text not null, run text not null, at real not null,
        primary key (plan, run)
    ) without rowid;
    """,
    """
    create table break_glass (
        id integer primary key, at real not null, recipient text not null, action text not null,
        custodians text not null, threshold integer not null, backups integer not null
    );
    create index break_glass_of on break_glass (recipient, at);
    """,
    "alter table rollout_runs add column ended real;",
    """
    create table audits (
        id integer primary key, at real not null, account text not null, results text not null, failed text not null,
        rules text not null
    );
    create index audits_of on audits (account, at);
    create table audit_findings (
        id integer primary key, at real not null, account text not null, finding text not null, rule text not null,
        state text not null
    );
    create index audit_findings_of on audit_findings (account, finding, at);
    """,
    """
    create table hashes (
        backup text not null, sha256 text not null, since real not null, replaces text, until real,
        primary key (backup, sha256)
    ) without rowid;
    """,
    """
    create table seen_keys (
        id integer primary key, at real not null, key_id text not null, event text not null, serial text, model text,
        firmware text, aaguid text, certifications text not null, certificate text, card text, label text,
        attested text not null, account text, "user" text, device text, run text, since real
    );
    create index seen_keys_card on seen_keys (card, at);
    """,
    """
    create table device_uses (
        account text not null, serial text not null, principal text not null, source text not null,
        writer text not null, user text not null, at real not null, event text not null, region text not null,
        primary key (account, serial, principal, source, writer)
    ) without rowid;
    create table event_reads (
        account text not null, region text not null, event text not null, source text not null, writer text not null,
        since real, until real, reached real, top real, unread integer not null, why text not null,
        primary key (account, region, event, source, writer)
    ) without rowid;
    """,
    """
    create table device_states (
        id integer primary key, at real not null, plan text not null, run text not null, serial text not null,
        "user" text not null, state text not null, how text not null
    );
    """,
    "alter table break_glass add column replaces text;",
)


# The name of the lock that a process holds while it migrates the ledger's file.
MIGRATION = "migration"
# Seconds between attempts to take a lock that another process holds.
LOOK_AGAIN = 0.05


class RunLocks:
    """The locks of runs in one folder, and which of these locks this process holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The IDs of the runs whose locks this process holds."""
        return tuple(self._held)

    def hold(self, run: str, *, wait: float, doing: str) -> None:
        """Take a run's lock.

        Raise IntegrityFault if the lock is not free within `wait` seconds. With `doing`, for example "is
        working on ARN", the message becomes "process 123 is working on ARN".
        """
        if run not in self._held:
            self._held[run] = self.wait_for(run, wait=wait, doing=doing)

    def try_to_hold(self, run: str) -> bool:
        """Try to take a run's lock without waiting.

        Return False if another process or this process already holds the lock.
        """
        if run in self._held:
            return False
        try:
            self._held[run] = self._take(run, wait=0)
        except BlockingIOError:
            return False
        return True

    def holder(self, name: str) -> tuple[str, float] | None:
        """Return the ID of the process that holds a lock, and when it took the lock, in Unix seconds.

        Return None if the lock is free.
        """
        try:
            lock = os.open(self._folder / name, os.O_RDONLY | NO_LINK)
        except FileNotFoundError:
            return None
        try:
            check_unlocked(lock)
        except BlockingIOError:
            return os.read(lock, 20).decode("ascii", "replace").strip(), os.fstat(lock).st_mtime
        finally:
            os.close(lock)
        return None

    def release(self, run: str) -> None:
        """Release a run's lock."""
        os.close(self._held.pop(run))

    def forget(self, run: str) -> None:
        """Remove the lock file of a finished run. The caller must then release the lock."""
        (self._folder / run).unlink()

    def _take(self, name: str, *, wait: float) -> int:
        """Take a lock, and write this process's ID into the lock's file.

        Raise BlockingIOError if the lock is not free within `wait` seconds.
        """
        # Check the name, because it can come from the ledger's file, and a file with this name is created and removed.
        if name != MIGRATION and not RUN.fullmatch(name) and not WORK.fullmatch(name):
            raise IntegrityFault(f"{name!r} is not a run ID", "report this")
        path, until = self._folder / name, time.monotonic() + wait
        while True:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | NO_LINK, 0o600)
            try:
                try_to_lock(lock)
                # If another process removed the file before this process locked it, this lock has no effect: the next
                # process would create and lock a new file. So try again.
                with suppress(FileNotFoundError):
                    if os.fstat(lock).st_ino == path.stat().st_ino:
                        _sign(lock)
                        return lock
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(lock)
                    raise
                sleep(LOOK_AGAIN)
            except BaseException:
                # Close the file on any exception, including Ctrl-C, because the caller has no reference to it yet.
                os.close(lock)
                raise
            os.close(lock)

    def wait_for(self, name: str, *, wait: float, doing: str) -> int:
        """Take a lock and return the descriptor of its file.

        Raise IntegrityFault if the lock is not free within `wait` seconds. With `doing`, for example "is
        working on ARN", the message becomes "process 123 is working on ARN".
        """
        try:
            return self._take(name, wait=wait)
        except BlockingIOError:
            holder = ""
            with suppress(FileNotFoundError):
                holder = (self._folder / name).read_text("ascii").strip()
            raise IntegrityFault(
                f"{f'process {holder}' if holder else 'another mfa-kit process'} {doing}",
                f"wait until it ends, or end it{f': kill {holder}' if holder else ''}; then run this again",
            ) from None


def _sign(lock: int) -> None:
    """Write this process's ID into the file of a lock. Ignore a failure, because the lock works without the ID."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())


@dataclass(slots=True, eq=False)
class Change:
    """A change that is committed completely or not at all: SQL statements, each with the values of its rows.

    A `light` change need not be on disk when its commit returns. `written` says whether the change is committed.
    """

    statements: Sequence[tuple[str, Iterable[Sequence[object]]]]
    light: bool
    written: bool = False


class Commits:
    """Commits the changes of all threads. `lock` is held while the database is in use."""

    def __init__(self, database: sqlite3.Connection, lock: threading.Lock) -> None:
        self._database, self._lock = database, lock
        self._waiting: deque[Change] = deque()
        self._level: bool | None = None  # the value last passed to _set_level; None if unknown

    def write(self, change: Change) -> None:
        """Commit a change, and return after the commit. Raise sqlite3.Error if the change cannot be committed.

        A failure does not affect the changes of other threads.
        """
        self._waiting.append(change)
        try:
            with self._lock:
                if not change.written:
                    self._write_waiting(change)
        finally:
            with suppress(ValueError):
                self._waiting.remove(change)

    def _write_waiting(self, change: Change) -> None:
        """Commit all waiting changes together. If that fails, commit only `change`.

        The other threads then commit their own changes in the same way.
        """
        together = [waiting_change for waiting_change in self._waiting.copy() if not waiting_change.written]
        with suppress(sqlite3.Error):
            if len(together) > 1:
                self._commit(together)
        if not change.written:
            self._commit([change])

    def _commit(self, changes: Sequence[Change]) -> None:
        self._set_level(light=all(change.light for change in changes))
        try:
            self._database.execute("begin immediate")
            for change in changes:
                for sql, rows in change.statements:
                    self._database.executemany(sql, rows)
            self._database.execute("commit")
        except BaseException:
            # Roll back on any exception, including Ctrl-C, so that no change is half-written. If the disk is full,
            # SQLite itself has already ended the transaction.
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise
        for change in changes:
            change.written = True

    def _set_level(self, *, light: bool) -> None:
        """Set whether commits wait for the disk.

        In WAL mode, `synchronous = normal` does not wait (SQLite, "PRAGMA synchronous").
        """
        if light is not self._level:
            self._level = None
            self._database.execute(f"pragma synchronous = {'normal' if light else 'full'}")
            self._level = light


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
        self._path, runs = folder / FILE, folder / "runs"
        self._locks = RunLocks(runs)
        self._light = False
        with self.faults():
            for missing in reversed([path for path in (runs, *runs.parents) if not path.exists()]):
                missing.mkdir(mode=0o700, exist_ok=True)
            create_private(self._path)
            check_owner(self._path, self._path.stat(follow_symlinks=False))
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
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {reason_of(error)}", hint) from None

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

        Within `without_fsync`, only rows of a run are synced.
        """
        self._write(*changes, light=self._light and run is None)

    def log(self, *changes: RowChange) -> None:
        """Write rows, all of them or none.

        While this process holds the lock of a run, and within `without_fsync`, return before the rows are synced to
        disk. The next `write` that syncs rows syncs these rows too.
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
            holders_by_work = {work: self._locks.holder(work) for work in works}
        return [(work, socket.gethostname(), *holder) for work, holder in holders_by_work.items() if holder]

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
    def without_fsync(self) -> Iterator[None]:
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
