"""Commits to the ledger. Changes that arrive while a commit waits for the disk are written by the next one, together.

A rollout of many accounts records some hundred changes per second. Waiting for the disk at each of them, one after the
other, would take longer than the calls to AWS.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Change:
    """Rows to write, all of them or none: statements, each with the values of its rows.

    If it is `light`, its commit need not wait for the disk. `written` says whether it is committed.
    """

    statements: Sequence[tuple[str, Iterable[Sequence[object]]]]
    light: bool
    written: bool = False


class Commits:
    """Writes the changes of all threads. `lock` is held while the database is used."""

    def __init__(self, database: sqlite3.Connection, lock: threading.Lock) -> None:
        self._database, self._lock = database, lock
        self._waiting: deque[Change] = deque()
        self._level: bool | None = None  # the level last set in SQLite; None while unknown

    def write(self, change: Change) -> None:
        """Return when a change is committed. Raise sqlite3.Error if it cannot be, which affects no other change."""
        self._waiting.append(change)
        try:
            with self._lock:
                if not change.written:
                    self._write_waiting(change)
        finally:
            with suppress(ValueError):
                self._waiting.remove(change)

    def _write_waiting(self, change: Change) -> None:
        """Commit all changes that wait. If that fails, commit this one alone, and each thread then does the same."""
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
            # Roll back on Ctrl-C too, so that no change is half made.
            # SQLite itself ends the transaction when the disk is full.
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise
        for change in changes:
            change.written = True

    def _set_level(self, *, light: bool) -> None:
        """Set what a commit waits for. In WAL mode a light commit waits for nothing (SQLite, "PRAGMA synchronous")."""
        if light is not self._level:
            self._level = None
            self._database.execute(f"pragma synchronous = {'normal' if light else 'full'}")
            self._level = light
