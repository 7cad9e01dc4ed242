"""Who can open which backup, and when each was drilled: in tables of the ledger, by the names of backups.

A recipient that was left out when a backup was sealed anew stays on record, for copies of the file from before do too.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from mfa_kit.models import Seal

SEAL = """
    insert into seals (backup, recipient, since) values (?, ?, ?)
    on conflict (backup, recipient) do update set until = null
"""
LEAVE_OUT = """
    update seals set until = ?
    where backup = ? and until is null and recipient not in (select value from json_each(?))
"""
DRILL = "insert into drills (at, backup, result) values (?, ?, ?)"


class Tables(Protocol):
    """The ledger, as far as it is needed here."""

    def select(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...

    def write(self, *changes: tuple[str, Iterable[Sequence[object]]]) -> None: ...


class Custody:
    """Seals and drills; `now` is in Unix seconds."""

    def __init__(self, tables: Tables, *, now: float) -> None:
        self._tables, self._now = tables, now

    def sealed(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Note that backups are sealed for these, or are about to be."""
        self._tables.write((SEAL, [(backup, each, self._now) for backup in backups for each in recipients]))

    def only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Note that backups are sealed for nobody else any more."""
        self._tables.write((LEAVE_OUT, [(self._now, backup, json.dumps(recipients)) for backup in backups]))

    def seals(self) -> list[Seal]:
        """Return what is on record, by backup and recipient."""
        rows = self._tables.select("select backup, recipient, since, until from seals order by backup, recipient")
        return [Seal(backup=name, recipient=to, since=since, until=until) for name, to, since, until in rows]

    def drilled(self, backup: str, result: str) -> None:
        self._tables.write((DRILL, [(self._now, backup, result)]))

    def drills(self) -> dict[str, float]:
        """Return when each backup last gave the right code, as Unix seconds."""
        return dict(self._tables.select("select backup, max(at) from drills where result = 'proved' group by backup"))

    def lost(self, account: str, device: str) -> list[str]:
        """Return the runs under which a device of this name was reported lost."""
        rows = self._tables.select(
            "select run from journal where verb = 'lost' and intent ->> '$.account' = ? and intent ->> '$.name' = ?",
            (account, device),
        )
        return [run for (run,) in rows]
