"""A ledger that several computers share, in PostgreSQL. A process holds the locks of its runs with its sessions.

A lost session is not reconnected, because the server has released the session's locks. The schema is numbered SQL
files. The database has the number of the last file that was applied.
"""

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.types.string import TextLoader

from mfa_kit.adapters.ledger.ledger import Ledger, check_types
from mfa_kit.adapters.ledger.postgresql.address import Address, check_one_server, parse_address
from mfa_kit.adapters.ledger.postgresql.grants import READ
from mfa_kit.adapters.ledger.tables import DamagedRow, RowChange, SqlRow, T
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.stopping import INTERRUPTS, sleep
from mfa_kit.posix.processes import memory_used, uptime

# The caller reports a lost connection, so psycopg's own warning about it is dropped.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

# An SQL statement, and its values.
Statement = tuple[str, Sequence[object]]
OLDEST = 170000
# The hint if a connection cannot be made.
REACH = "check the address, the server, the network, your role, and its password in ~/.pgpass or the service file"
NUL, REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"
# The SQLSTATEs of errors that the ledger's own functions raise. LOCK_LOST: the session does not hold the lock of the
# run whose row it writes. NO_RUN: the lock to take has no valid name.
LOCK_LOST, NO_RUN = "MK001", "MK002"
# The largest answer to a statement, in bytes of memory. About 900,000 lines of the log are as large.
LARGEST = 256 * 1024 * 1024
# The memory is measured each time that libpq has read this many times from the socket. Most answers need one or two.
EVERY = 16
# How often psycopg checks for signals while it waits, in seconds.
INTERVAL = 0.1
MALFORMED = "an answer of the server does not have the expected form"
UNSUPPORTED = "unsupported startup parameter"
# A part of libpq's message if the server asks for a password in a way that `require_auth` excludes.
EXCLUDED = "authentication method requirement"


def describe(error: psycopg.Error) -> str:
    """Return the first line of an error, without the later lines, which can contain values of rows."""
    return (error.diag.message_primary or str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def _converting() -> Iterator[None]:
    """Raise psycopg.InterfaceError for an answer that psycopg cannot convert.

    Its converters raise errors of many classes. UnicodeEncodeError is about a value that was to be sent.
    """
    try:
        yield
    except (psycopg.Error, UnicodeEncodeError):
        raise
    except Exception:  # noqa: BLE001
        raise psycopg.InterfaceError(MALFORMED) from None


class _Connection(psycopg.Connection[SqlRow]):
    """A connection that ends if libpq needs more than LARGEST bytes of memory for an answer."""

    def wait(self, gen: PQGen[T], interval: float = INTERVAL, timeout: float | None = None) -> T:
        """Run a generator of psycopg. It yields before libpq reads from the socket, and returns the result."""
        with _converting():
            return super().wait(self._watch(gen), interval, timeout)

    def _watch(self, gen: PQGen[T]) -> PQGen[T]:
        before, reads = 0, 0
        try:
            state = next(gen)
            while True:
                state = gen.send((yield state))
                INTERRUPTS.check()  # Ctrl-C is lost while psycopg handles a notice
                reads += 1
                if reads % EVERY == 0:
                    used = memory_used()
                    before = before or used
                    if used - before > LARGEST:
                        self.close()
                        raise psycopg.OperationalError(f"an answer of the server needs more than {LARGEST >> 20} MiB")
        except StopIteration as end:
            return cast("T", end.value)


class Session:
    """One connection to PostgreSQL, in autocommit mode. Threads may share it."""

    def __init__(self, address: Address) -> None:
        """Connect to the server.

        Raise psycopg.Error if the connection cannot be made, and UsageFault if several servers are configured. Raise
        IntegrityFault if the server is too old, is a connection pooler, or asks for the password in an insecure way.
        """
        pooler = IntegrityFault(
            f"{address.label} is a connection pooler, which would lose the locks of runs",
            "give the address of the PostgreSQL server itself",
        )
        try:
            self._connection = _Connection.connect(
                address.conninfo(socket.gethostname()), autocommit=True, cursor_factory=psycopg.RawCursor
            )
        except psycopg.OperationalError as error:
            raise _fault_of(error, address, pooler) from None
        self._lock = threading.RLock()
        self._waiting: list[Statement] = []
        try:
            self._connection.adapters.register_loader("json", TextLoader)
            self._check_server(address, pooler)
        except BaseException:
            self._connection.close()
            raise

    def _check_server(self, address: Address, pooler: IntegrityFault) -> None:
        # Check the parameters that libpq used, because the server's name can come from a service file.
        check_one_server(self._connection.info.get_parameters())
        version = self._connection.info.server_version
        if version < OLDEST:
            raise IntegrityFault(
                f"{address.label} is PostgreSQL {version // 10000}, and a ledger needs 17 or newer",
                "upgrade the server, or use another one",
            )
        [pid] = self.row("select pg_backend_pid()", types="integer")
        if pid != self._connection.info.backend_pid:
            raise pooler

    @property
    def connection(self) -> "psycopg.Connection[Any]":
        """The connection, for statements that need a transaction."""
        return self._connection

    @property
    def lost(self) -> bool:
        """Whether the connection has ended, and with it the session's locks."""
        return self._connection.closed

    def wait(self, statements: Sequence[Statement]) -> None:
        """Queue statements. The next `run` sends them together with its own statements, in one round trip."""
        with self._lock:
            self._waiting += statements

    def run(self, statements: Sequence[Statement]) -> list[SqlRow]:
        """Run the statements that `wait` queued, and then `statements`, in one transaction.

        Return the rows of the last statement, once a power cut can no longer lose the changes. If a statement fails,
        run the queued statements without the others, and raise psycopg.Error. After Ctrl-C, the queued statements
        remain in the queue.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, []
            try:
                return self._send([*waiting, *statements])
            except psycopg.Error:
                if waiting and not self.lost:
                    self._send(waiting)
                raise
            except KeyboardInterrupt:
                # The queued rows may already be stored. Queue them again, because a call that is logged twice is better
                # than a call that is not logged.
                self._waiting = [*waiting, *self._waiting]
                raise

    def rows(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        """Run a select statement and return the rows. `types` names the type of each column, as in `check_types`.

        Raise psycopg.Error if the rows have other types.
        """
        try:
            return [*map(check_types(types), self.run([(sql, values)]))]
        except DamagedRow:
            raise psycopg.InterfaceError(MALFORMED) from None

    def row(self, sql: str, values: Sequence[object] = (), *, types: str) -> SqlRow:
        """Run a select statement and return its only row, as `rows` does. Raise psycopg.Error if it has another one."""
        rows = self.rows(sql, values, types=types)
        if len(rows) != 1:
            raise psycopg.InterfaceError(MALFORMED)
        return rows[0]

    def _send(self, statements: Sequence[Statement]) -> list[SqlRow]:
        if not statements:
            return []
        clean = [(sql, [_clean(value) for value in values]) for sql, values in statements]
        if len(clean) == 1:
            cursor = self._connection.execute(*clean[0])
        else:
            # Outside of a transaction block, the statements of one pipeline are one transaction (libpq, "Pipeline
            # Mode").
            with self._connection.pipeline():
                cursors = [self._connection.execute(*statement) for statement in clean]
            cursor = cursors[-1]
        with _converting():
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Run the statements that `wait` queued, and close the connection. This releases the session's locks."""
        try:
            if not self.lost:
                self.run([])
        finally:
            self._connection.close()


def _fault_of(error: psycopg.OperationalError, address: Address, pooler: IntegrityFault) -> Exception:
    """Return the error to raise for a connection that failed with `error`: `pooler` if the server is a pooler."""
    text = str(error)
    # PgBouncer refuses a session with settings of its own, unless PgBouncer is configured to ignore these settings.
    if UNSUPPORTED in text:
        return pooler
    if EXCLUDED in text:
        return IntegrityFault(
            f"the server of {address.label} asks for the password in clear text or as MD5; mfa-kit does not send it, "
            "because another program on this computer could pose as the server",
            "use scram-sha-256 in the server's pg_hba.conf, or allow another method: add require_auth=password to the "
            "address",
        )
    return error


def _clean(value: object) -> object:
    """Replace NUL characters, which PostgreSQL cannot store in text."""
    return value.replace(NUL, REPLACEMENT) if isinstance(value, str) and NUL in value else value


FILES = tuple(sorted(Path(__file__).parent.glob("[0-9]*.sql")))
# The key of the advisory lock under which migrations run. The number is arbitrary.
MIGRATION = 6_387_204_117
BEGIN = """
    create schema if not exists mfa_kit;
    revoke all on schema mfa_kit from public;
    create table if not exists version (number integer primary key, applied timestamptz not null default now());
"""


def version_of(session: Session) -> int | None:
    """Return the version of the schema, or None if the database has no ledger.

    Raise psycopg.Error if the version cannot be read.
    """
    try:
        # The query names the schema, so that a role without access to it gets a permission error, not UndefinedTable.
        [number] = session.row("select coalesce(max(number), 0) from mfa_kit.version", types="integer")
    except errors.UndefinedTable:
        return None
    return int(number)


def check_version(session: Session, address: Address) -> None:
    """Raise IntegrityFault if there is no ledger, or if this mfa-kit uses another version of the ledger's schema."""
    number = version_of(session)
    if number is None:
        raise IntegrityFault(
            f"there is no ledger in {address.label}",
            suggest("ask the owner of the database to create it", "ledger init"),
        )
    if number < len(FILES):
        raise IntegrityFault(
            f"the ledger {address.label} was made by an older mfa-kit",
            suggest("ask its owner to bring it up to date", "ledger migrate"),
        )
    if number > len(FILES):
        raise IntegrityFault(
            f"the ledger {address.label} was made by a newer mfa-kit", "upgrade mfa-kit the way you installed it"
        )


def migrate(session: Session, address: Address, *, create: bool, grace: float | None = None) -> int:
    """Apply the SQL files that were not applied yet, all of them or none. Return how many files were applied.

    With `create`, also create the schema. `grace`, if given, is the new number of seconds for which a run stays
    reserved for its process after a restart of the server. Raise psycopg.Error if a statement fails, UsageFault if
    there is no schema, and IntegrityFault if a newer mfa-kit made the schema.
    """
    database = session.connection
    with database.transaction():
        database.execute("select pg_advisory_xact_lock($1)", (MIGRATION,))
        if create:
            database.execute(BEGIN)
        [schema_exists] = session.row("select to_regclass('mfa_kit.version') is not null", types="boolean")
        if not schema_exists:
            raise UsageFault(f"there is no ledger in {address.label}", suggest("create it", "ledger init"))
        [number] = session.row("select coalesce(max(number), 0) from version", types="integer")
        for file in FILES[number:]:
            database.execute(file.read_bytes())
            database.execute("insert into version (number) values ($1)", (int(file.name[:4]),))
        if grace is not None:
            database.execute("update settings set grace = $1", (grace,))
    check_version(session, address)
    return max(len(FILES) - int(number), 0)


# How many seconds to wait for a run's lock (WAIT), and between attempts to take the lock (LOOK_AGAIN).
WAIT, LOOK_AGAIN = 10.0, 0.05
# The server accepts a row of a run only from a session that holds the run's lock. So the session counts as holding its
# locks for this many seconds after it sent such a row.
FRESH = 1.0
# The maximum number of sessions of a process. Further threads share them, because by default a server allows only 100
# sessions for all its clients together.
MOST = 16
# Selects the roles that wrote rows, without the role `$1`.
ROLES = " union ".join(f"select role::text from mfa_kit.{table} where role <> $1::name" for table in READ)  # noqa: S608
# Stands before a select statement, and hides the rows of other roles than those in the parameter with this number.
ROWS = "{0} as (select * from mfa_kit.{0} where role = any(${{0}}::name[]))"
OF_ROLES = f"with {', '.join(ROWS.format(table) for table in READ)} "
AGAIN = "run the same command again, to complete or remove what is unfinished in IAM"


def postgresql_ledger(
    text: str,
    *,
    end: Callable[[IntegrityFault], NoReturn],
    alert: Callable[[str], None],
    clock: Callable[[], float] = time.time,
) -> Ledger:
    """Open the ledger at the address `text`, a connection string of libpq.

    Raise UsageFault if the address is invalid, and IntegrityFault if the ledger cannot be used. `clock` returns the
    Unix time of new rows. `end` is called if a session is lost while this process holds locks of runs. It reports the
    fault and ends the process at once. `alert` prints a warning about rows that were skipped.
    """
    return Ledger(PostgresqlDatabase(parse_address(text), end=end, alert=alert), clock=clock)


@cache
def _by_team(sql: str) -> str:
    """Return the statement `sql`, changed so that its `on conflict` clause concerns only rows of the same team."""
    return sql.replace("on conflict (", "on conflict (team, ")


class PostgresqlDatabase:
    """Implements Database with the schema `mfa_kit` of a PostgreSQL database."""

    shared = True
    record = """
        insert into transitions (run, serial, verb, reached, intent, backup, at, since, sealed)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    """

    def __init__(
        self, address: Address, *, end: Callable[[IntegrityFault], NoReturn], alert: Callable[[str], None]
    ) -> None:
        self._address, self._end, self._alert = address, end, cache(alert)
        self._guard, self._connecting, self._taking = threading.Lock(), threading.Lock(), threading.Lock()
        self._sessions: dict[threading.Thread, Session] = {}
        # For each run whose lock this process holds: the sessions that hold the lock.
        self._held: dict[str, set[Session]] = {}
        self._process = str(uuid.uuid4())
        # For each session: when it sent the last row of a run that the server acknowledged, in seconds of `uptime`.
        self._proved: dict[Session, float] = {}
        session = self._session()
        try:
            with self._using(session):
                check_version(session, address)
        except BaseException:
            session.close()
            raise

    @contextmanager
    def faults(self, advice: str = "check the server, its disk and the network") -> Iterator[None]:
        """Convert errors of PostgreSQL, and DamagedRow, to IntegrityFault.

        `advice` is the hint, except for errors that have a hint of their own.
        """
        try:
            yield
        except DamagedRow as error:
            hint = suggest(
                "restore the database from a backup; devices in IAM are not affected; see", "help shared-state"
            )
            raise IntegrityFault(f"the ledger {self._address.label} is damaged: {error}", hint) from None
        except errors.InsufficientPrivilege as error:
            message = f"your role lacks a privilege in the ledger {self._address.label}: {describe(error)}"
            raise IntegrityFault(
                message, suggest("ask the owner to grant the privileges", "ledger grants --help")
            ) from None
        except errors.ReadOnlySqlTransaction:
            raise IntegrityFault(
                f"the server of the ledger {self._address.label} is a standby, or was made read-only",
                suggest(
                    "give the address of the server that takes records, or promote this one; see", "help shared-state"
                ),
            ) from None
        except psycopg.Error as error:
            message = f"the ledger {self._address.label} cannot be used: {describe(error)}"
            raise IntegrityFault(message, "report this" if error.sqlstate == NO_RUN else advice) from None

    @contextmanager
    def _using(self, session: Session) -> Iterator[None]:
        """Convert errors of PostgreSQL to IntegrityFault.

        If the session is lost while this process holds locks of runs, end the process, because another process may
        already settle one of these runs.
        """
        try:
            with self.faults():
                try:
                    yield
                except (psycopg.Error, UnicodeError) as error:
                    if session.lost or getattr(error, "sqlstate", "") == LOCK_LOST:
                        self._lose(describe(error) if isinstance(error, psycopg.Error) else str(error))
                    raise
        except UnicodeError:
            raise IntegrityFault(
                "the ledger cannot store a name that is not valid UTF-8", "correct the name of the user, device or file"
            ) from None

    def _lose(self, cause: str) -> None:
        if self._held:
            self._end(IntegrityFault(f"the session with the ledger {self._address.label} was lost: {cause}", AGAIN))

    def _session(self) -> Session:
        """Return this thread's session.

        If the thread has no session, take over the session of an ended thread, with the locks that it holds. If there
        is none, open a new session. If this fails, or there are already MOST sessions, share one with other threads.
        """
        thread = threading.current_thread()
        with self._guard:
            if own_session := self._sessions.get(thread):
                return own_session
        with self._connecting:
            with self.faults(REACH):
                session = self._unused() or self._open()
            with self._guard:
                self._sessions[thread] = session
        return session

    def _unused(self) -> Session | None:
        """Return the session of an ended thread, if there is one.

        Otherwise, if there are already MOST sessions, return the session with the fewest threads, to share it. Return
        None if a new session has to be opened.
        """
        with self._guard:
            ended = next((thread for thread in self._sessions if not thread.is_alive()), None)
            if ended is not None:
                return self._sessions.pop(ended)
            sessions = {*self._sessions.values()}
        return self._least_used() if len(sessions) >= MOST else None

    def _open(self) -> Session:
        """Open a session. If that fails, return an existing session to share.

        Raise psycopg.Error if this process has no session to share.
        """
        try:
            return Session(self._address)
        except psycopg.OperationalError:
            if (shared := self._least_used()) is None:
                raise
            return shared  # if the server cannot be reached at all, the next statement fails

    def _least_used(self) -> Session | None:
        """Return the session with the fewest threads, or None if this process has no session."""
        with self._guard:
            used = [*self._sessions.values()]
        return min({*used}, key=used.count, default=None)

    def select(self, sql: str, values: Sequence[object] = ()) -> list[SqlRow]:
        """Run a select statement and return the rows."""
        session = self._session()
        with self._using(session):
            return session.run([(sql, values)])

    def read(self, sql: str, values: Sequence[object], convert: Callable[[SqlRow], T]) -> list[T]:
        """Run a select statement and return the converted rows.

        Report and leave out damaged rows of other roles. Raise IntegrityFault for a damaged row of this role.
        """
        session = self._session()
        with self._using(session):
            try:
                return [convert(row) for row in session.run([(sql, values)])]
            except (DamagedRow, errors.DataError):
                return self._read_undamaged(session, sql, values, convert)

    def _read_undamaged(
        self, session: Session, sql: str, values: Sequence[object], convert: Callable[[SqlRow], T]
    ) -> list[T]:
        """Run a select statement again for the rows of each role. Report roles with damaged rows, and leave these out.

        If PostgreSQL cannot evaluate the statement for a role's rows, leave out all rows of the role. Raise DamagedRow
        or psycopg.DataError if this role's own rows are damaged.
        """

        def rows_of(*roles: str) -> list[SqlRow]:
            return session.run([(OF_ROLES.format(len(values) + 1) + sql, (*values, [*roles]))])

        [own] = session.row("select session_user::text", types="text")
        sound = [own]
        for row in rows_of(own):
            convert(row)
        for (role,) in session.rows(ROLES, (own,), types="text"):
            try:
                for row in rows_of(role):
                    convert(row)
                sound.append(role)
            except (DamagedRow, errors.DataError):
                self._alert(
                    f"warning: skipped rows of role {role} in the ledger {self._address.label}, because they have "
                    "values that mfa-kit does not write; ask the ledger's owner to check the rows"
                )
        try:
            rows = session.run([(sql, values)])
        except errors.DataError:
            rows = rows_of(*sound)
        converted = []
        for row in rows:
            with suppress(DamagedRow):
                converted.append(convert(row))
        return converted

    def write(self, *changes: RowChange, run: str | None = None) -> None:
        """Write rows, all of them or none. Return once a power cut can no longer lose them.

        For rows of a run, this thread's session first joins the sessions that hold the run's lock.
        """
        session = self._session()
        with self._using(session):
            if run:
                self._enter(session, run)
            sent = uptime()
            session.run(_statements(changes))
        if run:
            # Store the time of sending, not the present time. Since the acknowledgment, this process may have been
            # suspended, and another process may have taken the run's lock.
            self._proved[session] = sent

    def _enter(self, session: Session, run: str) -> None:
        """Let `session` share a run's lock with the session of this process that already holds the lock.

        End the process if another process has taken the lock.
        """
        if session not in self._held[run]:
            [entered] = session.row("select enter($1, $2)", (run, self._process), types="boolean")
            if not entered:
                self._lose("another process has taken the run")
            self._held[run].add(session)

    def log(self, *changes: RowChange) -> None:
        """Write rows, all of them or none.

        If this thread's session holds the lock of a run, the rows are sent together with the session's next statement,
        to save a round trip.
        """
        session = self._session()
        if any(session in sessions for sessions in [*self._held.values()]):
            session.wait(_statements(changes))
            return
        with self._using(session):
            session.run(_statements(changes))

    def hold(self, run: str, *, doing: str) -> None:
        """Take a run's lock for this process. Raise IntegrityFault if the lock is not free within WAIT seconds.

        With `doing`, for example "is working on ARN", the message becomes "process 123 is working on ARN".
        """
        session, until = self._session(), time.monotonic() + WAIT
        with self._taking:
            if run in self._held:
                return
            while not (taken := self._take(session, run)) and time.monotonic() < until:
                sleep(LOOK_AGAIN)
        if not taken:
            raise self._taken(session, run, doing)

    def _take(self, session: Session, run: str) -> bool:
        with self._using(session):
            [taken] = session.row("select take($1, $2)", (run, self._process), types="boolean")
        if taken:
            self._held[run] = {session}
        return bool(taken)

    def _taken(self, session: Session, run: str, doing: str) -> IntegrityFault:
        with self._using(session):
            [holder] = session.row("select holder($1)", (run,), types="text?")
        if holder is None:
            return IntegrityFault(
                f"the server was restarted or failed over, and the process that {doing} could still be running",
                "wait for a minute, then run this again",
            )
        return IntegrityFault(f"{holder} {doing}", "wait until it ends, or end it; then run this again")

    def try_to_hold(self, run: str) -> bool:
        """Try to take a run's lock. Return False if this process or another process already holds the lock.

        Return False also during the grace period after a restart of the server, if the run was in progress then.
        """
        session = self._session()
        with self._taking:
            return run not in self._held and self._take(session, run)

    def release(self, run: str, *, finished: Callable[[], bool]) -> None:
        """Release a run's lock in all sessions of this process. `finished` is not used."""
        for session in self._held[run]:
            with self._using(session):
                session.run([("select give_back($1)", (run,))])
        del self._held[run]

    def workers(self, works: Sequence[str]) -> list[SqlRow]:
        """Return which processes, on any computer, hold the locks with these names, as `Database.workers` does."""
        return self.select("select work, computer, process, since from workers($1)", ([*works],))

    def holds(self, run: str) -> bool:
        """Return whether this process holds a run's lock."""
        return run in self._held

    @property
    def left_held(self) -> tuple[str, ...]:
        """An empty tuple. No lock has to be released before closing, because `close` itself releases all locks."""
        return ()

    def check(self) -> None:
        """End the process if the session of this thread is lost, because the session's locks are then lost too.

        Do nothing if this process holds no locks. Do not ask the server if, since the last check and in the last FRESH
        seconds, the session sent a row of a run that the server acknowledged.
        """
        session = self._session()
        if not self._held or uptime() - self._proved.pop(session, -FRESH) < FRESH:
            return
        with self._using(session):
            session.run([("select 1", ())])

    def without_fsync(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: a power cut cannot lose a row that PostgreSQL has acknowledged."""
        return nullcontext()

    def close(self) -> None:
        """Release all locks, and close all sessions.

        Without the release, the server would free the locks only a moment after the sessions have been closed.
        """
        with self.faults():
            for session in {id(open_session): open_session for open_session in self._sessions.values()}.values():
                with suppress(psycopg.Error):
                    session.run(
                        [
                            ("select give_back($1)", (run,))
                            for run, sessions in self._held.items()
                            if session in sessions
                        ]
                    )
                session.close()


def _statements(changes: Sequence[RowChange]) -> list[Statement]:
    return [(_by_team(sql), values) for sql, rows in changes for values in rows]
