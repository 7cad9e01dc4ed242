"""Sessions with PostgreSQL. A lost session is not reconnected, because the server has released the session's locks."""

import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.types.string import TextLoader

from mfa_kit.adapters.ledger.ledger import check_types
from mfa_kit.adapters.ledger.postgresql.address import Address, check_one_server
from mfa_kit.adapters.ledger.tables import DamagedRow, SqlRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.posix.processes import memory_used

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
T = TypeVar("T")
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
