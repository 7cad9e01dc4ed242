"""Administers a ledger in PostgreSQL: creates and migrates the ledger, copies rows into it, and reads its state."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import errors

from mfa_kit.adapters.ledger.ledger import OPEN
from mfa_kit.adapters.ledger.postgresql.address import SERVER, Address, parse_address
from mfa_kit.adapters.ledger.postgresql.database import (
    REACH,
    Session,
    Statement,
    check_version,
    describe,
    migrate,
    version_of,
)
from mfa_kit.adapters.ledger.postgresql.grants import INSERTED
from mfa_kit.adapters.ledger.sqlite_database import SqliteDatabase
from mfa_kit.adapters.ledger.tables import Database, SqlRow
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.doctor.diagnosis import LedgerConditions, LedgerState

# The columns of each table that is copied row by row. `journal` and `ends` are not listed, because the server derives
# them from `transitions`.
COLUMNS: Mapping[str, str] = {
    "events": 'at, operation, "user", serial, request_id, answer, file',
    "sightings": 'at, serial, fingerprint, verdict, "offset", seconds, reason',
    "drills": "at, backup, result",
    "break_glass": INSERTED["break_glass"],
    "audits": "at, account, results, failed, rules",
    "audit_findings": "at, account, finding, rule, state",
    "seen_keys": INSERTED["seen_keys"],
    "device_states": INSERTED["device_states"],
}
# For each table with a key: the columns of the key, the other columns, and the condition under which a copied row
# replaces the existing row with the same key.
KEYED: Mapping[str, tuple[str, str, str]] = {
    "tokens": (
        "serial",
        "fingerprint, factor, digest, digits, period, counter, maker, model, octets, capacity, verdict, reason, at",
        "excluded.at > tokens.at",
    ),
    "seals": ("backup, recipient, since", "until", "seals.until is null"),
    "hashes": ("backup, sha256", "since, replaces, until", "hashes.until is null"),
    "device_uses": (
        "account, serial, principal, source, writer",
        '"user", at, event, region',
        "excluded.at > device_uses.at",
    ),
    "event_reads": (
        "account, region, event, source, writer",
        "since, until, reached, top, unread, why",
        "excluded.until > event_reads.until",
    ),
    "failures": ('plan, "user"', "at, cause, reason", "excluded.at > failures.at"),
    "rollout_runs": ("plan, run", "at, ended", "rollout_runs.ended is null"),
}
JOURNAL = "run, serial, verb, reached, intent, backup, at, since, sealed"
TRANSITION = f"insert into transitions ({JOURNAL}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"  # noqa: S608
BATCH = 500


def copy_rows(source: Database, target: Session) -> dict[str, int]:
    """Copy all tables. Return the number of copied rows by the name of the table.

    Raise psycopg.Error if PostgreSQL reports an error, and IntegrityFault if the source cannot be read.
    """
    copied = {"journal": _copy_journal(source, target)}
    for table, columns in COLUMNS.items():
        read = f"select {columns} from {table}"  # noqa: S608 - our own names
        missing = Counter(source.select(read)) - Counter(target.run([(read, ())]))
        copied[table] = _insert(target, table, columns, missing.elements(), "")
    for table, (key, others, newer) in KEYED.items():
        columns = f"{key}, {others}"
        read = f"select {columns} from {table}"  # noqa: S608 - our own names
        missing = Counter(source.select(read)) - Counter(target.run([(read, ())]))
        updates = ", ".join(f"{name} = excluded.{name}" for name in others.split(", "))
        conflict = f"on conflict (team, {key}) do update set {updates} where {newer}"
        copied[table] = _insert(target, table, columns, missing.elements(), conflict)
    return copied


def _insert(target: Session, table: str, columns: str, rows: Iterable[SqlRow], more: str) -> int:
    places = ", ".join(f"${number}" for number in range(1, columns.count(",") + 2))
    sql = f"insert into {table} ({columns}) values ({places}) {more}"  # noqa: S608 - our own names
    waiting: list[Statement] = [(sql, row) for row in rows]
    for start in range(0, len(waiting), BATCH):
        target.run(waiting[start : start + BATCH])
    return len(waiting)


def _copy_journal(source: Database, target: Session) -> int:
    """Copy the entries of the journal, oldest first, and return how many were copied.

    The table `ends` has a row for each time an entry reached a final state. These states are copied before the entry's
    present state. States that are not later than the entry's state in the target are not copied.
    """
    read = f"select {JOURNAL} from journal order by at, run"  # noqa: S608 - our own names
    target_rows = {row[:2]: row for row in target.run([(read, ())])}
    ends: defaultdict[tuple[str, str], list[SqlRow]] = defaultdict(list)
    for run, serial, verb, reached, reached_at in source.select(
        "select run, serial, verb, reached, at from ends order by id"
    ):
        ends[run, serial].append((verb, reached, reached_at))
    copied = 0
    for row in source.select(read):
        before = target_rows.get(row[:2])
        if before and before[6] >= row[6]:
            continue
        copied += 1
        target.run(_steps(row, [end for end in ends[row[0], row[1]] if before is None or end[2] > before[6]]))
    return copied


def _steps(row: SqlRow, ends: Sequence[SqlRow]) -> list[Statement]:
    """Return the statements that record the states in `ends` and then the state in `row`, under the run's lock.

    `row` has the columns JOURNAL. Each row in `ends` has a verb, a state and a time.
    """
    run, serial, verb, reached, spec, backup, reached_at, since, sealed = row
    states = [*ends] if ends and ends[-1] == (verb, reached, reached_at) else [*ends, (verb, reached, reached_at)]
    inserts: list[Statement] = [
        (TRANSITION, (run, serial, verb_then, reached_then, spec, backup, at_then, since, sealed))
        for verb_then, reached_then, at_then in states
    ]
    return [("select take($1, gen_random_uuid())", (run,)), *inserts, ("select give_back($1)", (run,))]


STATE = f"""
    select current_setting('server_version'), session_user, my_team(), is_auditor(),
        (select rolsuper or rolbypassrls from pg_roles where rolname = session_user),
        coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false),
        extract(epoch from clock_timestamp())::double precision,
        (select count(*) from journal where {OPEN}),
        (select extract(epoch from clock_timestamp() - min(recorded))::integer from journal where {OPEN}),
        (select count(*) from pg_stat_activity where datname = current_database() and application_name like 'mfa-kit@%')
"""  # noqa: S608 - our own names
STATE_TYPES = "text text text boolean boolean boolean time integer integer? integer"

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
    *("fsync", "synchronous_commit", "synchronous_standby_names", "in_hot_standby"),
    *("statement_timeout", "transaction_timeout", "idle_session_timeout"),
    *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"),
)


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
                required=SERVER,
                socket=socket,
                ahead=then - (sent + received) / 2,
                accuracy=(received - sent) / 2,
            )
            state_row = session.row(STATE, types=STATE_TYPES)
            server, role, team, auditor, sees_all, tls, now, unfinished, oldest, sessions = state_row
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
                oldest_unfinished_s=oldest,
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
                suggest(
                    "use the role of the ledger's owner, or ask the owner for the privileges", "ledger grants --help"
                ),
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
            suggest("run the SQL that this command prints", "ledger grants --desk ROLE=TEAM"),
        )
