"""The folder and the recipients of new backups, as given on the command line."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.backups.new_passphrase import INSTEAD
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.errors import Declined
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.passphrase import own_recipient
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.store import open_vault_for_new


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """The recipients of backups (`to`), files with more recipients (`to_files`), and the folder of backups.

    If `backup_dir` is None, the configured or the default folder is used. `local_backups` is as in
    `open_vault_for_new`. With `passphrase` or `passphrase_fd` (a file descriptor), this computer's identity is an
    additional recipient.
    """

    to: Sequence[str]
    to_files: Sequence[Path]
    backup_dir: BackupLocation | None
    local_backups: bool
    passphrase: bool
    passphrase_fd: int | None = None

    def store(self, settings: Settings, *, alone: bool) -> BackupStore:
        """Return the BackupStore for a command that creates a device.

        `alone` means that the backup will be the only copy of the secret. If neither the command line nor the
        configuration names a recipient, such a backup is encrypted to this computer's identity. The user chooses the
        identity's passphrase at the terminal; without a terminal, there is no recipient. Raise UsageFault for an
        invalid recipient, and the errors of `own_recipient`.
        """
        passphrase = self.passphrase or self.passphrase_fd is not None
        if alone and not (passphrase or self.to or self.to_files or settings.config.recipients):
            with suppress(Declined):
                settings.interaction.check(instead=INSTEAD)
                passphrase = True
        to = (*self.to, own_recipient(settings, passphrase_fd=self.passphrase_fd)) if passphrase else self.to
        return open_vault_for_new(
            settings, self.backup_dir, to=to, to_files=self.to_files, local_backups=self.local_backups
        )
