"""Administers a ledger in PostgreSQL: creates and migrates the ledger, copies rows into it, and reads its state."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import errors

from mfa_kit.adapters.ledger.ledger import OPEN
from mfa_kit.adapters.ledger.postgresql.address import Address, parse_address
from mfa_kit.adapters.ledger.postgresql.copying import copy_rows
from mfa_kit.adapters.ledger.postgresql.schema import check_version, migrate, version_of
from mfa_kit.adapters.ledger.postgresql.sessions import REACH, Session, describe
from mfa_kit.adapters.ledger.sqlite_database import SqliteDatabase
from mfa_kit.core.errors import IntegrityFault, UsageFault

STATE = f"""
    select current_setting('server_version'), session_user, my_team(), is_auditor(),
        (select rolsuper or rolbypassrls from pg_roles where rolname = session_user),
        coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
        extract(epoch from clock_timestamp())::double precision,
        (select count(*) from journal where {OPEN}),
        (select count(*) from pg_stat_activity where datname = current_database() and application_name like 'mfa-kit@%')
"""  # noqa: S608 - our own names
STATE_TYPES = "text text text boolean boolean boolean time integer integer"

# Selects what `mfa-kit doctor` checks besides settings: the privileges of the role, whether the session uses a Unix
# socket, and the server's clock.
CONDITIONS = """
    select is_owner(), has_any_column_privilege('transitions', 'insert')
        and has_function_privilege('take(text, uuid)', 'execute'),
        has_function_privilege('pg_try_advisory_lock(bigint)', 'execute'),
        (select client_addr is null from pg_stat_activity where pid = pg_backend_pid()),
        extract(epoch from clock_timestamp())::double precision
"""
CONDITION_TYPES = "boolean boolean boolean boolean time"
# Roles that got their privileges from an older version of `ledger grants` may not read the column `grace`.
GRACE = "select grace from settings"
MAY_READ_GRACE = "select has_column_privilege('settings', 'grace', 'select')"
# HAS_TEAM selects whether the role has a team, or no role has one. Only the owner may read the table `members`.
OWNS, HAS_TEAM = "select is_owner()", "select my_team() <> '' or not exists(select from members where not auditor)"
SETTING = "select name, setting from pg_settings where name = any($1)"
SETTINGS = (
    *("fsync", "synchronous_commit", "statement_timeout", "transaction_timeout", "idle_session_timeout"),
    *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConditions:
    """The conditions under which a session uses a ledger in PostgreSQL.

    `owner` says whether the role owns the ledger, `may_write` whether the role may record runs, and `any_lock` whether
    the role may take any lock, including those of other teams. `settings` has the values of SETTINGS in this session,
    by name. Timeouts are in milliseconds, and times of keepalives in seconds. `socket` says whether the session uses a
    Unix socket. `ahead` is how many seconds the server's clock is ahead of this computer's clock, and `accuracy` is the
    largest possible error of `ahead`, in seconds.
    """

    owner: bool
    may_write: bool
    any_lock: bool
    settings: Mapping[str, str]
    socket: bool
    ahead: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """The state of a ledger in PostgreSQL, as the role of the session sees it.

    `sees_all` says whether the role is exempt from row level security, and so sees the rows of all teams. `now` is the
    server's Unix time. `unfinished` is the number of unfinished journal entries, and `sessions` the number of sessions
    of mfa-kit with this database. `grace` is how many seconds a run stays reserved for its process after a restart of
    the server, or None if the role may not read this setting.
    """

    address: str
    server: str
    schema_version: int
    role: str
    team: str
    auditor: bool
    sees_all: bool
    tls: bool
    now: float
    unfinished: int
    sessions: int
    grace: float | None


@dataclass(frozen=True, slots=True)
class OwnedLedger:
    """The ledger at the address `text`. Each method opens a session of its own.

    `create`, `migrate` and `copy_from` need the role of the ledger's owner. `state` and `examine` work with any role of
    the ledger.
    """

    text: str

    def create(self, *, grace: float | None) -> int:
        """Create the ledger, or bring its schema up to date. Return how many migrations were applied.

        `grace` is how many seconds a run stays reserved for its process after a restart of the server. None keeps the
        present value.
        """
        with self._session() as (session, address):
            return migrate(session, address, create=True, grace=grace)

    def migrate(self) -> int:
        """Bring the ledger's schema up to date. Return how many migrations were applied.

        Raise UsageFault if the ledger does not exist.
        """
        with self._session() as (session, address):
            return migrate(session, address, create=False)

    def copy_from(self, folder: Path) -> dict[str, int]:
        """Copy the ledger in a folder into this ledger. Return the number of copied rows, by table.

        Raise UsageFault if there is no ledger in the folder, or if one of the runs in that ledger is in progress. Raise
        UsageFault also if the role does not own this ledger, or has no team although other roles have one.
        """
        if not (folder / "ledger.sqlite").exists():
            raise UsageFault(f"there is no ledger in {folder}", "name the folder of mfa-kit's files: --from DIR")
        source = SqliteDatabase(folder)
        try:
            for (run,) in source.select(f"select distinct run from journal where {OPEN}"):  # noqa: S608
                if not source.try_to_hold(run):
                    raise UsageFault(
                        f"run {run} is in progress on this computer", "wait until it ends, then copy again"
                    )
            with self._session() as (session, address):
                check_version(session, address)
                _check_copier(session, address)
                return copy_rows(source, session)
        finally:
            for run in source.left_held:
                source.release(run, finished=lambda: False)
            source.close()

    def state(self) -> LedgerState:
        """Return the state of the ledger. Raise IntegrityFault if the ledger cannot be used."""
        return self.examine()[0]

    def examine(self) -> tuple[LedgerState, LedgerConditions]:
        """Return the state of the ledger, and the conditions under which this session uses the ledger.

        Raise IntegrityFault if the ledger cannot be used.
        """
        with self._session() as (session, address):
            check_version(session, address)
            sent = time.time()
            owner, may_write, any_lock, socket, then = session.row(CONDITIONS, types=CONDITION_TYPES)
            received = time.time()
            conditions = LedgerConditions(
                owner=owner,
                may_write=may_write,
                any_lock=any_lock,
                settings=dict(session.rows(SETTING, ([*SETTINGS],), types="text text")),
                socket=socket,
                ahead=then - (sent + received) / 2,
                accuracy=(received - sent) / 2,
            )
            state_row = session.row(STATE, types=STATE_TYPES)
            server, role, team, auditor, sees_all, tls, now, unfinished, sessions = state_row
            [may_read_grace] = session.row(MAY_READ_GRACE, types="boolean")
            state = LedgerState(
                address=address.label,
                server=server,
                schema_version=version_of(session) or 0,
                role=role,
                team=team,
                auditor=auditor,
                sees_all=sees_all,
                tls=tls,
                now=now,
                unfinished=unfinished,
                sessions=sessions,
                grace=session.row(GRACE, types="time")[0] if may_read_grace else None,
            )
            return state, conditions

    @contextmanager
    def _session(self) -> Iterator[tuple[Session, Address]]:
        address = parse_address(self.text)
        try:
            session = Session(address)
            try:
                yield session, address
            finally:
                session.close()
        except errors.InsufficientPrivilege as error:
            raise IntegrityFault(
                f"your role lacks a privilege in the ledger {address.label}: {describe(error)}",
                "use the role of the ledger's owner, or ask the owner for the privileges: mfa-kit ledger grants --help",
            ) from None
        except psycopg.Error as error:
            raise IntegrityFault(f"the ledger {address.label} cannot be used: {describe(error)}", REACH) from None


def _check_copier(session: Session, address: Address) -> None:
    """Raise UsageFault unless the role owns the ledger, and has a team if other roles have one.

    If another role copied rows, the server would set the times of the rows to the current time, so a second copy would
    add the same rows again. The computers of a team cannot see rows without a team.
    """
    if session.run([(OWNS, ())]) != [(True,)]:
        raise UsageFault(
            f"only the owner of the ledger {address.label} can copy into it",
            "name the owner's role in the address: --ledger postgresql://OWNER@HOST/DATABASE",
        )
    if session.run([(HAS_TEAM, ())]) != [(True,)]:
        raise UsageFault(
            "your role has no team, so no team would see the copied rows",
            "run the SQL that this command prints: mfa-kit ledger grants --desk ROLE=TEAM",
        )
