"""The ledger in PostgreSQL, which many computers share. The sessions of a process hold the locks of its runs."""

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
from mfa_kit.adapters.ledger.postgresql.schema import check_version
from mfa_kit.adapters.ledger.postgresql.sessions import LOCK_LOST, NO_RUN, REACH, Session, Statement, describe
from mfa_kit.adapters.ledger.tables import DamagedRow, RowChange, SqlRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.posix.uptime import uptime

# How many seconds to wait for a run's lock, and between attempts to take the lock.
WAIT, LOOK_AGAIN = 10.0, 0.05
# After the server has acknowledged a row of a run, the session counts as holding its locks until this many seconds
# after the row was sent.
FRESH = 1.0
# Threads beyond this number share sessions, because a server allows about 100 sessions for all its clients together.
MOST = 16
AGAIN = "run the same command again, which looks at IAM and completes or removes what is unfinished"


def postgresql_ledger(
    text: str, *, end: Callable[[IntegrityFault], NoReturn], clock: Callable[[], float] = time.time
) -> Ledger:
    """Open the ledger at the address `text`, a connection string of libpq.

    Raise UsageFault if the address is invalid, and IntegrityFault if the ledger cannot be used. `clock` returns the
    Unix time of new rows. `end` reports a fault and ends the process at once. The database calls `end` if a session is
    lost while this process holds locks of runs.
    """
    return Ledger(PostgresqlDatabase(parse_address(text), end=end), clock=clock)


@cache
def _by_team(sql: str) -> str:
    """Return the statement `sql`, changed so that its `on conflict` clause concerns only rows of the same team."""
    return sql.replace("on conflict (", "on conflict (team, ")


class PostgresqlDatabase:
    """A Database in the schema `mfa_kit` of a PostgreSQL database."""

    shared = True
    record = """
        insert into transitions (run, serial, verb, reached, intent, backup, at, since, sealed)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    """

    def __init__(self, address: Address, *, end: Callable[[IntegrityFault], NoReturn]) -> None:
        self._address, self._end = address, end
        self._guard, self._connecting, self._taking = threading.Lock(), threading.Lock(), threading.Lock()
        self._sessions: dict[threading.Thread, Session] = {}
        # The sessions that hold the lock of each run.
        self._held: dict[str, set[Session]] = {}
        self._process = str(uuid.uuid4())
        # When each session sent its last row of a run, if the server has acknowledged the row.
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
        """Convert errors of PostgreSQL, and DamagedRow, to IntegrityFault. `advice` is the hint of most errors."""
        try:
            yield
        except DamagedRow as error:
            hint = "restore the database from a backup; devices in IAM are not affected; see docs/shared-state.md"
            raise IntegrityFault(f"the ledger {self._address.label} is damaged: {error}", hint) from None
        except errors.InsufficientPrivilege as error:
            what = f"your role lacks a privilege in the ledger {self._address.label}: {describe(error)}"
            raise IntegrityFault(what, "ask its owner to grant the privileges: mfa-kit ledger grants --help") from None
        except psycopg.Error as error:
            what = f"the ledger {self._address.label} cannot be used: {describe(error)}"
            raise IntegrityFault(what, "report this" if error.sqlstate == NO_RUN else advice) from None

    @contextmanager
    def _using(self, session: Session) -> Iterator[None]:
        """Convert errors of PostgreSQL to IntegrityFault.

        If the session is lost and this process holds locks of runs, end the process. Otherwise this process could
        change a device while another process settles (completes or undoes) the run.
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
            raise IntegrityFault("the ledger cannot store a name with invalid characters", "correct the name") from None

    def _lose(self, cause: str) -> None:
        if self._held:
            self._end(IntegrityFault(f"the session with the ledger {self._address.label} was lost: {cause}", AGAIN))

    def _session(self) -> Session:
        """Return this thread's session. If it has none, take over the session of an ended thread, or open one.

        A session that is taken over keeps its locks. If there are already MOST sessions, share one with other threads.
        """
        thread = threading.current_thread()
        with self._guard:
            if found := self._sessions.get(thread):
                return found
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
            ended = next((each for each in self._sessions if not each.is_alive()), None)
            if ended is not None:
                return self._sessions.pop(ended)
            sessions = {*self._sessions.values()}
        return self._least_used() if len(sessions) >= MOST else None

    def _open(self) -> Session:
        """Open a session. If the server accepts no more sessions, return an existing one to share.

        Raise psycopg.Error if this process has no session to share.
        """
        try:
            return Session(self._address)
        except psycopg.OperationalError:
            if (shared := self._least_used()) is None:
                raise
            return shared  # if the server cannot be reached at all, the next statement shows that

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

    def write(self, *changes: RowChange, run: str | None = None) -> None:
        """Write rows, all of them or none, and return when they survive a power cut.

        For rows of a run, this thread's session first takes a share of the run's lock.
        """
        session = self._session()
        with self._using(session):
            if run:
                self._enter(session, run)
            sent = uptime()
            session.run(_statements(changes))
        if run:
            # Store the time of sending, not the present time. Between the acknowledgment and now, this process may have
            # been frozen, and have lost the run to another process.
            self._proved[session] = sent

    def _enter(self, session: Session, run: str) -> None:
        """Let `session` share a run's lock with the session of this process that already holds the lock.

        End the process if another process has taken the lock.
        """
        if session not in self._held[run]:
            [[entered]] = session.run([("select enter($1, $2)", (run, self._process))])
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

        The message names the process that holds the lock, followed by `doing`, which says what that process does.
        """
        session, until = self._session(), time.monotonic() + WAIT
        with self._taking:
            if run in self._held:
                return
            while not (taken := self._take(session, run)) and time.monotonic() < until:
                time.sleep(LOOK_AGAIN)
        if not taken:
            raise self._taken(session, run, doing)

    def _take(self, session: Session, run: str) -> bool:
        with self._using(session):
            [[taken]] = session.run([("select take($1, $2)", (run, self._process))])
        if taken:
            self._held[run] = {session}
        return bool(taken)

    def _taken(self, session: Session, run: str, doing: str) -> IntegrityFault:
        with self._using(session):
            [[holder]] = session.run([("select holder($1)", (run,))])
        if holder is None:
            return IntegrityFault(
                f"the server was restarted, and the process that {doing} could still be running",
                "wait for a minute, then run this again",
            )
        return IntegrityFault(f"{holder} {doing}", "wait until it ends, or end it; then run this again")

    def try_to_hold(self, run: str) -> bool:
        """Try to take the lock of another run. Return False if this process or another process already holds the lock.

        Return False also if the run was in progress when the server was restarted, until the grace period has passed.
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
        """Return which processes hold the locks of these pieces of work, on any computer."""
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

        Do nothing if this process holds no locks, or if the session sent a row of a run in the last FRESH seconds and
        the server acknowledged the row.
        """
        session = self._session()
        if not self._held or uptime() - self._proved.pop(session, -FRESH) < FRESH:
            return
        with self._using(session):
            session.run([("select 1", ())])

    def lightly(self) -> AbstractContextManager[None]:
        """Return a context that does nothing. PostgreSQL acknowledges a row only once the row survives a power cut."""
        return nullcontext()

    def close(self) -> None:
        """Release all locks, and close all sessions.

        Without the release, the server would free the locks only a moment after the sessions have been closed.
        """
        with self.faults():
            for session in {id(each): each for each in self._sessions.values()}.values():
                with suppress(psycopg.Error):
                    session.run(
                        [("select give_back($1)", (run,)) for run, held in self._held.items() if session in held]
                    )
                session.close()


def _statements(changes: Sequence[RowChange]) -> list[Statement]:
    return [(_by_team(sql), values) for sql, rows in changes for values in rows]
