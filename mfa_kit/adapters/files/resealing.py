"""Encryption of the backups of a folder to the recipients of its vault."""

from mfa_kit.adapters.files.agefile import AgeFiles, open_backup
from mfa_kit.adapters.files.identities import Identity, recipients_of, split_by_recipients
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import Secret


class AgeResealer:
    """Opens backups with the identities that do not belong to the new recipients, or with all if each does.

    An identity opens a backup only if it belongs to one of its recipients.
    """

    def __init__(self, vault: AgeFiles, identities: Secret[list[Identity]]) -> None:
        self._vault, self._all = vault, identities
        self._old, self._new = split_by_recipients(identities, vault.recipients())

    @property
    def has_new_identity(self) -> bool:
        """Whether one of the identities belongs to a new recipient."""
        return self._new is not None

    def recipients(self) -> list[str]:
        """Return the new recipients."""
        return self._vault.recipients()

    def given(self) -> list[str | None]:
        """Return the recipient of each identity; None for an SSH key."""
        return recipients_of(self._all)

    def reseal(self, backup: Backup) -> bool:
        """Encrypt a backup that an old identity opens; return whether one of the identities opens the new file."""
        return self._vault.rekey(backup, self._old, proof=self._all)

    def reseal_with_new(self, backup: Backup) -> bool:
        """Encrypt a backup that only a new identity opens; return the same as `reseal`."""
        return self._vault.rekey(backup, self._new_identities(), proof=self._all)

    def check_opens(self, backup: Backup) -> None:
        """Decrypt a backup with a new identity. Raise OthersSeal if none opens it."""
        open_backup(backup.path, self._new_identities())

    def _new_identities(self) -> Secret[list[Identity]]:
        assert self._new is not None  # noqa: S101 - it is asked for first
        return self._new
