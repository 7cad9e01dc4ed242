"""Where the backups of new devices go, and who can open them, as a command line says it."""

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
    """The recipients of backups, the files that hold more of them, and the folder of backups.

    With `passphrase`, or a file descriptor that holds one, this computer's identity is a recipient too.
    """

    to: Sequence[str]
    to_files: Sequence[Path]
    backup_dir: Path | None
    passphrase: bool
    passphrase_fd: int | None = None

    def vault(self, settings: Settings, *, alone: bool) -> Vault:
        """Open the vault of a verb that makes a device.

        A backup that would be the only copy (`alone`), and for which nobody named a recipient, is sealed to this
        computer's identity too where a person is there to choose its passphrase.
        """
        passphrase = self.passphrase or self.passphrase_fd is not None
        if alone and not (passphrase or self.to or self.to_files or settings.config.recipients):
            with suppress(Declined):
                settings.interaction.check(instead=INSTEAD)
                passphrase = True
        to = (*self.to, own_recipient(settings, passphrase_fd=self.passphrase_fd)) if passphrase else self.to
        return open_vault(self.backup_dir, to=to, to_files=self.to_files)
