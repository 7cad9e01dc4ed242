"""The ledger's records of backups: their recipients and their tests."""

import time
from typing import TYPE_CHECKING

from mfa_kit.adapters.ledger.backup_records import BackupRecords
from mfa_kit.backups.recorded_vault import RecordedVault
from mfa_kit.enrollment.ports import BackupStore

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger


def backup_records(ledger: "Ledger") -> BackupRecords:
    """Return the ledger's records of backups. Records that are added through this object get the time of this call."""
    return BackupRecords(ledger, now=time.time())


def recorded(store: BackupStore, ledger: "Ledger") -> BackupStore:
    """Return a BackupStore that records the recipients of each backup in the ledger.

    The recipients are recorded before the backup is written.
    """
    return RecordedVault(store, lambda: backup_records(ledger), check_run=ledger.check)
