"""Decrypts backups, and records each attempt in the log."""

from collections.abc import Callable

from mfa_kit.adapters.files.agefile import open_backup
from mfa_kit.adapters.files.backup_names import backup_at
from mfa_kit.adapters.files.plugins import Identity
from mfa_kit.backups.contents import Opened, backup_call
from mfa_kit.core.models import Call
from mfa_kit.core.otp import Created, Png, Secret
from mfa_kit.core.places import Place
from mfa_kit.qr_codes.reading import read_device


class BackupOpener:
    """Decrypts backups with `identities`, and records each attempt with `log`.

    `read` returns the encrypted content of a backup, and raises IntegrityFault if it cannot be read.
    """

    def __init__(
        self, log: Callable[[Call], None], identities: Secret[list[Identity]], read: Callable[[Place], bytes]
    ) -> None:
        self._log, self._identities, self._read = log, identities, read

    def picture(self, file: Place) -> Png:
        """Return the picture in a backup. Raise IntegrityFault if the backup cannot be decrypted."""
        succeeded, named = False, backup_at(file)
        try:
            picture = open_backup(file, self._identities, self._read)
            succeeded = True
        finally:
            user = named.user if named else None
            self._log(backup_call("OpenBackup", file, user=user, succeeded=succeeded))
        return picture

    def checked_picture(self, file: Place) -> Png:
        """Return the picture in a backup after checking that it has the QR code of a device.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device.
        """
        picture = self.picture(file)
        read_device(picture)
        return picture

    def open(self, file: Place) -> Opened:
        """Return the contents of a backup.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device.
        """
        found = read_device(self.picture(file))
        return Opened(file=file, created=found.created, label=found.label, named=backup_at(file), notes=found.notes)

    def created(self, file: Place) -> Created:
        """Return the secret and the key URI in a backup.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device.
        """
        return self.open(file).created
