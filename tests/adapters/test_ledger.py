"""Tests of the ledger's file when other processes hold, lock, damage or write it, and of the locks of runs."""

import contextlib
import fcntl
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.ledger import sqlite_database as module
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import MIGRATIONS, find_fault, sqlite_ledger
from mfa_kit.core.device_records import intent_json
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import Call, DeviceSpec, JournalEntry, JournalState
from mfa_kit.lab.aws.server import Lab
from tests.conftest import NOBODY, Nobody, bare

RUNS = (f"20261125T000000Z-{number:08x}" for number in count())
# Opens a ledger, records one entry, prints a line, and stays alive.
HOLDER = """
import sys, time
from pathlib import Path
from mfa_kit.core.device_records import intent_json
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import JournalEntry, DeviceSpec, JournalState
intent = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
with sqlite_ledger(Path(sys.argv[1])) as ledger:
    ledger.record(JournalEntry(run=sys.argv[2], spec=intent, reached=JournalState(sys.argv[3])))
    print("noted", flush=True)
    sys.stdin.read()
"""


def spec(**how: Any) -> DeviceSpec:
    return DeviceSpec(**{"account": "000000000000", "partition": "aws", "user": "alice", "name": "alice", **how})


def entry(**how: Any) -> JournalEntry:
    return JournalEntry(**{"run": next(RUNS), "spec": spec(), **how})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "desk"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with sqlite_ledger(folder) as ledger:
        yield ledger


@pytest.fixture
def holder(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that record an entry and then hold their run until they are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(run: str, reached: JournalState = JournalState.CREATED) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder, run, reached],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=bare(),
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "noted\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """SQLite's own files beside the database are private too."""
    before = os.umask(0)
    try:
        with sqlite_ledger(tmp_path / "a" / "desk") as ledger:
            ledger.record(entry())
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    finally:
        os.umask(before)
    assert {path.name for path in modes} >= {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "runs"}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def told(ledger: Ledger) -> list[tuple[str, str]]:
    return [(each.what, each.answer) for each in ledger.history()]


def test_results_of_an_older_ledger_are_listed_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older ledger recorded only the last state of each row, so only that state is listed."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", MIGRATIONS[:2])
        sqlite_ledger(folder).close()
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    for number, reached in enumerate(("confirmed", "revoking")):
        old = entry(spec=spec(name=f"alice-{number}"))
        row = (old.run, old.spec.serial, "enroll", reached, intent_json(old.spec), None, number)
        db.execute("insert into journal values (?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    with sqlite_ledger(folder) as ledger:
        assert told(ledger) == [("enrollment", "done"), ("enrollment", "in progress")]
        (left,) = ledger.dead("000000000000")
    assert (left.since, left.sealed) == (None, False)


def test_a_run_of_another_process_is_an_error_after_a_wait(
    ledger: Ledger, holder: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the process and says how to end it. That process's row is not changed."""
    run = next(RUNS)
    process = holder(run)
    monkeypatch.setattr(module, "WAIT", 0.2)
    with pytest.raises(IntegrityFault, match=f"process {process.pid} is working on arn:aws:.*{run}") as caught:
        ledger.record(entry(run=run, reached=JournalState.UNDONE))
    assert f"kill {process.pid}" in caught.value.hint
    assert ledger.find(spec().serial, run=run) == entry(run=run, reached=JournalState.CREATED)
    monkeypatch.setattr(module, "WAIT", 20.0)
    threading.Timer(0.3, process.kill).start()
    ledger.record(entry(run=run, reached=JournalState.UNDONE))
    assert ledger.lives(run)


def test_an_unknown_holder_is_named_another_process(
    folder: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ID could not be written to the lock file, or the file was removed."""
    noted = entry()
    monkeypatch.setattr(module, "WAIT", 0.0)
    with (folder / "runs" / noted.run).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(IntegrityFault, match="another mfa-kit process is working") as caught:
            ledger.record(noted)
    assert "kill" not in caught.value.hint


def test_a_migration_that_takes_too_long_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, one hanging process would make all others hang."""
    sqlite_ledger(folder).close()
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, "create table more (x);"))
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with (folder / "runs" / "migration").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(IntegrityFault, match=f"process {os.getpid()} is bringing the ledger up to date"):
            sqlite_ledger(folder)


def test_the_lock_file_of_a_finished_run_is_removed(folder: Path) -> None:
    """The lock files of unfinished entries stay, because the lock shows whether the run is dead."""
    with sqlite_ledger(folder) as ledger:
        done, left = ledger.record(entry(reached=JournalState.CONFIRMED)), ledger.record(entry())
        assert {path.name for path in (folder / "runs").iterdir()} == {"migration", done.run, left.run}
    assert {path.name for path in (folder / "runs").iterdir()} == {"migration", left.run}


@pytest.mark.parametrize("run", ["../gone", "20261125T000000Z-../../gone", ""])
def test_a_text_that_is_not_a_run_id_has_no_lock(run: str, ledger: Ledger, folder: Path) -> None:
    """The lock is a file that is created and later removed, so its name must not be that of another file."""
    (folder / "gone").touch()
    with pytest.raises(IntegrityFault, match="is not a run ID"):
        ledger.record(entry(run=run))
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    row = entry(run=run)
    db.execute(
        "insert into journal (run, serial, verb, reached, intent, at) values (?, ?, 'enroll', 'created', ?, 0)",
        (run, row.spec.serial, intent_json(row.spec)),
    )
    db.close()
    with pytest.raises(IntegrityFault, match="is damaged"):
        list(ledger.dead("000000000000"))
    assert (folder / "gone").exists()
    assert {path.name for path in (folder / "runs").iterdir()} == {"migration"}


def test_a_lock_on_a_removed_file_is_repeated(folder: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removed the file between open and lock.

    Later processes would not see a lock on a removed file.
    """
    noted = entry()
    flock = fcntl.flock

    def late(lock: int, how: int) -> None:
        monkeypatch.undo()
        (folder / "runs" / noted.run).unlink()
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    ledger.record(noted)
    with sqlite_ledger(folder) as other:
        assert other.lives(noted.run)


@pytest.mark.slow
def test_a_hundred_and_eighty_processes_open_a_new_ledger_at_once(folder: Path) -> None:
    """The first process creates the ledger, and the others wait. Each writes its line."""
    script = """
import os, sys
from pathlib import Path
from mfa_kit.core.device_records import intent_json
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import Call
children = []
for number in range(60):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            while not Path(sys.argv[2]).exists():
                pass
            with sqlite_ledger(Path(sys.argv[1])) as ledger:
                ledger.called(Call(operation="Open", user=None, serial=None, request_id=None, answer="OK"))
            code = 0
        finally:
            os._exit(code)
    children.append(child)
print("ready", flush=True)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""
    gate = folder.parent / "gate"
    mothers = [
        subprocess.Popen([sys.executable, "-c", script, folder, gate], stdout=subprocess.PIPE, text=True, env=bare())
        for _ in range(3)
    ]
    for mother in mothers:
        assert mother.stdout
        assert mother.stdout.readline() == "ready\n"
    gate.touch()
    for mother in mothers:
        mother.communicate()
    assert [mother.returncode for mother in mothers] == [0, 0, 0]
    with sqlite_ledger(folder) as ledger:
        assert len(ledger.history()) == 180


def test_an_old_ledger_is_migrated_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each migration runs once, in order, and existing rows stay."""
    with sqlite_ledger(folder) as ledger:
        noted = ledger.record(entry())
    before = len(MIGRATIONS)
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, "create table more (x);", "alter table more add y;"))
    for _ in range(2):
        with sqlite_ledger(folder) as ledger:
            assert ledger.find(noted.spec.serial) == noted
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        assert db.execute("pragma user_version").fetchone() == (before + 2,)
        assert [row[1] for row in db.execute("pragma table_info (more)")] == ["x", "y"]
    db.close()


def test_a_migration_that_fails_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration and its number are written in one transaction."""
    sqlite_ledger(folder).close()
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, "create table more (x); create table journal (x);"))
    with pytest.raises(IntegrityFault, match="table journal already exists"):
        sqlite_ledger(folder)
    monkeypatch.undo()
    with sqlite_ledger(folder) as ledger:
        assert ledger.history() == []


def test_a_ledger_of_a_newer_version_is_not_changed(folder: Path) -> None:
    """The error says how to upgrade."""
    sqlite_ledger(folder).close()
    db = sqlite3.connect(folder / "ledger.sqlite")
    db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(IntegrityFault, match="written by a newer version of mfa-kit") as caught:
        sqlite_ledger(folder)
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize("octets", [b"no database " * 100, b"SQLite format 3\0" + bytes(4096)])
def test_the_error_for_a_damaged_ledger_has_a_command(octets: bytes, folder: Path) -> None:
    """The command moves the ledger away. mfa-kit never moves it."""
    folder.mkdir()
    (folder / "ledger.sqlite").write_bytes(octets)
    with pytest.raises(IntegrityFault, match="is damaged") as caught:
        sqlite_ledger(folder)
    assert "mv " in caught.value.hint
    assert (folder / "ledger.sqlite").read_bytes() == octets


def test_the_error_for_a_damaged_row_has_a_command(folder: Path) -> None:
    """The row was edited by hand."""
    with sqlite_ledger(folder) as ledger:
        noted = ledger.record(entry())
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    for column, value in (("verb", "sing"), ("intent", json.dumps({"user": "alice"})), ("intent", "{")):
        db.execute(f"update journal set {column} = ?", (value,))
        with sqlite_ledger(folder) as ledger, pytest.raises(IntegrityFault, match="is damaged") as caught:
            ledger.find(noted.spec.serial)
        assert "mv " in caught.value.hint
    db.close()


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("update journal set backup = x'00'", lambda ledger: ledger.made("000000000000")),
        ("update journal set since = 'never'", lambda ledger: ledger.made("000000000000")),
        ("update journal set backup = x'00', reached = 'undone'", lambda ledger: records(ledger).gone()),
        ("update events set at = 'soon'", Ledger.history),
        ("update events set at = 9e999", Ledger.history),
        ("update events set at = 1e15", Ledger.history),
        ("update events set operation = x'00'", Ledger.history),
        ("update events set file = x'00'", Ledger.history),
        ("update events set at = x'00'", lambda ledger: records(ledger).last_opened()),
        ("insert into seals values ('a', x'00', 1, null)", lambda ledger: records(ledger).seals()),
        ("insert into seals values ('a', 'b', 'c', null)", lambda ledger: records(ledger).seals()),
        ("insert into hashes values ('a', x'00', 1, null, null)", lambda ledger: records(ledger).hashes()),
        ("update journal set run = x'00'", lambda ledger: records(ledger).users()),
        ("insert into drills values (1, 'x', 'a', 'proved')", lambda ledger: records(ledger).drills()),
    ],
)
def test_the_error_for_a_value_of_another_type_has_a_command(
    change: str, read: Callable[[Ledger], object], folder: Path
) -> None:
    """SQLite stores any value in any column, so each value is checked when it is read."""
    with sqlite_ledger(folder) as ledger:
        ledger.record(entry(reached=JournalState.CONFIRMED))
        ledger.called(Call(operation="OpenBackup", user="a", serial=None, request_id=None, answer="OK", file="/a"))
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as db:
        db.execute(change)
    with sqlite_ledger(folder) as ledger, pytest.raises(IntegrityFault, match="is damaged") as caught:
        read(ledger)
    assert "mv " in caught.value.hint


def records(ledger: Ledger) -> BackupRecords:
    return BackupRecords(ledger, now=0.0)


@pytest.mark.parametrize("name", [".", "ledger.sqlite"])
def test_a_ledger_that_others_can_write_is_refused(name: str, folder: Path) -> None:
    """The ledger has names of files to remove and devices to delete. The doctor reports such a ledger too."""
    with sqlite_ledger(folder):
        pass
    (folder / name).chmod(0o777)
    with pytest.raises(IntegrityFault, match="can be written by other users") as caught:
        sqlite_ledger(folder)
    assert "chmod go-w" in caught.value.hint
    fault = find_fault(folder / "ledger.sqlite")
    assert fault
    assert (fault.what, fault.hint) == (str(caught.value), caught.value.hint)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", [".", "ledger.sqlite"])
def test_a_ledger_of_another_user_is_refused(name: str, folder: Path) -> None:
    """The owner can write the ledger, whatever its mode is."""
    with sqlite_ledger(folder):
        pass
    os.chown(folder / name, NOBODY, NOBODY)
    with pytest.raises(IntegrityFault, match="belongs to another user") as caught:
        sqlite_ledger(folder)
    assert "chown 0" in caught.value.hint


def test_the_error_for_a_locked_ledger_says_who_may_hold_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes after a wait, which the test shortens."""
    monkeypatch.setattr(module, "WAIT", 0.05)
    with sqlite_ledger(folder) as ledger:
        db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        db.execute("begin immediate")
        with pytest.raises(IntegrityFault, match="database is locked") as caught:
            ledger.record(entry())
        assert "other mfa-kit runs" in caught.value.hint
        db.execute("rollback")
        db.close()
        ledger.record(entry())


class Overheard(sqlite3.Connection):
    """A connection that records the synchronous level of writes, and can raise KeyboardInterrupt after a `begin`."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.level, self.levels, self.cut = "", list[tuple[str, str]](), False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        self._keep(sql)
        done = super().execute(sql, *values)
        self.level = sql.rpartition(" ")[2] if sql.startswith("pragma synchronous") else self.level
        if sql == "begin immediate" and self.cut:
            self.cut = False
            raise KeyboardInterrupt
        return done

    def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
        self._keep(sql)
        return super().executemany(sql, rows)

    def _keep(self, sql: str) -> None:
        words = sql.split()
        if words[:2] == ["insert", "into"]:
            self.levels.append((words[2], self.level))


@pytest.fixture
def overheard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ledger, Overheard]]:
    made: list[Overheard] = []

    def connect(path: Path, **how: Any) -> sqlite3.Connection:
        made.append(Overheard(path, **how))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(module, "WAIT", 0.05)
        patch.setattr(sqlite3, "connect", connect)
        ledger = sqlite_ledger(folder)
    with ledger:
        yield ledger, made[0]


CALL = Call(operation="X", user=None, serial=None, request_id=None, answer="OK")


def test_only_a_change_of_state_waits_for_the_disk(overheard: tuple[Ledger, Overheard], folder: Path) -> None:
    """A call is written without a sync. The same is true after a call that could not be recorded."""
    ledger, db = overheard
    ledger.called(CALL)
    ledger.record(entry())
    ledger.called(CALL)
    other = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(IntegrityFault, match="database is locked"):
        ledger.called(CALL)
    other.close()
    ledger.record(entry())
    assert db.levels == [("events", "full"), ("journal", "full"), ("events", "normal"), ("journal", "full")]


def test_ctrl_c_during_a_wait_leaves_the_ledger_unlocked(overheard: tuple[Ledger, Overheard], folder: Path) -> None:
    """Later records are visible to other processes, and other processes can write too."""
    ledger, db = overheard
    db.cut = True
    with pytest.raises(KeyboardInterrupt):
        ledger.called(CALL)
    noted = ledger.record(entry())
    with sqlite_ledger(folder) as other:
        assert other.find(noted.spec.serial) == noted
        other.record(entry())


def test_a_full_disk_is_an_error_until_there_is_space(overheard: tuple[Ledger, Overheard]) -> None:
    """SQLite ends the transaction itself when the disk is full."""
    ledger, db = overheard
    db.execute("pragma max_page_count = 1")
    with pytest.raises(IntegrityFault, match="database or disk is full"):
        ledger.called(*[CALL] * 1000)
    db.execute("pragma max_page_count = 100000")
    ledger.called(CALL)
    assert len(ledger.history()) == 1


@pytest.mark.parametrize("what", ["ledger.sqlite", "runs"])
def test_a_symlink_in_place_of_the_ledger_is_refused(what: str, folder: Path) -> None:
    """Nothing is written to the symlink's target."""
    folder.mkdir()
    (folder / what).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(IntegrityFault, match="cannot be used"):
        sqlite_ledger(folder)
    assert not (folder.parent / "elsewhere").exists()


def test_a_file_in_place_of_the_folder_is_an_error(folder: Path) -> None:
    """The hint names the variable that chooses another folder."""
    folder.touch()
    with pytest.raises(IntegrityFault, match="cannot be used") as caught:
        sqlite_ledger(folder)
    assert "MFA_KIT_HOME" in caught.value.hint


@pytest.mark.parametrize(
    ("what", "mode"), [("desk", 0o500), ("desk", 0o000), ("desk/ledger.sqlite", 0o400), ("desk/runs", 0o500)]
)
def test_without_permissions_there_is_an_error_and_no_request(
    what: str, mode: int, nobody: Nobody, user: str, recipient: str, lab: Lab
) -> None:
    """An unprivileged user has a folder or file that is read-only or not readable. IAM is not changed."""
    assert nobody.process("ledger", "show").code == 0
    path = nobody.home.parent / what
    path.chmod(mode)
    done = nobody.process("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    path.chmod(0o700)
    assert done.code == 5, done.err
    assert "mfa-kit: the ledger " in done.err or "config.toml cannot be read" in done.err
    assert "  try: " in done.err
    assert f"arn:aws:iam::000000000000:mfa/{user}" not in lab.serials()


def test_a_schema_that_is_not_utf_8_counts_as_damage(tmp_path: Path) -> None:
    """SQLite quotes the schema in its error, and Python cannot decode that text."""
    with sqlite_ledger(tmp_path):
        pass
    file = tmp_path / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("pragma journal_mode = delete")
    content = file.read_bytes()
    damaged = content.replace(b"CREATE TABLE events", b"CREATE TABL\xa0 events")
    assert damaged != content
    file.write_bytes(damaged)
    with pytest.raises(IntegrityFault, match="is damaged"):
        sqlite_ledger(tmp_path)
    fault = find_fault(file)
    assert fault
    assert "damaged" in fault.what


# Opens a ledger, records twenty calls, and ends.
WRITER = """
import sys
from pathlib import Path
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import Call
with sqlite_ledger(Path(sys.argv[1])) as ledger:
    for number in range(20):
        ledger.called(Call(operation="TagUser", user="alice", serial=None, request_id=str(number), answer="OK"))
"""


def test_a_ledger_that_is_open_twice_keeps_its_log(folder: Path) -> None:
    """A station opens the ledger once more for each inserted key, while other commands begin and end.

    If the second opening dropped the locks of the first, the next command that ends would take itself for the last one
    and remove the log. What either of them writes afterward would be lost, or damage the file.
    """
    with sqlite_ledger(folder) as station:
        for number in range(5):
            station.called(CALL)
            with sqlite_ledger(folder):
                pass
            subprocess.run([sys.executable, "-c", WRITER, folder], check=True)
            assert len(station.history()) == 21 * (number + 1)
        assert (folder / "ledger.sqlite-wal").exists()
    assert find_fault(folder / "ledger.sqlite") is None
    with sqlite_ledger(folder) as ledger:
        assert len(ledger.history()) == 105
