"""A BackupStore that records the recipients and hash of a backup before it writes the file."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from mfa_kit.core.models import Backup, DeviceSpec, JournalEntry, backup_name, recorded_location
from mfa_kit.core.otp import KeyUri
from mfa_kit.enrollment.ports import BackupStore


class Recording(Protocol):
    """Records in the ledger who can decrypt which backup, and since when."""

    def record_sealed(
        self,
        backups: Collection[str],
        recipients: Sequence[str],
        *,
        own: str | None = None,
        hashes: Mapping[str, str],
        in_run: bool = False,
    ) -> None:
        """Record the recipients of the backups with these names.

        `own` is the user's public key if the user gets a copy that is encrypted to this key. `hashes` has the SHA-256
        of each encrypted file, by its `recorded_name`. With `in_run`, the record becomes durable only when the progress
        of its run is recorded next. If the process is killed before that, the record may be lost.
        """
        ...


class RecordedVault:
    """A BackupStore that records the recipients of each backup in the ledger.

    It calls another BackupStore, which writes the files. `records` is called for each backup, and returns a
    Recording that dates its records with the current time. `check_run` ends this process if it no longer holds the lock
    of its run. Another process may then have settled (completed or undone) the run, and would not know of a backup that
    this process writes later.
    """

    def __init__(self, store: BackupStore, records: Callable[[], Recording], *, check_run: Callable[[], None]) -> None:
        self._vault, self._records, self._check_run = store, records, check_run

    def check(self) -> None:
        """Raise MfaKitError if the wrapped BackupStore cannot write backups."""
        self._vault.check()

    def place(self, spec: DeviceSpec, run: str) -> str | None:
        """Return the path for the backup of a run, or None if the wrapped BackupStore makes no backup."""
        return self._vault.place(spec, run)

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Return a backup with the path that the wrapped BackupStore will use for it. Writes nothing."""
        return self._vault.new(account, user, device, run=run)

    def recipients(self) -> list[str]:
        """Return the public keys to which the wrapped BackupStore encrypts new backups."""
        return self._vault.recipients()

    def find(self, entry: JournalEntry) -> str | None:
        """Return the path of the backup of a journal entry's device, or None if there is none."""
        return self._vault.find(entry)

    def seal(
        self, entry: JournalEntry, uri: KeyUri, record: Callable[[Mapping[str, str]], None] = lambda _: None
    ) -> None:
        """Encrypt the entry's backup and the user's own copy. Record their recipients and hashes, then write them.

        If the process is killed before the journal says that the entry is sealed, the record may be lost. This does no
        harm, because the next run removes the device.
        """
        if entry.backup is None:
            return
        name, own = backup_name(recorded_location(entry.backup)), entry.spec.recipient

        def record_files(hashes: Mapping[str, str]) -> None:
            self._records().record_sealed([name], self._vault.recipients(), own=own, hashes=hashes, in_run=True)
            record(hashes)
            self._check_run()

        self._vault.seal(entry, uri, record_files)

    def store_existing(
        self, backup: Backup, uri: KeyUri, record: Callable[[Mapping[str, str]], None] = lambda _: None
    ) -> None:
        """Encrypt a backup. Record its recipients and its hash, then write it."""

        def record_file(hashes: Mapping[str, str]) -> None:
            self._records().record_sealed([backup.name], self._vault.recipients(), hashes=hashes)
            record(hashes)

        self._vault.store_existing(backup, uri, record_file)

    def remove(self, entry: JournalEntry) -> None:
        """Remove the backup of a journal entry's device, and the user's own copy."""
        self._vault.remove(entry)
