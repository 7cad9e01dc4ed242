"""Records in the ledger, by backup name: who can decrypt a backup, and when it was tested.

When a backup is encrypted again without one of its recipients, that recipient stays on record, because copies of the
old file may still exist. The copy encrypted only to its user is a separate file with a separate name.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mfa_kit.adapters.ledger.tables import Tables
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
CONFIRMED = "select distinct serial from journal where reached = 'confirmed'"
OPENED = "select file, max(at) from events where operation = 'OpenBackup' and answer = 'OK' group by file"
DRILL = "insert into drills (at, backup, result) values (?, ?, ?)"


class BackupRecords:
    """The recipients and the tests of backups. New records get the time `now`, in Unix seconds."""

    def __init__(self, tables: Tables, *, now: float) -> None:
        self._tables, self._now = tables, now

    def record_sealed(self, backups: Collection[str], recipients: Sequence[str], *, own: str | None = None) -> None:
        """Record that recipients can decrypt backups, now or in a moment.

        `own` is the recipient of the backups' user, who gets a separate copy of each.
        """
        rows = [(backup, each, self._now) for backup in backups for each in recipients]
        rows += [(OWN + backup, own, self._now) for backup in backups if own]
        self._tables.write((SEAL, rows))

    def withdraw_sealed(self, backups: Iterable[str]) -> None:
        """Remove what this object recorded about the recipients of backups."""
        self._tables.write((WITHDRAW, [(backup, self._now) for backup in backups]))

    def record_only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Record that only these recipients can now decrypt backups."""
        self._tables.write((LEAVE_OUT, [(self._now, backup, json.dumps(recipients)) for backup in backups]))

    def seals(self) -> list[Seal]:
        """Return the records, sorted by backup and recipient."""
        rows = self._tables.select(
            "select backup, recipient, since, until from seals order by backup, recipient", types="text text time time?"
        )
        return [
            Seal(backup=name.removeprefix(OWN), recipient=to, since=since, until=until, own=name.startswith(OWN))
            for name, to, since, until in rows
        ]

    def record_drill(self, backup: str, result: str) -> None:
        """Record the result of a backup test."""
        self._tables.write((DRILL, [(self._now, backup, result)]))

    def drills(self) -> dict[str, float]:
        """Return when each backup last gave the right code, in Unix seconds."""
        sql = "select backup, max(at) from drills where result = 'proved' group by backup"
        return dict(self._tables.select(sql, types="text time"))

    def confirmed_devices(self) -> set[str]:
        """Return the serials of devices that runs on this computer created and saw in IAM."""
        return {serial for (serial,) in self._tables.select(CONFIRMED, types="text")}

    def last_opened(self) -> dict[str, float]:
        """Return when each backup was last decrypted, in Unix seconds, by file name."""
        return {Path(file).name: at for file, at in self._tables.select(OPENED, types="text? time") if file}

    def gone(self) -> set[str]:
        """Return the paths of backups whose device was undone or revoked, according to the journal."""
        rows = self._tables.select("select backup from journal where reached in ('undone', 'revoked')", types="text?")
        return {backup for (backup,) in rows if backup}

    def losses(self, account: str | None, devices: Collection[str]) -> list[str]:
        """Return the runs that reported devices of these names lost, in an account or, for None, in any account."""
        rows = self._tables.select(
            "select run, intent ->> '$.name' from journal where verb = 'lost' and ?1 in (intent ->> '$.account', '')",
            (account or "",),
            types="text text?",
        )
        return [run for run, name in rows if name in devices]

    def path(self, run: str, device: str) -> str:
        """Return the IAM path of a device that a run created, which is part of its name on a key.

        Return `/` if unknown.
        """
        rows = self._tables.select(
            "select intent ->> '$.path' from journal where run = ? and intent ->> '$.name' = ?",
            (run, device),
            types="text?",
        )
        return str(rows[0][0] or "/") if rows else "/"
