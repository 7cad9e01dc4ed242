"""Changes of many threads to one database, which share commits."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.sqlite_database import Change, Commits

ROW = "insert into rows (number) values (?)"
THREADS = 20


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)) as opened:
        opened.execute("create table rows (number integer primary key)")
        yield opened


def write_at_once(commits: Commits, lock: threading.Lock, numbers: list[int]) -> list[int]:
    """Write each number in a thread of its own, while a commit seems to be in progress. Return those that failed."""
    failed: list[int] = []
    ready = threading.Barrier(len(numbers) + 1)

    def write(number: int) -> None:
        ready.wait()
        try:
            commits.write(Change([(ROW, [(number,)])], light=False))
        except sqlite3.IntegrityError:
            failed.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in numbers]
    with lock:
        for thread in threads:
            thread.start()
        ready.wait()
        while len(commits._waiting) < len(numbers):  # noqa: SLF001 - the lock is held until all threads wait
            pass
    for thread in threads:
        thread.join()
    return failed


def written(database: sqlite3.Connection) -> list[int]:
    return [number for (number,) in database.execute("select number from rows order by number")]


def test_waiting_changes_share_the_next_commit(database: sqlite3.Connection) -> None:
    """Each thread continues only when its own change is committed."""
    lock, statements = threading.Lock(), list[str]()
    database.set_trace_callback(statements.append)
    assert write_at_once(Commits(database, lock), lock, [*range(THREADS)]) == []
    assert written(database) == [*range(THREADS)]
    assert statements.count("commit") == 1


def test_a_change_that_cannot_be_written_fails_alone(database: sqlite3.Connection) -> None:
    """Its thread gets the error, and the changes that shared its commit are written."""
    lock = threading.Lock()
    commits = Commits(database, lock)
    commits.write(Change([(ROW, [(7,)])], light=False))
    assert write_at_once(commits, lock, [*range(THREADS)]) == [7]
    assert written(database) == [*range(THREADS)]


def test_a_change_is_written_as_a_whole_or_not_at_all(database: sqlite3.Connection) -> None:
    """If the second statement of a change fails, nothing of the change remains."""
    commits = Commits(database, threading.Lock())
    with pytest.raises(sqlite3.IntegrityError):
        commits.write(Change([(ROW, [(1,), (2,)]), (ROW, [(1,)])], light=True))
    assert written(database) == []
