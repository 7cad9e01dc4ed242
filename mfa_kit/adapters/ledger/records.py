"""The ledger's records about backups, audits and break-glass identities.

A backup has records of who can decrypt it, and when it was tested. When it is encrypted again without one of its
recipients, that recipient stays on record, because copies of the old file may still exist. The copy that only the user
can decrypt has records of its own. An audit has its figures, and when findings appeared and disappeared. A break-glass
identity has its custodians and its uses.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mfa_kit.account.snapshot import OpenFinding, PastAudit
from mfa_kit.adapters.ledger.rollout_runs import OWN, Computers
from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.models import RecoveryKeyAction, Seal

SEAL = """
    insert into seals (backup, recipient, since) select $1, $2, cast($3 as double precision)
    where not exists (select 1 from seals where backup = $1 and recipient = $2 and until is null)
"""
HASH = """
    insert into hashes (backup, sha256, since, replaces) select $1, $2, cast($3 as double precision), $4
    where not exists (select 1 from hashes where backup = $1 and sha256 = $2)
"""
# A hash is replaced if the file with another current hash replaced it.
REPLACED = """
    update hashes set until = $1 where backup = $2 and until is null
        and sha256 in (select replaces from hashes where backup = $2 and until is null)
"""
WITHDRAW = "delete from seals where backup = $1 and since = $2"
# In a shared ledger, no role may delete rows itself, because it could then also lock the table.
WITHDRAW_SHARED = "select withdraw($1, $2)"
# In this statement, `$3` and the later parameters are the recipients that remain.
LEAVE_OUT = "update seals set until = $1 where backup = $2 and until is null and recipient not in ({})"
CONFIRMED = "select distinct serial from journal where reached = 'confirmed'"
OPENED = "select file, max(at) from events where operation = 'OpenBackup' and answer = 'OK' group by file"
USERS = """
    select intent ->> 'account', intent ->> 'name', run, intent ->> 'user' from journal
    where intent ->> 'user' is not null
"""
DRILL = "insert into drills (at, backup, result) values ($1, $2, $3)"


class BackupRecords:
    """Records the recipients and the tests of backups. New records get the time `now`, in Unix seconds."""

    def __init__(self, tables: Tables, *, now: float) -> None:
        self._tables, self._now = tables, now

    @property
    def computers(self) -> Computers:
        """An object that reads which computer recorded which row of the ledger."""
        return Computers(self._tables)

    def record_sealed(
        self,
        backups: Collection[str],
        recipients: Sequence[str],
        *,
        own: str | None = None,
        hashes: Mapping[str, str] | None = None,
        in_run: bool = False,
    ) -> None:
        """Record that these recipients can decrypt the backups. The backup files need not exist yet.

        `own` is the public key of the backups' user, to which a separate copy of each backup is encrypted. `hashes` has
        the SHA-256 of each file that will be written, by its `recorded_name`. With `in_run`, a power cut can lose these
        records until the next record of the run's progress.
        """
        rows = [(backup, recipient, self._now) for backup in backups for recipient in recipients]
        rows += [(OWN + backup, own, self._now) for backup in backups if own]
        write = self._tables.write_in_run if in_run else self._tables.write
        write((SEAL, rows), (HASH, [(file, sha256, self._now, None) for file, sha256 in (hashes or {}).items()]))

    def withdraw_sealed(self, backups: Iterable[str]) -> None:
        """Remove the records that this object added with `record_sealed` for these backups.

        The records of the users' own copies remain.
        """
        sql = WITHDRAW_SHARED if self._tables.shared else WITHDRAW
        self._tables.write((sql, [(backup, self._now) for backup in backups]))

    def record_only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Record that from now on only these recipients can decrypt the backups, and that the old files are gone."""
        sql = LEAVE_OUT.format(", ".join(f"${number}" for number in range(3, len(recipients) + 3)))
        self._tables.write(
            (sql, [(self._now, backup, *recipients) for backup in backups]),
            (REPLACED, [(self._now, backup) for backup in backups]),
        )

    def record_replacement(self, backup: str, old: str, new: str) -> None:
        """Record the SHA-256 of a backup's old file, and of the new file that will replace it.

        Both are current until `record_only` is called for the backup.
        """
        self._tables.write((HASH, [(backup, old, self._now, None), (backup, new, self._now, old)]))

    def hashes(self) -> dict[str, set[str]]:
        """Return the SHA-256 of each file that a backup may have at present, by its `recorded_name`.

        There are several if copies of the backup in other folders were encrypted again.
        """
        hashes: dict[str, set[str]] = {}
        for backup, sha256, until in self._tables.select(
            "select backup, sha256, until from hashes", types="text text time?"
        ):
            hashes.setdefault(backup, set()).update((sha256,) if until is None else ())
        return hashes

    def seals(self) -> list[Seal]:
        """Return a Seal for each recipient that a backup has or had according to the ledger.

        A Seal has the period in which a backup was encrypted to a recipient. The result is sorted by backup and
        recipient.
        """
        rows = self._tables.select(
            "select backup, recipient, since, until from seals order by backup, recipient", types="text text time time?"
        )
        return [
            Seal(backup=name.removeprefix(OWN), recipient=to, since=since, until=until, own=name.startswith(OWN))
            for name, to, since, until in rows
        ]

    def record_drill(self, backup: str, result: str) -> None:
        """Record the result of a test of a backup. `backup` is the name of its file, and `result` a value of Drill."""
        self._tables.write((DRILL, [(self._now, backup, result)]))

    def drills(self) -> dict[str, float]:
        """Return when each backup last passed a test, in Unix seconds. The keys are names of backup files."""
        sql = "select backup, max(at) from drills where result = 'proved' group by backup"
        return dict(self._tables.select(sql, types="text time"))

    def makers(self) -> dict[tuple[str, str], str]:
        """Return the computer that made each device, by run and serial.

        The result is empty if the ledger is not shared.
        """
        return self.computers.of_devices()

    def confirmed_devices(self) -> set[str]:
        """Return the serials of the devices with a confirmed journal entry.

        mfa-kit confirms an entry after it has created the device or its backup, and then found the device in IAM.
        """
        return {serial for (serial,) in self._tables.select(CONFIRMED, types="text")}

    def last_opened(self) -> dict[str, float]:
        """Return when each backup was last decrypted, in Unix seconds. The keys are names of backup files."""
        return {
            Path(file).name: opened_at for file, opened_at in self._tables.select(OPENED, types="text? time") if file
        }

    def gone(self) -> set[str]:
        """Return the paths of the backups whose device no longer exists, according to the journal.

        The device was revoked, or its enrollment was undone.
        """
        rows = self._tables.select("select backup from journal where reached in ('undone', 'revoked')", types="text?")
        return {backup for (backup,) in rows if backup}

    def users(self) -> dict[tuple[str, str, str], set[str]]:
        """Return the users of all devices in the journal, by the account, the name of the device and the run."""
        users: dict[tuple[str, str, str], set[str]] = {}
        for account, device, run, user in self._tables.select(USERS, types="text? text? text text?"):
            users.setdefault((account, device, run), set()).add(user)
        return users

    def losses(self, account: str | None, devices: Collection[str]) -> list[str]:
        """Return the IDs of the runs that reported one of these devices of an account as lost.

        `devices` has device names. If `account` is None, return the runs of all accounts.
        """
        rows = self._tables.select(
            "select run, intent ->> 'name' from journal where verb = 'lost' and $1 in (intent ->> 'account', '')",
            (account or "",),
            types="text text?",
        )
        return [run for run, name in rows if name in devices]

    def path(self, run: str, device: str) -> str:
        """Return the IAM path of a device that a run created, or `/` if it is unknown.

        The path is part of the credential's name on an OATH key.
        """
        rows = self._tables.select(
            "select intent ->> 'path' from journal where run = $1 and intent ->> 'name' = $2",
            (run, device),
            types="text?",
        )
        return str(rows[0][0] or "/") if rows else "/"


INSERT = "insert into audits (at, account, results, failed, rules) values ($1, $2, $3, $4, $5)"
INSERT_FINDING = "insert into audit_findings (at, account, finding, rule, state) values ($1, $2, $3, $4, $5)"
LAST = "select at, results, failed, rules from audits where account = $1 order by at desc, id desc limit 1"
FINDINGS = "select at, finding, rule, state from audit_findings where account = $1 order by at, id"
OPEN, CLOSED = "open", "closed"


class AuditRecords:
    """The ledger's records about audits. Implements the port AuditHistory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def last(self, account: str) -> PastAudit | None:
        """Return the last audit of an account, or None if no audit is on record."""
        rows = self._tables.select(LAST, (account,), types="time counts counts strings")
        for audited_at, results, failed, rules in rows:
            return PastAudit(
                at=audited_at, results=read_json(results), failed=read_json(failed), rules=tuple(read_json(rules))
            )
        return None

    def open_findings(self, account: str) -> Mapping[str, OpenFinding]:
        """Return the findings of an account that were open when their rule was last checked, by the finding's ID."""
        findings: dict[str, OpenFinding] = {}
        for recorded_at, finding, rule, state in self._tables.select(FINDINGS, (account,), types="time text text text"):
            if state == CLOSED:
                findings.pop(finding, None)
            else:
                findings.setdefault(finding, OpenFinding(rule, recorded_at))
        return findings

    def add(self, account: str, audit: PastAudit, *, opened: Mapping[str, str], closed: Mapping[str, str]) -> None:
        """Record an audit, and the findings that appeared (`opened`) and disappeared (`closed`).

        `opened` and `closed` map the ID of each finding to the ID of its rule. With PostgreSQL, the time of the records
        is the server's, unless the session's role owns the ledger.
        """
        texts = [json.dumps(column) for column in (dict(audit.results), dict(audit.failed), list(audit.rules))]
        rows = [(audit.at, account, number, rule, OPEN) for number, rule in sorted(opened.items())]
        rows += [(audit.at, account, number, rule, CLOSED) for number, rule in sorted(closed.items())]
        self._tables.write((INSERT, [(audit.at, account, *texts)]), (INSERT_FINDING, rows))


INSERT_USE = """
    insert into break_glass (at, recipient, action, custodians, threshold, backups) values ($1, $2, $3, $4, $5, $6)
"""
SELECT = "select at, recipient, action, custodians, threshold, backups, {} from break_glass order by {}"
# Who wrote a row: the role, the computer, and whether both are those of this session.
WRITER = "role, computer, case when role = session_user and computer = my_computer() then 1 else 0 end"


class BreakGlassRecords:
    """The ledger's records about the use of break-glass identities, one record for each use."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, record: Record) -> None:
        """Record one use of an identity.

        With PostgreSQL, the time of the record is the server's, unless the session's role owns the ledger.
        """
        custodians = json.dumps(dict(record.custodians))
        row = (record.at, record.recipient, record.action, custodians, record.threshold, record.backups)
        self._tables.write((INSERT_USE, [row]))

    def all(self) -> list[Record]:
        """Return all records, oldest first. Raise IntegrityFault if a row is damaged."""
        # A computer's own clock may be set back. Only in a shared ledger, an older row may have been copied later.
        writer, order = (WRITER, "at, id") if self._tables.shared else ("'', '', 1", "id")
        rows = self._tables.select(
            SELECT.format(writer, order), types="time text action names integer integer text text integer"
        )
        return [
            Record(
                at=recorded_at,
                recipient=recipient,
                action=RecoveryKeyAction(action),
                custodians=read_json(custodians),
                threshold=threshold,
                backups=backups,
                role=role,
                computer=computer,
                own=bool(own),
            )
            for recorded_at, recipient, action, custodians, threshold, backups, role, computer, own in rows
        ]
