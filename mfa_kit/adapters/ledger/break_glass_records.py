"""The ledger's records about break-glass identities: who their custodians are, and when an identity was used."""

import json

from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.json_text import read_json
from mfa_kit.core.models import RecoveryKeyAction

INSERT = """
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
        self._tables.write((INSERT, [row]))

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
