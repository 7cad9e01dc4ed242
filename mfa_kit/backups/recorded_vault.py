"""A vault that records the recipients of a backup before it writes the file."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from mfa_kit.core.models import Backup, Entry, Intent
from mfa_kit.core.otp import KeyUri
from mfa_kit.enrollment.ports import Vault


class Recording(Protocol):
    """Records the recipients of backups with the time; `own` is the user's recipient, to which a copy is encrypted."""

    def record_sealed(self, backups: Collection[str], recipients: Sequence[str], *, own: str | None = None) -> None:
        """Record the recipients of backups, by the names of the backups."""
        ...


class RecordedVault:
    """A Vault around another one. `records` returns a record that has the time of the call."""

    def __init__(self, vault: Vault, records: Callable[[], Recording]) -> None:
        self._vault, self._records = vault, records

    def check(self) -> None:
        """Check the inner vault."""
        self._vault.check()

    def place(self, intent: Intent, run: str) -> str | None:
        """Return where the inner vault will put a backup."""
        return self._vault.place(intent, run)

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Return the backup that the inner vault would make."""
        return self._vault.new(account, user, device, run=run)

    def recipients(self) -> list[str]:
        """Return the recipients of the inner vault."""
        return self._vault.recipients()

    def find(self, entry: Entry) -> str | None:
        """Return where the inner vault finds a backup."""
        return self._vault.find(entry)

    def seal(self, entry: Entry, uri: KeyUri) -> None:
        """Record the recipients of the backup of an entry and of the user's own copy, then write both."""
        if entry.backup is not None:
            intent, path = entry.intent, Path(entry.backup)
            backup = Backup(account=intent.account, user=intent.user, device=intent.name, run=entry.run, path=path)
            self._record(backup, own=intent.recipient)
        self._vault.seal(entry, uri)

    def keep(self, backup: Backup, uri: KeyUri) -> None:
        """Record the recipients of a backup, then write it."""
        self._record(backup)
        self._vault.keep(backup, uri)

    def _record(self, backup: Backup, *, own: str | None = None) -> None:
        self._records().record_sealed([backup.name], self._vault.recipients(), own=own)

    def remove(self, entry: Entry) -> None:
        """Remove the backup of an entry from the inner vault."""
        self._vault.remove(entry)
