"""Who can open which backup, and when each was drilled: in tables of the ledger, by the names of backups.

A recipient that was left out when a backup was sealed anew stays on record, for copies of the file from before do too.
The copy that is sealed for its user alone is a file of its own, and has a name of its own.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from mfa_kit.core.models import Seal

OWN = "users/"
SEAL = """
    insert into seals (backup, recipient, since) select ?1, ?2, ?3
    where not exists (select 1 from seals where backup = ?1 and recipient = ?2 and until is null)
"""
WITHDRAW = "delete from seals where backup = ? and since = ?"
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

    def sealed(self, backups: Collection[str], recipients: Sequence[str], *, own: str | None = None) -> None:
        """Note that backups are sealed for these, or are about to be, and a copy for `own`, their user, alone."""
        rows = [(backup, each, self._now) for backup in backups for each in recipients]
        rows += [(OWN + backup, own, self._now) for backup in backups if own]
        self._tables.write((SEAL, rows))

    def not_sealed(self, backups: Iterable[str]) -> None:
        """Take back what was noted with this object, for what did not come to be."""
        self._tables.write((WITHDRAW, [(backup, self._now) for backup in backups]))

    def only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Note that backups are sealed for nobody else any more."""
        self._tables.write((LEAVE_OUT, [(self._now, backup, json.dumps(recipients)) for backup in backups]))

    def seals(self) -> list[Seal]:
        """Return what is on record, by backup and recipient."""
        rows = self._tables.select("select backup, recipient, since, until from seals order by backup, recipient")
        return [
            Seal(backup=name.removeprefix(OWN), recipient=to, since=since, until=until, own=name.startswith(OWN))
            for name, to, since, until in rows
        ]

    def drilled(self, backup: str, result: str) -> None:
        self._tables.write((DRILL, [(self._now, backup, result)]))

    def drills(self) -> dict[str, float]:
        """Return when each backup last gave the right code, as Unix seconds."""
        return dict(self._tables.select("select backup, max(at) from drills where result = 'proved' group by backup"))

    def gone(self) -> set[str]:
        """Return the places of backups whose device is gone, as far as this desk knows."""
        rows = self._tables.select("select backup from journal where reached in ('undone', 'revoked')")
        return {backup for (backup,) in rows if backup}

    def lost(self, account: str | None, devices: Collection[str]) -> list[str]:
        """Return the runs under which devices of these names were reported lost."""
        rows = self._tables.select(
            "select run, intent ->> '$.name' from journal where verb = 'lost' and ?1 in (intent ->> '$.account', '')",
            (account or "",),
        )
        return [run for run, name in rows if name in devices]

    def path(self, run: str, device: str) -> str:
        """Return the IAM path of a device that this desk made, which is part of its name on a key."""
        rows = self._tables.select(
            "select intent ->> '$.path' from journal where run = ? and intent ->> '$.name' = ?", (run, device)
        )
        return str(rows[0][0]) if rows else "/"
