"""Decrypts backups, and records each attempt in the log."""

from collections.abc import Callable

from mfa_kit.adapters.files.agefile import open_backup, sha256_of
from mfa_kit.adapters.files.backup_names import backup_at
from mfa_kit.adapters.files.plugins import Identity
from mfa_kit.backups.contents import Opened, backup_call
from mfa_kit.core.models import Backup, Call
from mfa_kit.core.otp import Created, Png, Secret
from mfa_kit.core.places import Place
from mfa_kit.qr_codes.reading import read_device


class BackupOpener:
    """Decrypts backups with `identities`, and records each attempt with `log`.

    `read` returns the encrypted content of a backup, and raises IntegrityFault if it cannot be read. `check_path` takes
    a file, the backup that its path names, and the label of its QR code. It returns what was not compared, and raises
    WrongPlace if the path and the label differ.
    """

    def __init__(
        self,
        log: Callable[[Call], None],
        identities: Secret[list[Identity]],
        read: Callable[[Place], bytes],
        check_path: Callable[[Place, Backup | None, str], str | None],
    ) -> None:
        self._log, self._identities, self._read, self._check_path = log, identities, read, check_path

    def picture(self, file: Place) -> Png:
        """Return the picture in a backup. Raise IntegrityFault if the backup cannot be decrypted."""
        return self._decrypt(file)[0]

    def _decrypt(self, file: Place) -> tuple[Png, bytes]:
        """Return the picture in a backup, and the encrypted content."""
        succeeded, named = False, backup_at(file)
        try:
            sealed = self._read(file)
            picture = open_backup(file, self._identities, lambda _: sealed)
            succeeded = True
        finally:
            user = named.user if named else None
            self._log(backup_call("OpenBackup", file, user=user, succeeded=succeeded))
        return picture, sealed

    def open(self, file: Place) -> Opened:
        """Return the contents of a backup.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device, and WrongPlace if it is in
        the place of another backup.
        """
        (picture, sealed), named = self._decrypt(file), backup_at(file)
        found = read_device(picture)
        return Opened(
            file=file,
            picture=picture,
            created=found.created,
            label=found.label,
            named=named,
            sha256=sha256_of(sealed),
            unchecked=self._check_path(file, named, found.label),
            notes=found.notes,
        )

    def created(self, file: Place) -> Created:
        """Return the secret and the key URI in a backup, whose path is not compared with its label.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device.
        """
        return read_device(self.picture(file)).created
