"""The folder and the recipients of new backups, as given on the command line."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.backups.new_passphrase import INSTEAD
from mfa_kit.core.errors import Declined
from mfa_kit.enrollment.ports import Vault
from mfa_kit.wiring.passphrase import own_recipient
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """The recipients of backups, files with more recipients, and the folder of backups.

    With `passphrase`, or a file descriptor that has one, this computer's identity is an additional recipient.
    """

    to: Sequence[str]
    to_files: Sequence[Path]
    backup_dir: Path | None
    passphrase: bool
    passphrase_fd: int | None = None

    def vault(self, settings: Settings, *, alone: bool) -> Vault:
        """Open the vault of a verb that creates a device.

        If a backup would be the only copy (`alone`) and no recipient was named, it is also encrypted to this computer's
        identity, provided that a user is at the terminal to choose the passphrase.
        """
        passphrase = self.passphrase or self.passphrase_fd is not None
        if alone and not (passphrase or self.to or self.to_files or settings.config.recipients):
            with suppress(Declined):
                settings.interaction.check(instead=INSTEAD)
                passphrase = True
        to = (*self.to, own_recipient(settings, passphrase_fd=self.passphrase_fd)) if passphrase else self.to
        return open_vault(self.backup_dir, to=to, to_files=self.to_files)
