"""What this desk remembers of backups: for whom each is sealed, and when it was drilled."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.core.models import Backup, Entry, Intent
from mfa_kit.core.otp import KeyUri
from mfa_kit.enrollment.ports import Vault

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.backup_records import Custody
    from mfa_kit.adapters.ledger.ledger import Ledger


def custody(ledger: "Ledger") -> "Custody":
    from mfa_kit.adapters.ledger.backup_records import Custody

    return Custody(ledger, now=time.time())


class Remembered:
    """A vault that notes, before it seals, for whom."""

    def __init__(self, vault: Vault, ledger: "Ledger") -> None:
        self._vault, self._ledger = vault, ledger

    def check(self) -> None:
        self._vault.check()

    def place(self, intent: Intent, run: str) -> str | None:
        return self._vault.place(intent, run)

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        return self._vault.new(account, user, device, run=run)

    def recipients(self) -> list[str]:
        return self._vault.recipients()

    def find(self, entry: Entry) -> str | None:
        return self._vault.find(entry)

    def seal(self, entry: Entry, uri: KeyUri) -> None:
        if entry.backup is not None:
            intent, path = entry.intent, Path(entry.backup)
            backup = Backup(account=intent.account, user=intent.user, device=intent.name, run=entry.run, path=path)
            self._note(backup, own=intent.recipient)
        self._vault.seal(entry, uri)

    def keep(self, backup: Backup, uri: KeyUri) -> None:
        self._note(backup)
        self._vault.keep(backup, uri)

    def _note(self, backup: Backup, *, own: str | None = None) -> None:
        custody(self._ledger).sealed([backup.name], self._vault.recipients(), own=own)

    def remove(self, entry: Entry) -> None:
        self._vault.remove(entry)
