"""A ledger that several computers share, in PostgreSQL. A process holds the locks of its runs with its sessions."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import NoReturn

import psycopg
from psycopg import errors

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.postgresql.address import Address, parse_address
from mfa_kit.adapters.ledger.postgresql.grants import READ
from mfa_kit.adapters.ledger.postgresql.schema import check_version
from mfa_kit.adapters.ledger.postgresql.sessions import LOCK_LOST, NO_RUN, REACH, Session, Statement, describe
from mfa_kit.adapters.ledger.tables import DamagedRow, RowChange, SqlRow, T
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.message import suggest
from mfa_kit.core.stopping import sleep
from mfa_kit.posix.processes import uptime

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
            hint = "restore the database from a backup; devices in IAM are not affected; see docs/shared-state.md"
            raise IntegrityFault(f"the ledger {self._address.label} is damaged: {error}", hint) from None
        except errors.InsufficientPrivilege as error:
            message = f"your role lacks a privilege in the ledger {self._address.label}: {describe(error)}"
            raise IntegrityFault(
                message, suggest("ask the owner to grant the privileges", "ledger grants --help")
            ) from None
        except psycopg.Error as error:
            message = f"the ledger {self._address.label} cannot be used: {describe(error)}"
            raise IntegrityFault(message, "report this" if error.sqlstate == NO_RUN else advice) from None

    @contextmanager
    def _using(self, session: Session) -> Iterator[None]:
        """Convert errors of PostgreSQL to IntegrityFault.

        If the session is lost while this process holds locks of runs, end the process, because another process may
        already settle (complete or undo) one of these runs.
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
                f"the server was restarted, and the process that {doing} could still be running",
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
