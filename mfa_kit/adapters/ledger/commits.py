"""Commits changes to the ledger. Changes that arrive during a commit are committed together in the next one.

A rollout of many accounts makes hundreds of changes per second. If each change had its own commit, waiting for the disk
would take longer than the calls to AWS.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Change:
    """A change that is committed completely or not at all: SQL statements, each with the values of its rows.

    A `light` change need not be on disk when its commit returns. `written` says whether the change is committed.
    """

    statements: Sequence[tuple[str, Iterable[Sequence[object]]]]
    light: bool
    written: bool = False


class Commits:
    """Commits the changes of all threads. `lock` is held while the database is in use."""

    def __init__(self, database: sqlite3.Connection, lock: threading.Lock) -> None:
        self._database, self._lock = database, lock
        self._waiting: deque[Change] = deque()
        self._level: bool | None = None  # the value last passed to _set_level; None if unknown

    def write(self, change: Change) -> None:
        """Commit a change, and return after the commit. Raise sqlite3.Error if the change cannot be committed.

        A failure does not affect the changes of other threads.
        """
        self._waiting.append(change)
        try:
            with self._lock:
                if not change.written:
                    self._write_waiting(change)
        finally:
            with suppress(ValueError):
                self._waiting.remove(change)

    def _write_waiting(self, change: Change) -> None:
        """Commit all waiting changes together. If that fails, commit only `change`.

        The other threads then commit their own changes in the same way.
        """
        together = [each for each in self._waiting.copy() if not each.written]
        with suppress(sqlite3.Error):
            if len(together) > 1:
                self._commit(together)
        if not change.written:
            self._commit([change])

    def _commit(self, changes: Sequence[Change]) -> None:
        self._set_level(light=all(change.light for change in changes))
        try:
            self._database.execute("begin immediate")
            for change in changes:
                for sql, rows in change.statements:
                    self._database.executemany(sql, rows)
            self._database.execute("commit")
        except BaseException:
            # Roll back on any exception, including Ctrl-C, so that no change is half-written. If the disk is full,
            # SQLite itself has already ended the transaction.
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise
        for change in changes:
            change.written = True

    def _set_level(self, *, light: bool) -> None:
        """Set whether commits wait for the disk.

        In WAL mode, `synchronous = normal` does not wait (SQLite, "PRAGMA synchronous").
        """
        if light is not self._level:
            self._level = None
            self._database.execute(f"pragma synchronous = {'normal' if light else 'full'}")
            self._level = light
