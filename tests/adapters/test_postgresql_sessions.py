"""Sessions with PostgreSQL: addresses that are refused, and processes that lose their session or its server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg
import pytest

from mfa_kit.adapters.ledger.postgresql.address import is_local, parse_address
from mfa_kit.adapters.ledger.postgresql.database import FILES, Session
from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Call, DeviceSpec, JournalEntry, JournalState
from tests.conftest import bare, without
from tests.faults.conftest import wait_until
from tests.ledgers import open_at
from tests.postgresql import Server, running_server, standby_of

RUNS = (f"20261125T000000Z-{number:08x}" for number in count())
INTENT = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
KNOWS_OAUTH = any(option.keyword == b"oauth_client_secret" for option in psycopg.pq.Conninfo.get_defaults())
PGBOUNCER = Path("/usr/sbin/pgbouncer")
CALL = Call(operation="X", user=None, serial=None, request_id=None, answer="OK")
# Records an entry, prints a line, and at each line on stdin does what it says.
WORKER = """
import os, sys
from mfa_kit.adapters.ledger.postgresql.database import postgresql_ledger
from mfa_kit.core.models import JournalEntry, DeviceSpec, JournalState
def end(fault):
    print(f"ended: {fault}; {fault.hint}", flush=True)
    os._exit(fault.exit_code)
intent = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
ledger = postgresql_ledger(sys.argv[1], end=end, alert=print)
entry = JournalEntry(run=sys.argv[2], spec=intent)
ledger.record(entry)
print("ready", flush=True)
for line in sys.stdin:
    {"check": ledger.check, "record": lambda: ledger.record(entry.at(JournalState.CREATED))}[line.strip()]()
    print("done", flush=True)
"""


@contextmanager
def starting(*, before: Sequence[str] = ()) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Return a function that starts processes, each of which holds a run. The words in `before` start the command."""
    started: list[subprocess.Popen[str]] = []

    def run(address: str, run: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", WORKER, address, run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=bare(),
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    try:
        yield run
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    with starting() as run:
        yield run


def ask(process: subprocess.Popen[str], what: str) -> str:
    """Have a process do something, and return its answer."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return process.stdout.readline()


@pytest.fixture
def address(postgresql: Server) -> str:
    return postgresql.address(postgresql.new_database())


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:hunter2@localhost/db",
        "postgresql://localhost/db?password=hunter2",
        "host=localhost password=hunter2",
        "service=mfa sslpassword=hunter2",
        pytest.param(
            "host=localhost oauth_client_secret=hunter2",
            marks=pytest.mark.skipif(not KNOWS_OAUTH, reason="this libpq has no OAuth, so it refuses the address"),
        ),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_quoted(text: str) -> None:
    """The hint names the ways that libpq has for passwords."""
    with pytest.raises(UsageFault, match="contains a password") as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value)
    assert "~/.pgpass" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:hunter2@[",
        "hunter2",
        "postgresql://h/d?hunter2=1",
        # libpq takes what is before the first slash for the port, and what follows for the database.
        "postgresql://user:hunter2/x@db.example.org/mfa",
        "postgresql://user:12/hunter2@db.example.org/mfa",
        "postgresql://hunter2@x:y@db.example.org/mfa",
    ],
)
def test_what_is_no_address_is_not_quoted(text: str) -> None:
    """It may contain a password."""
    with pytest.raises(UsageFault, match="is not a connection string") as caught:
        parse_address(text)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_an_address_that_the_environment_redirects_needs_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGHOSTADDR is where libpq connects to, also if the address names this computer."""
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    assert "sslmode=verify-full" in parse_address("postgresql://localhost/mfa").conninfo("desk")


def test_a_password_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs can read it there."""
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    with pytest.raises(UsageFault, match="PGPASSWORD is set"):
        parse_address("service=mfa")


def test_a_password_comes_from_the_file_of_libpq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint of a missing or wrong one names the file. No message has the password."""
    file = tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(file))
    with running_server() as server:
        address = server.address(server.new_database())
        server.execute("alter role owner password 'hunter2'")
        (server.folder / "data" / "pg_hba.conf").write_text("local all owner scram-sha-256\nlocal all all trust\n")
        server.control("restart")
        for wrong in (None, "hunter3"):
            if wrong:
                file.write_text(f"*:*:*:owner:{wrong}\n")
                file.chmod(0o600)
            for use in (lambda: open_at(address), OwnedLedger(address).state):
                with pytest.raises(IntegrityFault, match="password") as caught:
                    use()
                assert "~/.pgpass" in caught.value.hint
                assert "hunter" not in str(caught.value)
        file.write_text("*:*:*:owner:hunter2\n")
        with open_at(address) as ledger:
            assert ledger.history() == []


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca"])
def test_a_server_elsewhere_must_prove_its_name(mode: str) -> None:
    """Any other mode is refused, and without one verify-full is used."""
    with pytest.raises(UsageFault, match=f"sslmode={mode}"):
        parse_address(f"postgresql://db.example.org/mfa?sslmode={mode}")
    parse_address(f"postgresql://127.0.0.1/mfa?sslmode={mode}")
    assert "sslmode=verify-full" in parse_address("postgresql://db.example.org/mfa").conninfo("desk")
    assert "sslmode=verify-full gssencmode=disable" in parse_address("service=mfa").conninfo("desk")


@pytest.mark.parametrize(
    ("parameters", "local"),
    [
        ({"host": "/run/postgresql"}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({}, True),
        ({"host": "localhost.example.org"}, False),
        ({"host": "localhost", "hostaddr": "192.0.2.1"}, False),
        ({"service": "mfa"}, False),
    ],
)
def test_which_servers_are_on_this_computer(parameters: dict[str, str], local: bool) -> None:
    """Their connections need no TLS."""
    assert is_local(parameters) == local


@pytest.mark.parametrize(
    ("parameters", "local"),
    [
        ({"service": "mfa"}, False),
        ({"service": "mfa", "host": "localhost"}, False),
        ({"service": "mfa", "hostaddr": "127.0.0.1"}, True),
        ({}, True),
    ],
)
def test_a_service_is_preferred_to_the_variables_of_libpq(
    parameters: dict[str, str], local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So PGHOST does not say where the server of a service is. The service may also have a `hostaddr`."""
    monkeypatch.setenv("PGHOST", "/run/postgresql")
    assert is_local(parameters) == local
    monkeypatch.setenv("PGSERVICE", "mfa")
    assert is_local(parameters) == ("hostaddr" in parameters)


def test_the_variable_of_the_address_is_preferred_to_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then libpq connects to PGHOSTADDR, and compares only the certificate with the host."""
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    assert not is_local({"host": "localhost"})


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_address_is_refused(text: str) -> None:
    """A variable of a shell that is not set must not lead to libpq's default database."""
    with pytest.raises(UsageFault, match="is empty"):
        parse_address(text)


def test_several_servers_are_refused() -> None:
    """A lock is valid on one server only."""
    with pytest.raises(UsageFault, match="several servers"):
        parse_address("postgresql://a,b/mfa")


def test_several_servers_of_the_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the address names no server, libpq takes that of PGHOST."""
    monkeypatch.setenv("PGHOST", "a,b")
    with pytest.raises(UsageFault, match="several servers"):
        parse_address("postgresql://owner@/mfa")
    assert parse_address("postgresql://a/mfa").parameters["host"] == "a"


def test_several_servers_of_a_service_are_refused(
    postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address does not show what is in the file of services."""
    file = tmp_path / "services"
    file.write_text(
        f"[mfa]\nhost={postgresql.folder},{postgresql.folder}\ndbname={postgresql.new_database()}\nuser=owner\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setattr("mfa_kit.adapters.ledger.postgresql.address.is_local", lambda _: True)
    with pytest.raises(UsageFault, match="several servers"):
        Session(parse_address("service=mfa"))


def test_a_pooler_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind PgBouncer, the process ID of the connection is not that of the server's process."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)
    with pytest.raises(IntegrityFault, match="is a connection pooler"):
        Session(parse_address(address))


def listens(path: Path) -> bool:
    """Return whether a program accepts connections at a Unix socket. The file exists a moment before that."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("ignored", ["", "ignore_startup_parameters = options"], ids=["default", "ignoring"])
@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_pgbouncer_is_refused(mode: str, ignored: str, postgresql: Server) -> None:
    """By default it refuses the settings of the session, and otherwise it is recognized. Both have one message."""
    if not PGBOUNCER.exists():
        without("PgBouncer is not installed")
    database = postgresql.new_database()
    with tempfile.TemporaryDirectory(prefix="pool-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "users").write_text('"owner" ""\n')
        (folder / "ini").write_text(
            f"[databases]\n{database} = host={postgresql.folder}\n"
            f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\npool_mode = {mode}\n"
            f"auth_type = trust\nauth_file = {folder}/users\n{ignored}\n"
        )
        with subprocess.Popen([PGBOUNCER, "-q", folder / "ini"], stderr=subprocess.DEVNULL, **postgresql.who) as pooler:
            try:
                wait_until(lambda: listens(folder / ".s.PGSQL.6432"))
                with pytest.raises(IntegrityFault, match="is a connection pooler"):
                    open_at(f"host={folder} port=6432 user=owner dbname={database}")
            finally:
                pooler.kill()


def test_a_database_without_a_ledger_says_how_to_create_it(postgresql: Server) -> None:
    """So does `ledger migrate`."""
    postgresql.execute("create database empty owner owner")
    with pytest.raises(IntegrityFault, match="there is no ledger") as caught:
        open_at(postgresql.address("empty"))
    assert caught.value.hint.endswith("mfa-kit ledger init")
    with pytest.raises(UsageFault, match="there is no ledger"):
        OwnedLedger(postgresql.address("empty")).migrate()


@pytest.mark.slow
def test_twenty_owners_create_one_ledger(postgresql: Server) -> None:
    """One applies the files, and the others find them applied."""
    postgresql.execute("create database twenty owner owner")
    applied: list[int] = []
    threads = [
        threading.Thread(target=lambda: applied.append(OwnedLedger(postgresql.address("twenty")).create(grace=None)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [0] * 19 + [len(FILES)]


@pytest.mark.parametrize(("number", "hint"), [(0, "mfa-kit ledger migrate"), (99, "upgrade mfa-kit")])
def test_another_version_is_refused(number: int, hint: str, address: str) -> None:
    """Older ones are migrated by their owner; newer ones need a newer mfa-kit."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("delete from mfa_kit.version")
        connection.execute("insert into mfa_kit.version (number) values (%s)", (number,))
    with pytest.raises(IntegrityFault) as caught:
        open_at(address)
    assert hint in caught.value.hint


@pytest.mark.parametrize("what", ["check", "record"])
def test_a_process_whose_session_was_ended_ends_at_its_next_statement(
    what: str, address: str, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    """It says what to run next. Its run is free at once."""
    run = next(RUNS)
    process = start(address, run)
    end_sessions(address)
    time.sleep(1.1)  # a record that was just acknowledged counts as a check
    assert ask(process, what).startswith("ended: the session with the ledger")
    assert process.wait(10) == IntegrityFault.exit_code
    with open_at(address) as ledger:
        assert [each.run for each in ledger.dead("000000000000")] == [run]


def end_sessions(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and application_name like 'mfa-kit@%'"
        )


def test_a_frozen_process_that_wakes_up_finds_its_run_taken(
    address: str, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    """While it sleeps, its session is ended and another process settles its run."""
    run = next(RUNS)
    process = start(address, run)
    process.send_signal(signal.SIGSTOP)
    end_sessions(address)
    with open_at(address) as ledger:
        [left] = ledger.dead("000000000000")
        ledger.record(left.at(JournalState.UNDONE))
        process.send_signal(signal.SIGCONT)
        assert ask(process, "record").startswith("ended: ")
        assert ledger.find(INTENT.serial, run=run) == left.at(JournalState.UNDONE)


def test_a_process_that_was_frozen_during_a_record_asks_the_server(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server acknowledged the record before, so it may have given the run to another process meanwhile."""
    run_now = Session.run

    def run_then_freeze(self: Session, statements: Sequence[tuple[str, Sequence[object]]]) -> list[tuple[object, ...]]:
        rows = run_now(self, statements)
        if any("transitions" in sql for sql, _ in statements):
            end_sessions(address)
            time.sleep(1.1)
        return rows

    with open_at(address) as ledger:
        ledger.record(JournalEntry(run=(run := next(RUNS)), spec=INTENT))
        ledger.check()
        monkeypatch.setattr(Session, "run", run_then_freeze)
        ledger.record(JournalEntry(run=run, spec=INTENT, reached=JournalState.CREATED))
        with pytest.raises(IntegrityFault, match="was lost"):
            ledger.check()


def test_a_new_thread_of_a_process_that_lost_its_run_cannot_write_for_it(address: str) -> None:
    """Its session is new, and so is not lost. The run belongs to another process by now."""
    failures: list[IntegrityFault] = []
    ledger = open_at(address)
    entry = ledger.record(JournalEntry(run=next(RUNS), spec=INTENT))
    end_sessions(address)
    with open_at(address) as other:
        [left] = other.dead("000000000000")
        other.record(left)

        def write() -> None:
            try:
                ledger.record(entry.at(JournalState.CREATED))
            except IntegrityFault as fault:
                failures.append(fault)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    ledger.close()
    [fault] = failures
    assert "another process has taken the run" in str(fault)


def test_a_row_of_a_run_needs_the_lock_in_the_same_session(address: str) -> None:
    """A trigger refuses it, so a process that lost the lock cannot write."""
    with open_at(address) as ledger:
        entry = ledger.record(JournalEntry(run=next(RUNS), spec=INTENT))
        with psycopg.connect(address, autocommit=True) as connection, pytest.raises(psycopg.DatabaseError) as caught:
            connection.execute(
                "insert into mfa_kit.transitions (run, serial, verb, reached, intent, at)"
                " values (%s, 's', 'enroll', 'undone', '{}', 0)",
                (entry.run,),
            )
        assert caught.value.sqlstate == "MK001"


@pytest.mark.slow
def test_after_an_immediate_stop_a_run_stays_reserved_for_the_grace_period(
    start: Callable[[str, str], subprocess.Popen[str]],
) -> None:
    """Its process may not know that the server was restarted. What was acknowledged is there."""
    with running_server("fsync=on") as server:
        address, run = server.address(server.new_database()), next(RUNS)
        OwnedLedger(address).create(grace=3.0)
        process = start(address, run)
        server.control("stop", "-m", "immediate")
        server.control("start")
        with open_at(address) as ledger:
            assert ledger.lives(run)
            assert list(ledger.dead("000000000000")) == []
            until = time.monotonic() + 30
            while ledger.lives(run):
                assert time.monotonic() < until
                time.sleep(0.1)
            assert [each.run for each in ledger.dead("000000000000")] == [run]
        assert ask(process, "record").startswith("ended: ")


@contextmanager
def crashing(server: Server) -> Iterator[Callable[[], Server]]:
    """Yield a function that kills a process of the server. The server ends all sessions, and keeps its start time."""

    def crash() -> Server:
        address = server.address("postgres")
        with psycopg.connect(address) as killed, psycopg.connect(address) as other:
            os.kill(killed.info.backend_pid, signal.SIGKILL)
            with pytest.raises(psycopg.OperationalError):
                other.execute("select pg_sleep(60)")
        wait_until(lambda: accepts(server))
        return server

    yield crash


@contextmanager
def failing_over(server: Server) -> Iterator[Callable[[], Server]]:
    """Start a synchronous standby. Yield a function that stops the server and promotes the standby."""
    with standby_of(server) as standby:
        server.execute("alter system set synchronous_standby_names = '*'")
        server.execute("select pg_reload_conf()")

        def promote() -> Server:
            server.control("stop", "-m", "immediate")
            standby.control("promote")
            return standby

        yield promote


def accepts(server: Server) -> bool:
    with suppress(psycopg.OperationalError):
        return bool(server.execute("select 1"))
    return False


@pytest.mark.slow
@pytest.mark.parametrize("losing", [crashing, failing_over])
def test_a_server_that_lost_its_locks_without_a_restart_keeps_runs_reserved(
    losing: Callable[[Server], AbstractContextManager[Callable[[], Server]]],
    start: Callable[[str, str], subprocess.Popen[str]],
) -> None:
    """Both the server that crashed and the standby started before the run. A finished run is free at once."""
    with running_server("fsync=on") as first, losing(first) as lose:
        database, run, finished = first.new_database(), next(RUNS), next(RUNS)
        OwnedLedger(first.address(database)).create(grace=600.0)
        with open_at(first.address(database)) as ledger:
            entry = ledger.record(JournalEntry(run=finished, spec=INTENT))
            ledger.record(entry.at(JournalState.UNDONE))
        process = start(first.address(database), run)
        address = lose().address(database)
        with open_at(address) as ledger:
            assert (ledger.lives(run), ledger.lives(finished)) == (True, False)
            assert list(ledger.dead("000000000000")) == []
            OwnedLedger(address).create(grace=0.0)
            assert [each.run for each in ledger.dead("000000000000")] == [run]
        assert ask(process, "record").startswith("ended: ")


# Records one run after another, and prints each one when it is acknowledged.
WRITER = """
import os, sys
from mfa_kit.adapters.ledger.postgresql.database import postgresql_ledger
from mfa_kit.core.models import JournalEntry, DeviceSpec
ledger = postgresql_ledger(sys.argv[1], end=lambda fault: os._exit(fault.exit_code), alert=print)
intent = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
for number in range(100_000):
    ledger.record(JournalEntry(run=f"20261125T000000Z-{number:08x}", spec=intent))
    print(f"20261125T000000Z-{number:08x}", flush=True)
"""


@pytest.mark.slow
def test_an_immediate_stop_loses_no_acknowledged_row() -> None:
    """The server is stopped without a checkpoint, three times, while a process writes. The process ends each time."""
    with running_server("fsync=on") as server:
        for _ in range(3):
            address = server.address(server.new_database())
            with subprocess.Popen(
                [sys.executable, "-c", WRITER, address], stdout=subprocess.PIPE, text=True, env=bare()
            ) as process:
                assert process.stdout
                acknowledged = [process.stdout.readline() for _ in range(40)]
                server.control("stop", "-m", "immediate")
                acknowledged += process.stdout.readlines()
                assert process.wait(20) == IntegrityFault.exit_code
            server.control("start")
            with open_at(address) as ledger:
                stored = {run for (run,) in ledger.select("select run from journal", types="text")}
            assert {line.strip() for line in acknowledged} <= stored
            assert len(acknowledged) >= 40


@pytest.mark.slow
def test_a_full_disk_of_the_server_costs_nothing_that_was_acknowledged() -> None:
    """The process ends or gets an error with a hint. With space again, the ledger is usable and complete."""
    if os.geteuid() != 0:
        without("mounting a tmpfs needs root")
    # The path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="full-", dir="/dev/shm") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", name], check=True)
        try:
            with running_server(within=Path(name)) as server:
                address, acknowledged = server.address(server.new_database()), list[str]()
                room = shutil.disk_usage(name).free
                with (Path(name) / "ballast").open("wb") as ballast:
                    os.posix_fallocate(ballast.fileno(), 0, room - 100_000)
                with pytest.raises(IntegrityFault) as caught:
                    write_until_it_fails(address, acknowledged)
                assert caught.value.hint
                (Path(name) / "ballast").unlink()
                server.control("restart", "-m", "immediate")
                with open_at(address) as ledger:
                    ledger.record(JournalEntry(run=next(RUNS), spec=INTENT))
                    stored = {run for (run,) in ledger.select("select run from journal", types="text")}
                assert set(acknowledged) <= stored
        finally:
            subprocess.run(["umount", name], check=True)


def write_until_it_fails(address: str, acknowledged: list[str]) -> None:
    with open_at(address) as ledger:
        for number in range(20_000):
            run = f"20261125T000000Z-{number:08x}"
            ledger.called(replace(CALL, request_id="r" * 5000))
            ledger.record(JournalEntry(run=run, spec=INTENT))
            acknowledged.append(run)


def test_a_call_of_a_run_is_in_the_log_after_the_next_row(address: str) -> None:
    """Both are sent together. A row that is refused does not take the call with it."""
    with open_at(address) as ledger:
        entry = ledger.record(JournalEntry(run=next(RUNS), spec=INTENT))
        ledger.called(CALL)
        with pytest.raises(IntegrityFault):
            ledger.write(("insert into drills (at, backup, result) values ($1, $2, $3)", [(0.0, None, "x")]))
        with open_at(address) as other:
            assert [each.what for each in other.history()] == ["enrollment", "X"]
        ledger.called(CALL)
        ledger.record(entry.at(JournalState.CONFIRMED))
        assert len(ledger.history()) == 3


def test_a_call_is_in_the_log_after_a_ctrl_c(address: str) -> None:
    """It was queued for the interrupted statement, and is written with the next row instead."""
    with open_at(address) as ledger:
        entry = ledger.record(JournalEntry(run=next(RUNS), spec=INTENT))
        ledger.called(CALL)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            ledger.select("select pg_sleep(20)::text", types="text")
        timer.join()
        ledger.record(entry.at(JournalState.CONFIRMED))
        with open_at(address) as other:
            assert [each.what for each in other.history()] == ["X", "enrollment"]


def test_what_several_statements_write_is_there_as_a_whole_or_not_at_all(address: str) -> None:
    """Nothing remains of the first one if the second fails."""
    with open_at(address) as ledger:
        drill = "insert into drills (at, backup, result) values ($1, $2, $3)"
        with pytest.raises(IntegrityFault):
            ledger.write((drill, [(1.0, "a", "b"), (2.0, "a", "b")]), (drill, [(3.0, None, "b")]))
        assert ledger.select("select at from drills", types="time") == []


@pytest.mark.slow
def test_more_threads_than_sessions_share_them(address: str) -> None:
    """A server has about 100 connections for everybody. Each thread's rows are written."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for each in range(3):
                ledger.record(JournalEntry(run=f"20261125T000000Z-{number:04x}{each:04x}", spec=INTENT))
        except BaseException as error:  # noqa: BLE001 - the test reports a thread's failure
            failures.append(error)

    with open_at(address) as ledger:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        [[sessions]] = ledger.select(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and application_name like 'mfa-kit%'",
            types="integer",
        )
        assert sessions <= 17
        assert len(ledger.history()) == 120


def test_threads_share_sessions_if_the_server_accepts_no_more() -> None:
    """Other programs have taken its connections. Three remain for ten threads, which all write at the same time."""
    failures: list[BaseException] = []
    ready = threading.Barrier(10)

    def work(number: int) -> None:
        try:
            ready.wait(20)
            ledger.record(JournalEntry(run=f"20261125T000000Z-{number:08x}", spec=INTENT))
            ready.wait(20)  # so that no thread takes over the session of an ended one
        except BaseException as error:  # noqa: BLE001 - the test reports a thread's failure
            failures.append(error)

    with running_server("max_connections=10") as server:
        address = server.address(server.new_database())
        with psycopg.connect(address), psycopg.connect(address), psycopg.connect(address), open_at(address) as ledger:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            assert len(ledger.history()) == 10


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("service=mfa", "service=mfa"),
        ("postgresql://berlin@db.example.org/mfa", "postgresql://db.example.org/mfa"),
        ("postgresql://berlin@db.example.org:5433/mfa", "postgresql://db.example.org:5433/mfa"),
        ("host=/run/postgresql dbname=mfa", "postgresql:///mfa"),
    ],
)
def test_messages_name_the_server_and_its_port(text: str, label: str) -> None:
    """A computer may have several servers. The folder of a Unix socket is left out."""
    assert parse_address(text).label == label
