"""The ledger's records that audits read: earlier audits, and the uses of break-glass identities.

An audit has its figures, and when findings appeared and disappeared. A break-glass identity has its custodians.
"""

import json
from collections.abc import Mapping

from mfa_kit.account.snapshot import OpenFinding, PastAudit
from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.recovery_keys import RecoveryKeyAction

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
    insert into break_glass (at, recipient, action, custodians, threshold, backups, replaces)
        values ($1, $2, $3, $4, $5, $6, $7)
"""
SELECT = "select at, recipient, action, custodians, threshold, backups, replaces, {} from break_glass order by {}"
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
        self._tables.write((INSERT_USE, [(*row, record.replaces)]))

    def all(self) -> list[Record]:
        """Return all records, oldest first. Raise IntegrityFault if a row is damaged."""
        # A computer's own clock may be set back. Only in a shared ledger, an older row may have been copied later.
        writer, order = (WRITER, "at, id") if self._tables.shared else ("'', '', 1", "id")
        rows = self._tables.select(
            SELECT.format(writer, order), types="time text action names integer integer text? text text integer"
        )
        return [
            Record(
                at=recorded_at,
                recipient=recipient,
                action=RecoveryKeyAction(action),
                custodians=read_json(custodians),
                threshold=threshold,
                backups=backups,
                replaces=replaces,
                role=role,
                computer=computer,
                own=bool(own),
            )
            for recorded_at, recipient, action, custodians, threshold, backups, replaces, role, computer, own in rows
        ]
