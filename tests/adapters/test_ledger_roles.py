"""What each role may do in a ledger in PostgreSQL, with real roles: desks, an auditor, the owner, nobody."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psycopg
import pytest

from mfa_kit.adapters.ledger.postgresql.database import BEGIN, FILES
from mfa_kit.adapters.ledger.postgresql.grants import INSERTED, READ, grants
from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.adapters.ledger.usage_records import UsageRecords
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Call, DeviceSpec, DeviceUse, JournalEntry, JournalState, UseEvent
from mfa_kit.usage.events import EventsReading
from tests.ledgers import Place
from tests.postgresql import OWNER, Server

RUN, OTHER_RUN = "20261125T000000Z-00000001", "20261125T000000Z-00000002"
CALL = Call(operation="X", user=None, serial=None, request_id=None, answer="OK")
TABLES = ("transitions", *(table for table in READ if table != "transitions"))
FORGED = """
    insert into mfa_kit.transitions (run, serial, verb, reached, intent, at)
        values ('20261125T000000Z-00000009', 's', 'enroll', 'confirmed', '{}', 1)
"""
# Statements that no role may run, and every statement that would change the log or the journal.
FORBIDDEN = [
    *(f"update mfa_kit.{table} set team = team" for table in TABLES),
    *(f"delete from mfa_kit.{table}" for table in TABLES),
    *(f"truncate mfa_kit.{table}" for table in TABLES),
    *(f"drop table mfa_kit.{table}" for table in TABLES),
    *(f"alter table mfa_kit.{table} disable trigger all" for table in TABLES),
    *(f"alter table mfa_kit.{table} disable row level security" for table in TABLES),
    *(f"insert into mfa_kit.{table} (team) values ('paris')" for table in TABLES),
    *(f"insert into mfa_kit.{table} (role) values ('other')" for table in ("transitions", "events", "tokens")),
    *(f"insert into mfa_kit.{table} (computer) values ('other')" for table in ("transitions", "events", "tokens")),
    *(f"insert into mfa_kit.{table} (recorded) values (now())" for table in ("transitions", "events", "tokens")),
    "insert into mfa_kit.journal select * from mfa_kit.journal",
    "insert into mfa_kit.ends (run, reached) select run, reached from mfa_kit.ends",
    "update mfa_kit.events set answer = 'OK'",
    "update mfa_kit.transitions set at = 0",
    "update mfa_kit.journal set reached = 'confirmed'",
    "select * from mfa_kit.members",
    "select salt from mfa_kit.settings",
    "update mfa_kit.settings set grace = 0",
    "insert into mfa_kit.members values (session_user, 'paris', true)",
    "set session_replication_role = replica",
    "set role owner",
    "set session authorization owner",
    "select pg_try_advisory_lock(1)",
    "select pg_advisory_lock(1)",
    "select pg_try_advisory_lock_shared(1, 1)",
    "select pg_advisory_xact_lock(1)",
    "select mfa_kit.lock_of('x')",
    "create function mfa_kit.mine() returns integer language sql as 'select 1'",
    "create table mfa_kit.mine ()",
    FORGED,
]
WITHDRAW = "select mfa_kit.withdraw('b', 1)"
MODES = (
    *("access share", "row share", "row exclusive", "share update exclusive", "share", "share row exclusive"),
    *("exclusive", "access exclusive"),
)


@dataclass
class Roles:
    """A database with a ledger, in which `berlin` and `other` are desks of two teams, and `auditor` reads."""

    server: Server
    database: str

    def place(self, role: str) -> Place:
        return Place("postgresql", self.server.address(self.database, role=role))

    def execute(self, sql: str, role: str) -> list[tuple[object, ...]]:
        return self.server.execute(sql, database=self.database, role=role)


def make_role(server: Server, name: str) -> None:
    """Create a role, unless another test did."""
    with suppress(psycopg.errors.DuplicateObject):
        server.execute('create role "' + name.replace('"', '""') + '" login')


# The server keeps its roles to the end of the session, and a process may come back to this module after others.
@pytest.fixture(scope="session")
def roles(postgresql: Server) -> Iterator[Roles]:
    names = ("berlin", "berlin2", "other", "auditor", "stranger")
    for name in names:
        postgresql.execute(f"create role {name} login")
    roles = Roles(postgresql, postgresql.new_database())
    for _ in range(2):  # it can be run again
        roles.execute(grants({"berlin": "berlin", "berlin2": "berlin", "other": "paris"}, ["auditor"]), "postgres")
    for role, run in (("berlin", RUN), ("other", OTHER_RUN)):
        with roles.place(role).open() as ledger:
            ledger.record(entry(run))
            ledger.called(CALL)
    yield roles
    postgresql.execute(f"drop database {roles.database} with (force)")


def entry(run: str) -> JournalEntry:
    return JournalEntry(run=run, spec=DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice"))


@pytest.mark.parametrize("role", ["berlin", "auditor", "stranger"])
def test_no_role_changes_the_log_or_passes_for_another(role: str, roles: Roles) -> None:
    """The server refuses each statement for lack of a privilege, or because the run's lock is missing."""
    with psycopg.connect(roles.place(role).at, autocommit=True) as connection:
        for sql in FORBIDDEN:
            with pytest.raises(psycopg.DatabaseError) as caught:
                connection.execute(sql)
            refused = isinstance(caught.value, psycopg.errors.InsufficientPrivilege)
            assert refused or caught.value.sqlstate == "MK001", sql


@pytest.mark.parametrize("role", ["berlin", "auditor", "stranger"])
def test_no_role_stops_others_by_locking_a_table(role: str, roles: Roles) -> None:
    """Only ACCESS SHARE is granted, which comes with SELECT and every role may have at the same time."""
    tables = "select relname::text from pg_class where relnamespace = 'mfa_kit'::regnamespace and relkind = 'r'"
    names = {name for (name,) in roles.execute(tables, "postgres")}
    assert names >= {*READ, "claims", "members", "settings", "version"}
    locked = set()
    for table in names:
        for mode in MODES:
            with suppress(psycopg.errors.InsufficientPrivilege):
                roles.execute(f"begin; lock table mfa_kit.{table} in {mode} mode nowait", role)
                locked.add((table, mode))
    assert locked == ({(table, "access share") for table in (*READ, "version")} if role != "stranger" else set())


@pytest.mark.parametrize("table", READ)
def test_a_desk_sees_the_rows_of_its_team_and_an_auditor_those_of_all(table: str, roles: Roles) -> None:
    """A role without privileges sees nothing."""
    sql = f"select distinct team from mfa_kit.{table}"
    assert {team for (team,) in roles.execute(sql, "berlin")} <= {"berlin"}
    assert {team for (team,) in roles.execute(sql, "auditor")} <= {"berlin", "paris"}
    if table in {"journal", "events", "transitions"}:
        assert len(roles.execute(sql, "berlin")) == 1
        assert len(roles.execute(sql, "auditor")) == 2
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.execute(sql, "stranger")


@pytest.mark.parametrize("table", INSERTED)
def test_an_auditor_writes_nothing(table: str, roles: Roles) -> None:
    """Not even what a desk may write."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.execute(
            f"insert into mfa_kit.{table} ({INSERTED[table]}) select {INSERTED[table]} from mfa_kit.{table}", "auditor"
        )


# Each step is of a run of its own, because the server may keep the lock of a run for a moment after its session ended.
RUNS = (f"20261125T000000Z-{number:08x}" for number in count(0xFF))


def step(spec: str, run: str | None = None, at: str = "1", more: str = "null") -> str:
    """Return the SQL with which a desk records a step of a run."""
    run = run or next(RUNS)
    return (
        f"select mfa_kit.take('{run}', gen_random_uuid()); insert into mfa_kit.transitions (run, serial, verb,"
        f" reached, intent, at, since) values ('{run}', 'arn:aws:iam::000000000000:mfa/x', 'enroll', 'created',"
        f" '{spec}', {at}, {more})"
    )


INTENT = '{"account": "000000000000", "partition": "aws", "user": "x", "name": "x", "kind": "virtual"%s}'
# Rows that mfa-kit does not write, and with which commands of others would fail.
# Rows of `seen_keys` from the column `event` on, each with one fault.
FACTS, NO_DEVICE = "null, null, null, null, '[]', null, null, null", "null, null, null, null, null"
SEEN_KEYS = [
    f"'x', {FACTS}, '[]', {NO_DEVICE}",
    f"'verified', {FACTS}, '{{}}', {NO_DEVICE}",
    f"'verified', {FACTS}, '[1]', {NO_DEVICE}",
    f"'verified', {FACTS.replace('[]', 'x')}, '[]', {NO_DEVICE}",
    f"'verified', {FACTS}, '[]', null, 'u', 'd', null, null",
    f"'verified', {FACTS}, '[]', 'a', 'u', 'd', 'x', null",
    f"'verified', {FACTS}, '[]', 'a', 'u', 'd', null, 'nan'",
    f"'verified', null, null, null, null, '[]', 'x', null, null, '[]', {NO_DEVICE}",
]
STATE = "repeat('0', 64), '20261125T000000Z-0123abcd', 's', 'u', 'proven', 'codes'"
MALFORMED = [
    step("{}"),
    step("[]"),
    step('"x"'),
    step(INTENT % ', "user": "y"'),
    step(INTENT % ', "unknown": 1'),
    step(INTENT % ', "path": 1'),
    step(INTENT % ', "path": "x"'),
    step(INTENT % ', "hardware": "\\u0000"'),
    step(INTENT % ', "hardware": "\\ud800"'),
    step(INTENT % ', "tags": "x"'),
    step(INTENT % ', "tags": [["a", 1]]'),
    step(INTENT % ', "tags": [["a"]]'),
    step(INTENT % ', "replaces_since": 1e30'),
    step(INTENT % ', "staged": [1]'),
    step((INTENT % "").replace('"x"', '""', 1)),
    step((INTENT % "").replace('"x"', '"\\u0000"', 1)),
    step((INTENT % "").replace('"x"', '"a/b"', 1)),
    step(INTENT % "", more="'infinity'"),
    step(INTENT % "", run="20269999T999999Z-000000ff"),
    step(INTENT % "", run="20261125T000060Z-000000ff"),
    *(
        f"insert into mfa_kit.{table} ({INSERTED[table]}) values ({row})"
        for table, row in (
            ("seals", "'b', 'r', 'nan'"),
            ("seals", "'b', 'r', -1"),
            ("hashes", "'b', repeat('0', 64), 'nan', null"),
            ("audits", "1, '000000000000', 'x', '{}', '[]'"),
            ("audits", "1, '000000000000', '{}', '[]', '[]'"),
            ("audits", "1, '000000000000', '{}', '{\"a\": \"b\"}', '[]'"),
            ("audits", "1, '000000000000', '{}', '{}', '{}'"),
            ("audits", "1, '000000000000', '{}', '{}', '[1]'"),
            ("break_glass", "1, 'r', 'sealed', '[]', 1, 1, null"),
            ("break_glass", "1, 'r', 'sealed', '{\"a\": 1}', 1, 1, null"),
            ("break_glass", "1, 'r', 'x', '{}', 1, 1, null"),
            ("break_glass", "1, 'r', 'sealed', '{}', 1, 1, repeat('x', 2000000)"),
            ("tokens", "'a', 'f', 'totp', 'sha1', 9999999999, 30, 0, 'm', 'm', 20, 0, 'untested', '', 1"),
            ("tokens", "'b', 'f', 'totp', 'sha1', 6, 0, 0, 'm', 'm', 20, 0, 'untested', '', 1"),
            ("tokens", "'c', 'f', 'x', 'sha1', 6, 30, 0, 'm', 'm', 20, 0, 'untested', '', 1"),
            ("tokens", "'d', 'f', 'totp', 'x', 6, 30, 0, 'm', 'm', 20, 0, 'untested', '', 1"),
            ("tokens", "'e', 'f', 'totp', 'sha1', 6, 30, 0, 'm', 'm', 20, 0, 'x', '', 1"),
            ("tokens", "'f', 'f', 'totp', 'sha1', 6, 30, 0, 'm', 'm', 20, 0, 'untested', '', 'infinity'"),
            ("sightings", "1, 'a', 'f', 'x', null, null, ''"),
            ("failures", "repeat('0', 64), 'x', 'nan', 'x', 'x'"),
            ("rollout_runs", "repeat('0', 64), 'x', 1"),
            ("rollout_runs", "repeat('0', 64), '20261125T000000Z-000000ff', 'infinity'"),
            *(("seen_keys", f"1, 'k', {row}") for row in SEEN_KEYS),
            ("device_states", f"'nan', {STATE}"),
            ("device_states", f"1, {STATE.replace('0123abcd', 'x')}"),
            ("device_states", f"1, {STATE.replace('proven', 'x')}"),
            ("device_states", f"1, {STATE.replace('codes', 'c' * 5000)}"),
            ("device_states", f"1, 'x', {STATE.partition('64), ')[2]}"),
            ("device_uses", "'000000000000', 's1', 'p', 'x', '', 'u', 1, 'ConsoleLogin', 'r'"),
            ("device_uses", "'000000000000', 's2', 'p', 'history', '', 'u', 1, 'CheckMfa', 'r'"),
            ("device_uses", "'000000000000', 's3', 'p', 'history', '', 'u', 'nan', 'ConsoleLogin', 'r'"),
            ("device_uses", "'000000000000', 's4', 'p', 'history', '', repeat('u', 5000), 1, 'ConsoleLogin', 'r'"),
            ("event_reads", "'000000000000', 'r5', 'ConsoleLogin', 'x', '', 1, 2, null, null, 0, ''"),
            ("event_reads", "'000000000000', 'r6', 'CheckMfa', 'history', '', 1, 2, null, null, 0, ''"),
            ("event_reads", "'000000000000', 'r7', 'ConsoleLogin', 'history', '', 'nan', 2, null, null, 0, ''"),
            ("event_reads", "'000000000000', 'r8', 'ConsoleLogin', 'history', '', 1, 'infinity', null, null, 0, ''"),
            ("event_reads", "'000000000000', 'r9', 'ConsoleLogin', 'history', '', 1, 2, -1, null, 0, ''"),
            (
                "event_reads",
                "'000000000000', 'r10', 'ConsoleLogin', 'history', '', 1, 2, null, null, 0, repeat('x', 20000)",
            ),
            ("events", "1, repeat('x', 2000000), null, null, null, 'OK', null"),
        )
    ),
]


@pytest.mark.parametrize("sql", MALFORMED)
def test_the_server_refuses_a_row_that_mfa_kit_does_not_write(sql: str, roles: Roles) -> None:
    """So a desk cannot make the commands of other desks and of auditors fail."""
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.DataError)):
        roles.execute(sql, "berlin")


def test_uses_that_another_role_recorded_are_marked_and_replace_none(roles: Roles) -> None:
    """A role cannot write a row under another role's name, nor change its row. An auditor has no rows of its own."""
    use = DeviceUse(serial="s", principal="p", user="u", at=5.0, event=UseEvent.CONSOLE_LOGIN, region="us-east-1")
    read = EventsReading(region="us-east-1", event=UseEvent.CONSOLE_LOGIN, since=1.0, until=9.0)
    account = "111122223333"
    with roles.place("berlin").open() as ledger:
        UsageRecords(ledger).record(account, [use], [read])
    forged = f"'{account}', 's', 'p', 'history', (select writer from mfa_kit.device_uses), 'u', 6, 'AssumeRole', 'x'"
    roles.execute(f"insert into mfa_kit.device_uses ({INSERTED['device_uses']}) values ({forged})", "berlin2")
    assert roles.execute("update mfa_kit.device_uses set at = 8 returning at", "berlin2") == [(8.0,)]
    assert roles.execute("select at from mfa_kit.device_uses where role = 'berlin'", "berlin2") == [(5.0,)]
    with roles.place("berlin2").open() as ledger:
        records = UsageRecords(ledger)
        assert {(use.at, use.from_files) for use in records.usage(account).uses} == {(5.0, True), (8.0, True)}
        assert records.own_readings(account) == {}
        records.record(account, [replace(use, at=9.0)], [replace(read, until=8.0)])
        assert {(use.at, use.from_files) for use in records.usage(account).uses} == {
            *((5.0, True), (8.0, True), (9.0, False)),
        }
        assert {(read.until, read.from_files) for read in records.usage(account).reads} == {(9.0, True), (8.0, False)}
    with roles.place("berlin").open() as ledger:
        assert {(use.at, use.from_files) for use in UsageRecords(ledger).usage(account).uses} == {
            *((5.0, False), (8.0, True), (9.0, True)),
        }
    with roles.place("other").open() as ledger:
        assert UsageRecords(ledger).usage(account).uses == ()
    with roles.place("auditor").open() as ledger:
        assert {use.from_files for use in UsageRecords(ledger).usage(account).uses} == {True}


def test_a_desk_keeps_the_uses_of_its_own_ledger_in_a_copy(own: Roles, folder: Path) -> None:
    """The copy marks them, because the role that copied them could have written anything."""
    account = "111122223333"
    use = DeviceUse(serial="s", principal="p", user="u", at=5.0, event=UseEvent.CONSOLE_LOGIN, region="us-east-1")
    read = EventsReading(region="us-east-1", event=UseEvent.CONSOLE_LOGIN, since=1.0, until=9.0)
    with sqlite_ledger(folder) as ledger:
        UsageRecords(ledger).record(account, [use], [read])
    own.execute(grants({"desk1": "berlin", "heir": "berlin"}, [], owner="heir"), "postgres")
    for number in (1, 0):
        copied = OwnedLedger(own.place("heir").at).copy_from(folder)
        assert (copied["device_uses"], copied["event_reads"]) == (number, number)
    with own.place("desk1").open() as ledger:
        usage = UsageRecords(ledger).usage(account)
    assert [(use.at, use.from_files) for use in usage.uses] == [(5.0, True)]
    assert [(read.until, read.from_files) for read in usage.reads] == [(9.0, True)]


def test_an_auditor_takes_no_lock_and_sees_who_holds_it(roles: Roles) -> None:
    """Its question about a run in progress leaves no row, and a run of any team counts."""
    claims, run = "select count(*) from mfa_kit.claims where team = ''", "20261125T000000Z-0000000b"
    with roles.place("berlin").open() as ledger, roles.place("auditor").open() as auditor:
        ledger.record(entry(run))
        assert auditor.lives(run)
        assert run not in {each.run for each in auditor.dead("000000000000")}
        ledger.end(run)
        assert not auditor.lives(run)
        assert run in {each.run for each in auditor.dead("000000000000")}
        ledger.record(entry(run).at(JournalState.UNDONE))
    assert roles.execute(claims, "postgres") == [(0,)]


# Temporary tables and views in place of those that the ledger's functions read.
MEMBERS = """
    create temp table members (role name, team text, auditor boolean);
    insert into members values (session_user, 'paris', true);
    grant all on members to public
"""
LOCKS = """
    create temp view pg_locks as select 'advisory' as locktype, pg_backend_pid() as pid, 1::smallint as objsubid,
        true as granted, d.oid as database, ((k >> 32) & 4294967295)::oid as classid, (k & 4294967295)::oid as objid
        from pg_database d, lateral (select hashtextextended(
            '00000000-0000-0000-0000-000000000000/berlin/20261125T000000Z-00000009', 0) as k) as key
        where datname = current_database();
    grant all on pg_locks to public;
    create temp table settings (grace double precision, salt uuid);
    insert into settings values (0, '00000000-0000-0000-0000-000000000000');
    grant all on settings to public
"""


def test_a_temporary_table_changes_no_ones_team(roles: Roles) -> None:
    """The role remains in its team, and sees no other rows."""
    teams = "select mfa_kit.my_team(), mfa_kit.is_auditor(), array(select distinct team from mfa_kit.events)"
    with psycopg.connect(roles.place("berlin").at, autocommit=True) as connection:
        connection.execute(MEMBERS)
        assert connection.execute(teams).fetchall() == [("berlin", False, ["berlin"])]


def test_a_temporary_view_is_no_lock(roles: Roles) -> None:
    """A row of a run that the role does not hold is refused, whatever the view says about locks."""
    with psycopg.connect(roles.place("berlin").at, autocommit=True) as connection:
        connection.execute(LOCKS)
        with pytest.raises(psycopg.DatabaseError, match="does not hold the lock"):
            connection.execute(FORGED)


def test_each_function_of_the_ledger_looks_for_temporary_tables_last(roles: Roles) -> None:
    """Functions of later versions too."""
    found = roles.execute(
        "select proname, proconfig from pg_proc where pronamespace = 'mfa_kit'::regnamespace", "postgres"
    )
    assert len(found) > 20
    for name, settings in found:
        assert str(settings).replace(" ", "") == "['search_path=mfa_kit,pg_temp']", name


def test_the_server_writes_the_time_and_the_role(roles: Roles) -> None:
    """A row that claims another time gets the server's."""
    sql = "insert into mfa_kit.events (at, operation, answer) values (1, 'forged', 'OK')"
    roles.execute(sql, "berlin")
    [row] = roles.execute(
        "select at > extract(epoch from now()) - 60, role::text, team from mfa_kit.events where operation = 'forged'",
        "berlin",
    )
    assert row == (True, "berlin", "berlin")


def test_a_desk_advances_the_entries_of_its_team(roles: Roles) -> None:
    """Another desk of the team settles a dead run. A desk of another team does not see it."""
    run = "20261125T000000Z-0000000a"
    with roles.place("berlin").open() as ledger:
        ledger.record(entry(run))
        with roles.place("berlin2").open() as second:
            assert run not in {each.run for each in second.dead("000000000000")}
    with roles.place("other").open() as ledger:
        assert run not in {each.run for each in ledger.dead("000000000000")}
        ledger.record(entry(run).at(JournalState.CONFIRMED))
    with roles.place("berlin2").open() as ledger:
        assert [each.run for each in ledger.dead("000000000000") if each.run == run] == [run]
        ledger.record(entry(run).at(JournalState.UNDONE))
        assert ledger.find(entry(run).spec.serial, run=run) == entry(run).at(JournalState.UNDONE)


def test_a_desk_removes_no_row_of_another_one(roles: Roles) -> None:
    """Not even after it changed the row, and no row of the day before. The first end of a period remains."""
    add = "insert into mfa_kit.seals (backup, recipient, since) values ('b', 'r', 1)"
    roles.execute(add, "berlin2")
    roles.execute("update mfa_kit.seals set until = 5", "berlin")
    roles.execute("update mfa_kit.seals set until = null", "berlin")
    roles.execute(WITHDRAW, "berlin")
    [row] = roles.execute("select role::text, until > extract(epoch from now()) - 60 from mfa_kit.seals", "berlin2")
    assert row == ("berlin2", True)
    older = "set session_replication_role = replica; update mfa_kit.seals set recorded = now() - interval '{} hours'"
    roles.execute(older.format(25), "postgres")
    roles.execute(WITHDRAW, "berlin2")
    assert len(roles.execute("select * from mfa_kit.seals", "berlin2")) == 1
    roles.execute(older.format(23), "postgres")
    for role in ("other", "berlin2"):
        roles.execute(WITHDRAW, role)
    assert roles.execute("select * from mfa_kit.seals", "berlin2") == []


def test_a_desk_does_not_pass_off_a_test_of_a_token(roles: Roles) -> None:
    """The serial may be spelled differently. The row still says which role recorded it."""
    roles.execute(
        "insert into mfa_kit.sightings (at, serial, fingerprint, verdict, reason)"
        " values (1, 'GA 1x', 'f', 'rejected', '')",
        "berlin2",
    )
    roles.execute("update mfa_kit.sightings set serial = 'ga1X'", "berlin")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="another token"):
        roles.execute("update mfa_kit.sightings set serial = 'GA2X'", "berlin")
    assert roles.execute("select serial, role::text from mfa_kit.sightings", "berlin") == [("ga1X", "berlin2")]


def test_a_desk_that_becomes_an_auditor_writes_nothing(roles: Roles) -> None:
    """Nor does it read other teams as before when it becomes a desk again."""
    roles.server.execute("create role changes login")
    add, read = (
        "insert into mfa_kit.events (at, operation, answer) values (1, 'X', 'OK')",
        "select mfa_kit.is_auditor()",
    )
    roles.execute(grants({"changes": "berlin"}, []), "postgres")
    roles.execute(add, "changes")
    roles.execute(grants({}, ["changes"]), "postgres")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.execute(add, "changes")
    roles.execute(grants({"changes": "berlin"}, []), "postgres")
    roles.execute(add, "changes")
    assert roles.execute(read, "changes") == [(False,)]


NAMES = ["o'neil", 'say "hi"', "back\\slash", "a; drop table x; --", "$$ $q$"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_role_and_a_team_is_quoted(name: str, roles: Roles) -> None:
    """The role gets its privileges and its team, and nothing else happens."""
    make_role(roles.server, name)
    for desks, auditors in (({name: name}, []), ({}, [name]), ({name: name}, [])):
        roles.execute(grants(desks, auditors), "postgres")
    with psycopg.connect(
        host=str(roles.server.folder), user=name, dbname=roles.database, autocommit=True
    ) as connection:
        [row] = connection.execute("select mfa_kit.my_team(), session_user::text").fetchall()
    assert row == (name, name)


def test_a_role_that_is_in_no_team_is_told_what_is_missing(roles: Roles) -> None:
    """The hint names the command for the ledger's owner."""
    with pytest.raises(IntegrityFault) as caught:
        roles.place("stranger").open()
    assert "mfa-kit ledger" in caught.value.hint


# What only the owner may do.
OWNS: dict[str, Callable[[OwnedLedger, Path], object]] = {
    "create": lambda ledger, _: ledger.create(grace=None),
    "migrate": lambda ledger, _: ledger.migrate(),
    "set the grace period": lambda ledger, _: ledger.create(grace=60.0),
    "copy": lambda ledger, folder: ledger.copy_from(folder),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with the ledger of a computer."""
    with sqlite_ledger(tmp_path / "desk") as ledger:
        ledger.called(CALL)
    return tmp_path / "desk"


@pytest.mark.parametrize("role", [OWNER, "berlin", "auditor", "stranger"])
@pytest.mark.parametrize("act", OWNS)
def test_only_the_owner_creates_and_copies(role: str, act: str, roles: Roles, folder: Path) -> None:
    """To copy, the owner has to be in a team, because there are teams. A role without the right is told about it."""
    owned = OwnedLedger(roles.place(role).at)
    if role != OWNER:
        with pytest.raises((IntegrityFault, UsageFault), match=r"lacks a privilege|only the owner"):
            OWNS[act](owned, folder)
    elif act == "copy":
        with pytest.raises(UsageFault, match="no team"):
            owned.copy_from(folder)
    else:
        assert OWNS[act](owned, folder) == 0


@pytest.mark.parametrize("role", [OWNER, "berlin", "auditor"])
def test_each_role_is_told_the_grace_period(role: str, roles: Roles) -> None:
    """Also by a server on which `ledger grants` of an older version was run: then only the owner is."""
    assert OwnedLedger(roles.place(role).at).state().grace == 60.0
    revoked, granted = (f"{what} mfa_kit_desk" for what in ("revoke {} from", "grant {} to"))
    roles.execute(revoked.format("select (grace) on mfa_kit.settings"), "postgres")
    try:
        assert OwnedLedger(roles.place(role).at).state().grace == (None if role == "berlin" else 60.0)
    finally:
        roles.execute(granted.format("select (grace) on mfa_kit.settings"), "postgres")


@pytest.mark.parametrize("table", READ)
def test_the_owner_sees_the_rows_of_no_other_team(table: str, roles: Roles) -> None:
    """Row level security is for the owner too, until the owner turns it off."""
    assert roles.execute(f"select team from mfa_kit.{table} where team <> ''", OWNER) == []


def test_an_upgrade_takes_delete_from_desks(postgresql: Server) -> None:
    """Also before the SQL of `ledger grants` is run again. A malformed row does not prevent the upgrade.

    Desks may also record keys without that SQL.
    """
    make_role(postgresql, "upgraded")
    name = "before_withdraw"
    postgresql.execute(f"create database {name} owner {OWNER}")
    before = Roles(postgresql, name)
    first = [file.read_text("utf-8") for file in FILES if file.name < "0007"]
    numbers = "".join(f"insert into version (number) values ({number + 1});" for number in range(len(first)))
    before.execute(f"set search_path = mfa_kit, pg_temp; {BEGIN} {''.join(first)} {numbers}", OWNER)
    later = ("withdraw", "insert (at, key_id", "device_uses", "event_reads", "device_states")
    sql = grants({"upgraded": "berlin"}, []).replace("backups, replaces", "backups")
    for table in ("seen_keys", "device_uses", "event_reads", "device_states"):
        sql = sql.replace(f", mfa_kit.{table}", "")
    lines = [line for line in sql.splitlines() if not any(word in line for word in later)]
    delete = "delete on mfa_kit.seals {} mfa_kit_desk"
    before.execute(
        "\n".join(lines).replace(f"revoke {delete}".format("from"), f"grant {delete}".format("to")), "postgres"
    )
    add, lock = "insert into mfa_kit.seals (backup, recipient, since) values ('b', 'r', {})", "lock mfa_kit.seals"
    for since in ("1", "'nan'"):
        before.execute(add.format(since), "upgraded")
    before.execute(f"begin; {lock}", "upgraded")
    assert OwnedLedger(before.place(OWNER).at).migrate() == len(FILES) - len(first)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        before.execute(f"begin; {lock}", "upgraded")
    before.execute(WITHDRAW, "upgraded")
    row = f"1, 'k', 'verified', {FACTS}, '[]', {NO_DEVICE}"
    before.execute(f"insert into mfa_kit.seen_keys ({INSERTED['seen_keys']}) values ({row})", "upgraded")
    state = f"insert into mfa_kit.device_states ({INSERTED['device_states']}) values (1, {STATE})"
    before.execute(state, "upgraded")
    use = f"insert into mfa_kit.break_glass ({INSERTED['break_glass']}) values (1, 'r', 'rotated', '{{}}', 0, 1, 'old')"
    before.execute(use, "upgraded")
    assert before.execute("select since::text from mfa_kit.seals", "upgraded") == [("NaN",)]


@pytest.fixture
def own(postgresql: Server) -> Roles:
    """Make a database with a ledger of its own, and roles that may exist already."""
    for name in ("heir", "desk1", "auditor1"):
        make_role(postgresql, name)
    return Roles(postgresql, postgresql.new_database())


def test_another_role_becomes_the_owner(own: Roles, folder: Path) -> None:
    """It may do everything that the owner did, and the owner before it nothing. The other roles keep their rights."""
    for owner in (None, "heir", "heir"):
        own.execute(grants({"desk1": "berlin", "heir": "berlin"}, ["auditor1"], owner=owner), "postgres")
    assert OwnedLedger(own.place("heir").at).migrate() == 0
    assert OwnedLedger(own.place("heir").at).create(grace=5.0) == 0
    assert OwnedLedger(own.place("heir").at).copy_from(folder)["events"] == 1
    before = OwnedLedger(own.place(OWNER).at)
    for act in OWNS.values():
        with pytest.raises(IntegrityFault, match="lacks a privilege"):
            act(before, folder)
    with pytest.raises(IntegrityFault, match="lacks a privilege"):
        before.state()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        own.execute("select pg_try_advisory_lock(1)", OWNER)
    with own.place("desk1").open() as ledger:
        ledger.record(entry(RUN))
        ledger.called(CALL)
    assert own.execute("select count(*) from mfa_kit.events", "auditor1") == [(2,)]
    owners = (
        "select relowner::regrole::text from pg_class where relnamespace = 'mfa_kit'::regnamespace"
        " union select proowner::regrole::text from pg_proc where pronamespace = 'mfa_kit'::regnamespace"
    )
    assert own.execute(owners, "postgres") == [("heir",)]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_an_owner_is_quoted(name: str, own: Roles) -> None:
    """The role owns the ledger's schema, and nothing else happens."""
    make_role(own.server, name)
    own.execute(grants({}, [], owner=name), "postgres")
    sql = "select rolname from pg_namespace join pg_roles r on r.oid = nspowner where nspname = 'mfa_kit'"
    assert own.execute(sql, "postgres") == [(name,)]
