"""The ledger: the journal, the log of API calls, and their rows in the database.

The ledger contains no secret. docs/formats.md describes the tables. Each run in progress has a lock. The lock is
released when the process of the run ends, even if the process is killed. The types of values are checked when they are
read, because SQLite stores any value in any column.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

from mfa_kit.adapters.ledger.tables import DamagedRow, Database, RowChange, SqlRow
from mfa_kit.core.device_records import (
    DeviceState,
    intent_json,
    is_time,
    optional_text,
    optional_time,
    parse_intent,
    text_of,
)
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.file_formats import JsonError, list_of, object_of, read_json
from mfa_kit.core.models import RUN, Call, Device, HeldWork, JournalEntry, JournalState, RunKind, UseEvent, run_time
from mfa_kit.core.recorded_keys import FACTS, KeyEvent
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.tokens.seeds import DIGITS, Factor, TokenVerdict

_HISTORY = """
    select at, what, answer, "user", device, file, reference, computer from (
        select at, operation as what, answer, "user", serial as device, file, request_id as reference,
            {computer} as computer from events
        union all
        select ends.at, ends.verb, ends.reached, intent ->> 'user', serial, backup, run, {end}
            from ends join journal using (run, serial)
        union all
        select at, verb, reached, intent ->> 'user', serial, backup, run, {computer} from journal
            where reached not in ('confirmed', 'undone', 'revoked')
    ) as happened
    where at >= $1 and (cast($2 as text) is null or "user" = $2 or "user" is null and device in (
        select serial from journal where intent ->> 'user' = $2
    )) order by at
"""
# The tables have a column `computer` only in a shared ledger.
HISTORY = _HISTORY.format(computer="null", end="null")
SHARED_HISTORY = _HISTORY.format(computer="computer", end="ends.computer")
HISTORY_TYPES = "time text text text? text? text? text? text?"
# Readable words for the purpose of a run and for its progress.
WORDS: dict[str, str] = {
    RunKind.ENROLL: "enrollment",
    RunKind.REVOKE: "revocation",
    RunKind.ADD: "backup of an existing device",
    RunKind.LOST: "revocation of a lost device",
    JournalState.INTENT: "started, result unknown",
    JournalState.CREATED: "half-made",
    JournalState.STAGED: "staged, to be enabled later",
    JournalState.ENABLED: "enabled, not yet confirmed",
    JournalState.CONFIRMED: "done",
    JournalState.UNDONE: "undone",
    JournalState.REVOKING: "in progress",
    JournalState.REVOKED: "done",
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log as it is shown: a call, or the state that a run reached with a device.

    The fields are the columns of HISTORY. `at` is in Unix seconds. `reference` is a request ID or a run ID. `computer`
    is the computer that recorded the call or state, or None if the ledger is not shared.
    """

    at: float
    what: str
    answer: str
    user: str | None
    device: str | None
    file: str | None
    reference: str | None
    computer: str | None = None


def log_lines(rows: Iterable[SqlRow]) -> list[LogLine]:
    """Convert rows of HISTORY or SHARED_HISTORY to log lines, with the readable words in WORDS instead of codes.

    A code that is not in WORDS, such as the name of an IAM operation, is not changed.
    """
    return [LogLine(recorded_at, _word(what), _word(answer), *others) for recorded_at, what, answer, *others in rows]


def _word(code: str) -> str:
    return WORDS.get(code, code)


# The columns of an entry, in the order that `entry_of` expects.
COLUMNS = "run, intent, verb, reached, backup, since, sealed"


def entry_of(row: SqlRow) -> JournalEntry:
    """Return the journal entry in a row with the columns COLUMNS.

    Raise DamagedRow if the row has values that mfa-kit does not write.
    """
    try:
        run, spec, verb, reached, backup, since, sealed = row
        run_time(text_of(run))
        return JournalEntry(
            run=run,
            spec=parse_intent(read_json(spec)),
            purpose=RunKind(verb),
            reached=JournalState(reached),
            backup=optional_text(backup),
            since=optional_time(since),
            sealed=bool(sealed),
        )
    except (KeyError, TypeError, ValueError, UsageFault):
        raise DamagedRow("a row of the journal was changed or damaged") from None


def _is_object_of(kind: type, value: object) -> bool:
    """Return whether a value is the text of a JSON object whose values have this type."""
    try:
        return isinstance(value, str) and all(
            isinstance(member, kind) for member in object_of(read_json(value)).values()
        )
    except (JsonError, TypeError):
        return False


def _is_strings(value: object) -> bool:
    """Return whether a value is the text of a JSON list of strings."""
    try:
        return isinstance(value, str) and all(isinstance(entry, str) for entry in list_of(read_json(value)))
    except (JsonError, TypeError):
        return False


TYPES: Mapping[str, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int),
    "boolean": lambda value: isinstance(value, bool),
    "time": is_time,
    "factor": lambda value: value in [*Factor],
    "action": lambda value: value in [*RecoveryKeyAction],
    "event": lambda value: value in [*KeyEvent],
    "names": partial(_is_object_of, str),
    "counts": partial(_is_object_of, int),
    "strings": _is_strings,
    "digits": lambda value: value in DIGITS,
    "run": lambda value: isinstance(value, str) and RUN.fullmatch(value) is not None,
    "verdict": lambda value: value in [*TokenVerdict],
    "use": lambda value: value in [*UseEvent],
    "state": lambda value: value in [*DeviceState],
}


def check_types(types: str) -> Callable[[SqlRow], SqlRow]:
    """Return a function that returns a row, or raises DamagedRow if a value does not have the type of its column.

    `types` has one word per column, separated by spaces. Each word is a key of TYPES. A `?` after a word allows null.
    """
    checks = [(TYPES[word.rstrip("?")], word.endswith("?")) for word in types.split()]

    def check(row: SqlRow) -> SqlRow:
        if len(row) != len(checks):
            raise DamagedRow("a row has another number of columns")
        for value, (fits, may_be_null) in zip(row, checks, strict=True):
            if not (fits(value) or (may_be_null and value is None)):
                raise DamagedRow("a column has a value that mfa-kit does not write")
        return row

    return check


# The largest number of entries that are recorded in one transaction.
TOGETHER = 500
OPEN = "reached in ('intent', 'created', 'revoking')"
NOT_HALF_MADE = "select run, serial from journal where reached not in ('intent', 'created')"
EVENT = """
    insert into events (at, operation, "user", serial, request_id, answer, file) values ($1, $2, $3, $4, $5, $6, $7)
"""
# Records that a confirmed device is on the key whose OATH applet has the identity `$7`, with the facts of that key's
# last record.
ON_KEY = f"""
    insert into seen_keys (at, key_id, event, {", ".join(FACTS)}, attested, account, "user", device, run, since)
    select cast($1 as double precision), key_id, 'enrolled', {", ".join(FACTS)}, attested, cast($2 as text),
        cast($3 as text), cast($4 as text), cast($5 as text), cast($6 as double precision)
    from seen_keys where card = $7 and not exists (select 1 from seen_keys where device = $4 and run = $5)
    order by at desc, id desc limit 1
"""  # noqa: S608 - our own names


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

    def record(self, entry: JournalEntry) -> JournalEntry:
        """Record how far an entry has progressed, and return the entry once the record survives a power cut.

        Take the lock of the entry's run, if this process does not hold it yet.
        """
        self._record(entry.run, [entry])
        return entry

    def record_all(self, entries: Sequence[JournalEntry]) -> None:
        """Record how far entries have progressed, and return once all records survive a power cut.

        Take the locks of their runs, as `record` does.
        """
        for run in dict.fromkeys(entry.run for entry in entries):
            of_run = [entry for entry in entries if entry.run == run]
            for start in range(0, len(of_run), TOGETHER):
                self._record(run, of_run[start : start + TOGETHER])

    def _record(self, run: str, entries: Sequence[JournalEntry]) -> None:
        """Record entries of one run, all of them or none."""
        now = self._clock()
        rows = [
            (
                entry.run,
                entry.spec.serial,
                entry.purpose,
                entry.reached,
                intent_json(entry.spec),
                entry.backup,
                now,
                entry.since,
                int(entry.sealed),
            )
            for entry in entries
        ]
        on_keys = [
            (now, entry.spec.account, entry.spec.user, entry.spec.serial, entry.run, entry.since, entry.spec.card)
            for entry in entries
            if entry.spec.card and (entry.purpose, entry.reached) == (RunKind.ENROLL, JournalState.CONFIRMED)
        ]
        self._database.hold(run, doing=f"is working on {entries[0].spec.serial} (run {run})")
        self._database.write((self._database.record, rows), *([(ON_KEY, on_keys)] if on_keys else ()), run=run)

    def check(self) -> None:
        """End the process if it no longer holds the locks of its runs. Called before each write to IAM or a vault."""
        self._database.check()

    def dead(self, account: str, *, user: str | None = None) -> Iterator[JournalEntry]:
        """Yield the unfinished journal entries of an account, without those of runs that a process is working on.

        With `user`, yield only the entries of this user. Until the caller asks for the next entry, this process holds
        the lock of the entry's run.
        """
        for entry in self._entries(OPEN):
            if entry.spec.account == account and user in {None, entry.spec.user}:
                with self._borrowed(entry.run) as free:
                    if free:
                        yield from self._entries(f"{OPEN} and run = $1 and serial = $2", entry.run, entry.spec.serial)

    def find(self, serial: str, *, run: str | None = None) -> JournalEntry | None:
        """Return the journal entry of a run for the device with this serial, or None.

        If `run` is None, return the device's last entry whose state is neither undone nor revoked.
        """
        if run is not None:
            entries = self._entries("serial = $1 and run = $2", serial, run)
        else:
            entries = self._entries("serial = $1 and reached not in ('undone', 'revoked')", serial)
        return entries[-1] if entries else None

    def is_leaving(self, device: Device) -> bool:
        """Return whether a run has removed a device, or began to, which the next run continues.

        A later device of the same name has another EnableDate.
        """
        leaving = self._entries("serial = $1 and reached in ('revoking', 'revoked')", device.serial)
        return device.since is not None and any(entry.since == device.since for entry in leaving)

    def made(self, account: str) -> list[JournalEntry]:
        """Return the last enrollment entry for each device of an account, without enrollments that were undone."""
        entries = self._entries(f"verb = '{RunKind.ENROLL}' and reached <> '{JournalState.UNDONE}'")
        return list({entry.spec.serial: entry for entry in entries if entry.spec.account == account}.values())

    def entries(self, account: str | None = None) -> list[JournalEntry]:
        """Return all journal entries of an account, oldest run first, including those of removed devices.

        If `account` is None, return those of all accounts.
        """
        return [entry for entry in self._entries("true") if account in {None, entry.spec.account}]

    def recorded_devices(self) -> set[tuple[str, str]]:
        """Return the run and the serial of each journal entry that is not half-made. Removed devices are included."""
        return {(run, serial) for run, serial in self.select(NOT_HALF_MADE, types="text text?")}

    def unfinished(self) -> tuple[int, int | None]:
        """Return the number of unfinished entries, and the seconds since the oldest advanced (None without one)."""
        [(count, oldest)] = self.select(f"select count(*), min(at) from journal where {OPEN}", types="integer time?")  # noqa: S608 - our own names
        return count, None if oldest is None else max(int(self._clock() - oldest), 0)

    def users_of_key(self, names: Collection[str | None]) -> list[str]:
        """Return the users whose devices are on a key, by name, in all accounts.

        `names` are the serial or label of the key, and the identity of its OATH applet. None stands for an unknown one.
        """
        intents = [entry.spec for entry in self._entries("reached not in ('intent', 'undone', 'revoked')")]
        return sorted({spec.user for spec in intents if {spec.hardware, spec.card} & {*names} - {None}})

    def recipients(self, account: str) -> dict[str, str]:
        """Return the latest recipient of each user's own copies of backups, by user name."""
        intents = [entry.spec for entry in self._entries(f"reached <> '{JournalState.UNDONE}'")]
        return {spec.user: spec.recipient for spec in intents if spec.account == account and spec.recipient}

    def recipients_by_user(self) -> dict[str, dict[str, str]]:
        """Return the recipients of the users' own copies of backups in all accounts.

        The result maps each user name to a mapping from the account to the latest recipient.
        """
        recipients: dict[str, dict[str, str]] = {}
        for entry in self._entries(f"reached <> '{JournalState.UNDONE}'"):
            if entry.spec.recipient:
                recipients.setdefault(entry.spec.user, {})[entry.spec.account] = entry.spec.recipient
        return recipients

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
        """Release a run's lock if this process holds it, so that other processes can settle the run.

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
        now = self._clock()
        rows = [
            (now, call.operation, call.user, call.serial, call.request_id, call.answer, call.file) for call in calls
        ]
        self._database.log((EVENT, rows))

    def without_fsync(self) -> AbstractContextManager[None]:
        """Return a context in which many rows are written fast. Until the context ends, a power cut can lose them."""
        return self._database.without_fsync()

    def history(self, *, user: str | None = None, since: float = 0.0) -> list[LogLine]:
        """Return the API calls since a Unix time, and the states that runs reached with devices, oldest first.

        With `user`, return only the lines about this user.
        """
        sql = SHARED_HISTORY if self.shared else HISTORY
        return log_lines(self.select(sql, (since, user), types=HISTORY_TYPES))

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

    def _entries(self, where: str, *values: str) -> list[JournalEntry]:
        # A run's name begins with its second. Of runs that began in the same second, the last to advance comes last.
        return self._database.read(
            f"select {COLUMNS} from journal where {where} order by substr(run, 1, 16), at, run",  # noqa: S608 - our own names
            values,
            entry_of,
        )
