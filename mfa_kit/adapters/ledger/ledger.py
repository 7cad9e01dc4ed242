"""The desk's own memory in SQLite: the journal of what it began, a log of its calls, its tokens. No secret enters it.

docs/formats.md describes the tables. A run holds a file lock for as long as its process lives, however that ends.
"""

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import RUN, Call, DeviceType, Entry, Happened, Intent, Method, Reached, Verb

# Numbered by position, never changed once released; `pragma user_version` tells how many a file has seen.
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
)
OPEN = "reached in ('intent', 'created', 'revoking')"
EVENT = "insert into events (at, operation, user, serial, request_id, answer, file) values (?, ?, ?, ?, ?, ?, ?)"
RECORD = """
    insert into journal (run, serial, verb, reached, intent, backup, at, since, sealed)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?)
    on conflict (run, serial) do update set verb = excluded.verb, reached = excluded.reached, at = excluded.at,
        since = excluded.since, sealed = excluded.sealed, backup = coalesce(excluded.backup, journal.backup)
"""
HISTORY = """
    select at, what, answer, user, device, file, reference from (
        select at, operation as what, answer, user, serial as device, file, request_id as reference from events
        union all
        select ends.at, ends.verb, ends.reached, json_extract(intent, '$.user'), serial, backup, run
            from ends join journal using (run, serial)
        union all
        select at, verb, reached, json_extract(intent, '$.user'), serial, backup, run from journal
            where reached not in ('confirmed', 'undone', 'revoked')
    ) where at >= :since and (:user is null or user = :user or user is null and device in (
        select serial from journal where json_extract(intent, '$.user') = :user
    )) order by at
"""
# What a run set out to do and how far it came, as people say it.
WORDS = {
    Verb.ENROLL: "enrollment",
    Verb.REVOKE: "revocation",
    Verb.ADD: "backup of a device that was there",
    Verb.LOST: "revocation of a lost device",
    Reached.INTENT: "asked for, and not answered",
    Reached.CREATED: "half-made",
    Reached.STAGED: "staged, to be enabled later",
    Reached.ENABLED: "done, and not yet confirmed",
    Reached.CONFIRMED: "done",
    Reached.UNDONE: "undone, nothing is left",
    Reached.REVOKING: "under way",
    Reached.REVOKED: "done",
}
MIGRATION = "migration"
# Seconds to wait for another process that writes, or that holds a run; for the one that brings the file up to date;
# and between two looks.
WAIT, PATIENCE, LOOK_AGAIN = 10.0, 60.0, 0.05


class Ledger:
    """The Journal, and the observer of calls; safe for threads. Raise IntegrityFault when the file cannot be used."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._path, self._runs = folder / "ledger.sqlite", folder / "runs"
        self._held: dict[str, int] = {}
        self._light = False
        self._said: bool | None = None  # the level that SQLite was told; None while that is not sure
        with self._plain():
            for missing in reversed([each for each in (self._runs, *self._runs.parents) if not each.exists()]):
                missing.mkdir(mode=0o700, exist_ok=True)
            # sqlite gives its own files the mode of the database, so the database is made before sqlite sees it.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=WAIT, check_same_thread=False)
            try:
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def _migrate(self) -> None:
        self._db.execute("pragma synchronous = full")
        if self._version() < len(MIGRATIONS):
            # Switching to WAL does not wait for another process that does the same, so the first opens stand in line.
            lock = self._awaited(MIGRATION, PATIENCE, doing="is bringing the ledger up to date")
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
    def _plain(self) -> Iterator[None]:
        """Turn what SQLite and the disk say into one sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = f"end other mfa-kit runs, and check the disk's free space and the rights on {self._path.parent}"
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {error}", hint) from None
        except sqlite3.DatabaseError as error:
            hint = f"IAM still knows every device; move the file out of the way: mv {self._path} {self._path}.broken"
            raise IntegrityFault(f"the ledger {self._path} is damaged: {error}", hint) from None
        except OSError as error:
            hint = "check the rights and the free space, or set MFA_KIT_HOME to another folder"
            raise IntegrityFault(f"the ledger {self._path} cannot be used: {error.strerror}", hint) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the runs, as the end of the process would."""
        for run in list(self._held):
            self._release(run)
        self._db.close()

    def record(self, entry: Entry) -> Entry:
        values = (
            entry.run,
            entry.intent.serial,
            entry.verb,
            entry.reached,
            intent_json(entry.intent),
            entry.backup,
            self._clock(),
            entry.since,
            entry.sealed,
        )
        with self._plain(), self._lock:
            if entry.run not in self._held:
                doing = f"is at work on {entry.intent.serial} (run {entry.run})"
                self._held[entry.run] = self._awaited(entry.run, WAIT, doing=doing)
            self._level(light=False)
            self._db.execute(RECORD, values)
        return entry

    def dead(self, account: str, *, user: str | None = None) -> Iterator[Entry]:
        with self._plain():
            entries = self._entries(OPEN)
        for entry in entries:
            if entry.intent.account == account and user in {None, entry.intent.user}:
                with self._plain(), self._borrowed(entry.run) as free:
                    if free:
                        yield from self._entries(f"{OPEN} and run = ? and serial = ?", entry.run, entry.intent.serial)

    def find(self, serial: str, *, run: str | None = None) -> Entry | None:
        with self._plain():
            if run is not None:
                found = self._entries("serial = ? and run = ?", serial, run)
            else:
                found = self._entries("serial = ? and reached not in ('undone', 'revoked')", serial)
        return found[-1] if found else None

    def made(self, account: str) -> list[Entry]:
        with self._plain():
            entries = self._entries(f"verb = '{Verb.ENROLL}' and reached <> '{Reached.UNDONE}'")
        return list({each.intent.serial: each for each in entries if each.intent.account == account}.values())

    def recipients(self, account: str) -> dict[str, str]:
        with self._plain():
            intents = [each.intent for each in self._entries(f"reached <> '{Reached.UNDONE}'")]
        return {each.user: each.recipient for each in intents if each.account == account and each.recipient}

    def lives(self, run: str) -> bool:
        with self._plain(), self._borrowed(run) as free:
            return not free

    @contextmanager
    def _borrowed(self, run: str) -> Iterator[bool]:
        """Hold a run's lock as if the run were ours, unless its process lives."""
        if run in self._held:
            yield False
            return
        try:
            self._held[run] = self._take(run, wait=0)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            self._release(run)

    def _release(self, run: str) -> None:
        """Let a run's lock go, and its file where nobody will ask for it."""
        with suppress(sqlite3.Error, OSError):
            if not self._entries(f"{OPEN} and run = ?", run):
                (self._runs / run).unlink()
        os.close(self._held.pop(run))

    def called(self, *calls: Call) -> None:
        """Append calls or openings to the event log, all of them or none.

        Within a run the disk is not waited for: how far it came is recorded next, and that waits for all before it.
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
            light=self._light or bool(self._held),
        )

    @contextmanager
    def lightly(self) -> Iterator[None]:
        """Within, what is noted outlives this process at once, a power cut from the end on: for thousands of notes."""
        with self._plain(), self._lock:
            self._light = True
        try:
            yield
        finally:
            self._light = False
            with self._plain(), self._lock:
                self._db.execute("pragma wal_checkpoint(passive)").fetchall()

    def history(self, *, user: str | None = None, since: float = 0.0) -> list[Happened]:
        """Return what happened from a Unix time on, oldest first: calls, ends of runs, and what is half-made."""
        with self._plain(), self._lock:
            rows = self._db.execute(HISTORY, {"user": user, "since": since}).fetchall()
        names = ("at", "what", "answer", "user", "device", "file", "reference")
        return [
            Happened(**dict(zip(names, (at, WORDS.get(what, what), WORDS.get(answer, answer), *row), strict=True)))
            for at, what, answer, *row in rows
        ]

    def select(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Read rows, for a neighbor that keeps its own tables here."""
        with self._plain(), self._lock:
            return self._db.execute(sql, values).fetchall()

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None:
        """Write rows, all of them or none; each change is a statement and the values of each of its rows."""
        self._write(*changes, light=self._light)

    def _write(self, *changes: tuple[str, Iterable[Sequence[object]]], light: bool) -> None:
        with self._plain(), self._lock:
            self._level(light=light)
            try:
                self._db.execute("begin immediate")
                for sql, rows in changes:
                    self._db.executemany(sql, rows)
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it by itself where the disk is full
                    self._db.execute("rollback")
                raise

    def _level(self, *, light: bool) -> None:
        """Say what a commit waits for. SQLite, "PRAGMA synchronous": in WAL mode a light one for nothing."""
        if light is not self._said:
            self._said = None
            self._db.execute(f"pragma synchronous = {'normal' if light else 'full'}")
            self._said = light

    def _entries(self, where: str, *values: str) -> list[Entry]:
        sql = f"select run, intent, verb, reached, backup, since, sealed from journal where {where} order by run"  # noqa: S608
        with self._lock:
            rows = self._db.execute(sql, values).fetchall()
        try:
            return [
                Entry(
                    run=run,
                    intent=_intent(json.loads(intent)),
                    verb=Verb(verb),
                    reached=Reached(reached),
                    backup=backup,
                    since=since,
                    sealed=bool(sealed),
                )
                for run, intent, verb, reached, backup, since, sealed in rows
            ]
        except (KeyError, TypeError, ValueError, UsageFault):
            raise sqlite3.DatabaseError("a row of the journal is not as it was written") from None

    def _take(self, name: str, *, wait: float) -> int:
        """Take a lock, and write our process id into its file. Raise BlockingIOError after so many seconds."""
        if name != MIGRATION and not RUN.fullmatch(name):  # it becomes the name of a file, which is removed one day
            raise IntegrityFault(f"{name!r} is no run id", "report this")
        path, until = self._runs / name, time.monotonic() + wait
        while True:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Where its file was removed in between, whoever comes next would not meet this lock.
                with suppress(FileNotFoundError):
                    if os.fstat(lock).st_ino == path.stat().st_ino:
                        _sign(lock)
                        return lock
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(lock)
                    raise
                time.sleep(LOOK_AGAIN)
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)

    def _awaited(self, name: str, wait: float, *, doing: str) -> int:
        """Take a lock. Raise IntegrityFault, with who holds it, when it does not come free in so many seconds."""
        try:
            return self._take(name, wait=wait)
        except BlockingIOError:
            holder = ""
            with suppress(FileNotFoundError):
                holder = (self._runs / name).read_text("ascii").strip()
            raise IntegrityFault(
                f"process {holder or 'of another mfa-kit'} {doing}",
                f"let it come to its end, or end it{f': kill {holder}' if holder else ''}; then run this again",
            ) from None


def _sign(lock: int) -> None:
    """Tell in a lock's file who holds it; that it cannot be written is no reason not to hold it."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def intent_json(intent: Intent) -> str:
    """Write an intent. The type of its device is in its serial, so of the method the name is enough, as `kind`."""
    fields = {("kind" if name == "method" else name): value for name, value in asdict(intent).items()}
    return json.dumps({**fields, "kind": intent.method.name})


def _intent(fields: dict[str, Any]) -> Intent:
    """Read what `intent_json` wrote: where no serial is known, IAM names a virtual device by its ARN."""
    tags = tuple((key, value) for key, value in fields.get("tags", ()))
    serial = fields.get("known_serial")
    method = Method(fields.pop("kind"), DeviceType.of(serial) if serial else DeviceType.VIRTUAL)
    return Intent(**{**fields, "method": method, "tags": tags})
